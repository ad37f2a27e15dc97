"""Python 3.11 to 3.13 on this machine: `python -m tests.pythons 3.13` prints where the interpreter of a version is."""

import shutil
import subprocess
import sys
from pathlib import Path


def find_python(version: str) -> str | None:
    """Return an interpreter of this version that can make environments: on the PATH, or of pyenv."""
    places = [Path.home() / ".pyenv" / "versions", Path("/opt/pyenv/versions")]
    candidates = [str(each) for place in places for each in sorted(place.glob(f"{version}.*/bin/python"))]
    on_path = shutil.which(f"python{version}")
    return next((each for each in [*candidates, *([on_path] if on_path else [])] if _makes_environments(each)), None)


def _makes_environments(python: str) -> bool:
    """A shim of a version manager may be there and not run; Debian's python3 comes without ensurepip."""
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    """Print the path of an interpreter; returns the exit status."""
    (version,) = arguments
    found = find_python(version)
    if found is None:
        print(f"error: no Python {version} with venv, neither on the PATH nor of pyenv", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
