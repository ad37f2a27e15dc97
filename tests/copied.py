"""The package with one more file in it, as a contributor has who adds to it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pgdoctor

_ROOT = Path(pgdoctor.__file__).parent.parent


def run_copy(folder: Path, added: str, text: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a copy of the package in `folder`, with `text` in the file `added`; it may import `tests`."""
    shutil.copytree(_ROOT / "pgdoctor", folder / "pgdoctor", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pgdoctor" / added).write_text(text)
    return subprocess.run(
        [sys.executable, "-c", f"import pgdoctor\nassert pgdoctor.__file__.startswith({str(folder)!r})\n{script}"],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{_ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
