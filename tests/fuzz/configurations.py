"""Configuration files through `pgdoctor config check`: sound, or a line for each mistake and exit status 2."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from pgdoctor.cli import cli
from pgdoctor.config.config import EXAMPLE
from tests.config.test_config import BAD
from tests.fuzz.mutating import HOSTILE, mutated
from tests.fuzz.trial import SECRET, Trial

NAME = "configurations"

_WHOLE = "\n".join(line.removeprefix("# ") if " = " in line else line for line in EXAMPLE.splitlines())
_SEEDS = (EXAMPLE, _WHOLE, *(text for text, _ in BAD.values()))

_PIECES = (
    *("[", "]", "[[", "{", "}", "=", '"', "'", '"""', "'''", "\n", "#", ".", ",", "\\u202e", "\\u0000", "\\x", "\\"),
    *("a.b.c.", "[mitigation]\n", "[[mitigation.rules]]\n", "[[servers]]\n", "[[notify]]\n", "[http]\n", "[journal]\n"),
    *("9" * 400, "1e999", "nan", "-inf", "0x", "true", "1979-05-27T07:32:00Z", "[[[[[", "{a = {a = ", 'name = "a"\n'),
)

#: Whole lines that may stand anywhere, and leave no text open.
_LINES = (
    *("[agent]", "[mitigation]", "[[mitigation.rules]]", "[[mitigation.protect]]", "[http]", "[webhook]", "[journal]"),
    *('mode = "enforce"', "mode = 3", 'interval = "5s"', "interval = [1]", 'name = "shop"', "name = {}"),
    *("x = 1", "= 1"),
    *('class = "migration"', 'action = "kill"', 'statement = ["(?is).*(a+)+$"]', 'usename = ["a*"]', '"\\u202e" = 1'),
    *("[servers]", "[[servers]]", "[[notify]]", "[[[", "a.b = 1", "a = 1", 'relation = ["x.y"]', 'client_addr = ["x"]'),
)
_SECRETS = (
    f'[[servers]]\nname = "a"\ndsn = "host=a password={SECRET}"',
    f'[[servers]]\ndsn = "postgresql://u:{SECRET}@a/b"\npassword = "{SECRET}"',
    f'[[notify]]\nname = "a"\nurl = "https://u:{SECRET}@a/{SECRET}"',
    f'[[notify]]\nurl = ["https://a/{SECRET}"]',
)


def made(rng: random.Random) -> tuple[str, bool]:
    """The text of a file, and whether secrets are in it."""
    if rng.random() < 0.3:
        lines = [rng.choice(_LINES) for _ in range(rng.randint(0, 8))]
        return "\n".join([*lines, rng.choice(_SECRETS), *(rng.choice(_LINES) for _ in range(rng.randint(0, 5)))]), True
    return mutated(rng, rng.choice(_SEEDS), (*_PIECES, *HOSTILE), _MOST), False


#: Characters of a file: Python's TOML reader takes quadratic time for keys of thousands of parts.
_MOST = max(len(EXAMPLE), 12_000)

#: One of so many files goes through a process of its own too.
_OWN_PROCESS = 2_000


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pgdoctor.toml")

        def check() -> tuple[int, str, str]:
            result = CliRunner().invoke(cli, ["config", "check", str(file)], catch_exceptions=False)
            return result.exit_code, result.stdout, result.stderr

        file.write_text("")
        check()

        def attempt(trial: Trial, rng: random.Random, number: int) -> None:
            text, is_planted = made(rng)
            trial.begin(number, text)
            file.write_text(text, encoding="utf-8", errors="replace", newline="")
            _judge(trial, trial.timed("config check", check), is_planted)
            if number % _OWN_PROCESS == _OWN_PROCESS - 1:
                command = [sys.executable, "-m", "pgdoctor", "config", "check", str(file)]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                _judge(trial, (result.returncode, result.stdout, result.stderr), is_planted)

        yield attempt


def _judge(trial: Trial, found: tuple[int, str, str] | None, is_planted: bool) -> None:
    if found is None:
        return
    status, stdout, stderr = found
    if status not in (0, 2):
        trial.fail("config check", f"exit status {status}")
    if "Traceback" in stderr or (status == 2 and not stderr.strip()):
        trial.fail("config check", f"no line for a mistake: {stderr[:200]!r}")
    if status == 2 and any(not line.strip() for line in stderr.rstrip("\n").split("\n")):
        trial.fail("config check", f"an empty line: {stderr[:200]!r}")
    trial.check_output("config check", stdout + stderr, is_planted=is_planted)
