"""The tests on one version of Postgres after the other: `python -m tests.matrix 14 18 -- -k deadlock`.

These are the tests that need a server, of the folders that read it, without the long ones. Words for pytest come
last, so `-- -m "not browser and not packages"` adds the long ones. Ends with 1 if a version failed.
"""

import subprocess
import sys

from tests.binaries import VERSIONS

#: All else is over these, and the same on every version.
_FOLDERS = tuple(
    f"tests/{each}" for each in ("cli", "diagnosis", "enforcement", "mitigation", "postgres", "preflight", "serverlog")
)
_OPTIONS = ("--server", "-m", "not long and not browser and not packages")


def run_tests(version: str, words: list[str]) -> bool:
    """Run the tests on a version; returns whether they passed."""
    print(f"PostgreSQL {version}, Python {sys.version.split()[0]}:", flush=True)
    command = [sys.executable, "-m", "pytest", "-n", "auto", *_OPTIONS, f"--pg-version={version}", *_FOLDERS, *words]
    return subprocess.run(command, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    """Run the tests on each version; returns the exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    versions = arguments[:end] or [str(version) for version in VERSIONS]
    results = [run_tests(version, arguments[end + 1 :]) for version in versions]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
