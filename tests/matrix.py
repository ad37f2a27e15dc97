"""The tests on one version of Postgres after the other: `python -m tests.matrix 14 18 -- -k deadlock`.

Prints one line a version, and all that pytest said where a version failed; ends with 1 where any did.
"""

import subprocess
import sys
import time

from tests.binaries import VERSIONS


def passes(version: str, words: list[str]) -> bool:
    """Run the tests on a version, and say how that went."""
    print(f"PostgreSQL {version}: ", end="", flush=True)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "auto", "-m", "not browser", f"--pg-version={version}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    if done.returncode == 0:
        print(lines[-1].strip("= "))
        return True
    print(f"FAILED after {time.monotonic() - begin:.0f} s\n{done.stdout}")
    return False


def main(arguments: list[str]) -> int:
    """Run the tests on each version; returns the exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    versions = arguments[:end] or [str(version) for version in VERSIONS]
    results = [passes(version, arguments[end + 1 :]) for version in versions]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
