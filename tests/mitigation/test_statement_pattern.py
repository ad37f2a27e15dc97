"""Patterns of the configuration against texts of clients. H54: a pattern and a text hang the agent for ever."""

import random
import subprocess
import sys
import time

import pytest

from pgdoctor.config.config import parse_config
from pgdoctor.errors import ConfigError
from pgdoctor.mitigation.rules import Protect
from pgdoctor.statement_pattern import StatementPattern
from tests.mitigation.conftest import IDLE, Incident

REFRESH = r"(?is)\s*(/\*.*\*/\s*)*refresh\s.*"
HOSTILE = "/* */ " * 28 + "select pg_advisory_lock(1)"
_CHOICE = random.Random(1)

TEXTS = {
    "comments": "/* */ " * 2_700,
    "two letters": "ab" * 8_192,
    "two letters at random": "".join(_CHOICE.choice("ab") for _ in range(16_384)),
    "one letter": "a" * 16_384,
    "letters that are not ASCII": "ä" * 8_192,
    "64 kB": "/* */ " * 11_000,
}
#: The last ones are as large as a pattern may be.
PATTERNS = (
    REFRESH,
    "(a+)+$",
    "(x+x+)+y",
    "(a|aa)+c",
    "(.*a.*b){24}c",
    "(a|b)*a(a|b){90}c",
    "(?i)(.*a.{30})c",
    "(a?b?){120}c",
    "([ab]?){245}c",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_h54_no_text_takes_long(pattern: str) -> None:
    """The best of three: this machine does other things as well."""
    compiled = StatementPattern.parse(pattern)
    for name, text in TEXTS.items():
        for ask in (compiled.matches_all, compiled.is_in):
            assert min(_seconds(ask, text) for _ in range(3)) < 0.05 * len(text) / 16_384 + 0.01, name


def _seconds(ask: object, text: str) -> float:
    began = time.process_time()
    ask(text)  # type: ignore[operator]
    return time.process_time() - began


def test_h54_a_hostile_statement_does_not_hang_the_agent(incident: Incident) -> None:
    holder = incident.app("select pg_advisory_lock(1)", HOSTILE.replace("lock(1)", "lock(2)"), autocommit=True)
    waiter = incident.app(autocommit=True).block("select pg_advisory_lock(2)")
    began = time.monotonic()
    protect = Protect(statement=(StatementPattern.parse(REFRESH),))
    _, mitigator = incident.mitigate(IDLE, protect=(protect,))
    assert [each.pid for each in mitigator.plan.decisions] == [holder.pid]
    assert time.monotonic() - began < 10
    holder.run("select pg_advisory_unlock(2)")
    waiter.finish()


REFUSED = {
    r"(a)\1": r"RE2 has no backreference \1",
    "(?P<x>a)(?P=x)": "RE2 has no backreference",
    "(?=a)": "RE2 has no lookahead",
    "(?!a)": "RE2 has no lookahead",
    "(?<!a)b": "RE2 has no lookbehind",
    "(?>a)": "RE2 has no atomic group",
    "(?x) a": "RE2 has no flag (?x)",
    "(": "missing )",
    "a\n(": "missing )",
    "a{1000}": "instructions, the limit is 500",
    "(a{30}){30}": "instructions, the limit is 500",
}


@pytest.mark.parametrize(("pattern", "reason"), REFUSED.items())
def test_h54_a_pattern_that_the_engine_cannot_take_is_refused_by_name(
    pattern: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    written = pattern.replace("\\", "\\\\").replace("\n", "\\n")
    with pytest.raises(ConfigError) as caught:
        parse_config(f'[[mitigation.protect]]\nstatement = ["fine", "{written}"]', "x")
    said = str(caught.value)
    assert said.startswith("x: mitigation.protect[0].statement[1] = ")
    assert reason in said
    assert "\n" not in said
    assert capfd.readouterr() == ("", "")


_LOAD = """
import sys
from pgdoctor.config.config import parse_config as parse
import pgdoctor.enforcement.mitigator
parse({text!r}, "x")
print("re2" in sys.modules)
"""


@pytest.mark.parametrize(("key", "is_loaded"), [('usename = ["a"]', "False"), ('statement = ["a"]', "True")])
def test_the_engine_is_loaded_only_where_a_pattern_is_configured(key: str, is_loaded: str) -> None:
    text = f"[[mitigation.protect]]\n{key}"
    done = subprocess.run([sys.executable, "-c", _LOAD.format(text=text)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == is_loaded


@pytest.mark.parametrize("text", ["caf\ufffd", "\ufffd"])
def test_text_of_another_encoding_may_be_what_a_pattern_says(text: str) -> None:
    assert StatementPattern("café").is_in(text) is None
    assert StatementPattern("café").matches_all(text) is None
    assert StatementPattern("cafe").is_in(text) is False
    assert StatementPattern("café").is_in("un café") is True
    assert StatementPattern("café").matches_all("un café") is False
