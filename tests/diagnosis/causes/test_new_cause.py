"""H75: a cause that is new may be terminated by default, for the list of the untouchable is elsewhere.

H76: two causes of the same precedence; the alphabet decides which rule acts.
"""

from itertools import pairwise
from pathlib import Path

import pytest

from pgdoctor.diagnosis.cause import all_causes, class_names, may_be_signalled, untouchable_classes
from tests.copied import run_copy

_FILE = "diagnosis/causes/full_moon.py"

_CAUSE = '''
"""The moon is full."""

from pgdoctor.diagnosis.cause import Cause
from pgdoctor.model.remedy import Remedy, Classification


class FullMoon(Cause):
    name = "full_moon"
    precedence = 90

    def classify_blocker(self, facts):
        return Classification(("the moon is full",), Remedy("terminate", "it helps"))
'''

_SETTINGS = """
from pgdoctor.mitigation.rule_validation import find_mistakes
from pgdoctor.fields import Duration
from tests.mitigation.build import IDLE, about, decide, reasons, rule, settings
from tests.mitigation.test_guards import holder, writer
by = settings(rule("moon", "full_moon", "terminate"))
plan = decide(holder(), writer(), by=by)
assert about(plan, IDLE).classification == "full_moon"
said = [each.allowed for each in find_mistakes(by, Duration(1))]
"""


def test_h75_a_new_cause_is_untouchable(tmp_path: Path) -> None:
    script = (
        _SETTINGS
        + """
assert plan.approved is None
assert reasons(about(plan, IDLE)) == {"no_rule"}
assert said == ["such sessions are never signalled: there is no evidence that a signal helps"]
"""
    )
    done = run_copy(tmp_path, _FILE, _CAUSE, script)
    assert (done.returncode, done.stderr) == (0, "")


def test_h75_a_session_whose_class_became_untouchable_is_not_terminated_after_its_cancel(tmp_path: Path) -> None:
    """The rule of the cancel goes on to terminate whatever the class has become by then."""
    script = """
from pgdoctor.model.identity import Identity
from pgdoctor.mitigation.history import Action, History
from pgdoctor.fields import Duration
from tests.building import ago
from tests.mitigation.build import IDLE, about, decide, reasons, rule, settings
from tests.mitigation.test_guards import holder, writer
by = settings(rule("scan", "unindexed_scan", "cancel_then_terminate", grace=Duration(5)))
tried = Action(Identity.of(holder()), "cancel", "scan", "unindexed_scan", None, (), ago(20), outcome="ineffective")
plan = decide(holder(), writer(), by=by, history=History(actions=(tried,)))
assert plan.approved is None
assert reasons(about(plan, IDLE)) == {"untouchable"}
"""
    done = run_copy(tmp_path, _FILE, _CAUSE, script)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cause_that_says_so_may_be_signalled(tmp_path: Path) -> None:
    text = _CAUSE.replace("    precedence", "    is_signallable = True\n    precedence")
    done = run_copy(tmp_path, _FILE, text, _SETTINGS + "assert (plan.approved.pid, said) == (IDLE, [])")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("cause", all_causes(), ids=lambda cause: cause.name)
def test_each_cause_has_a_precedence_of_its_own(tmp_path: Path, cause) -> None:
    text = _CAUSE.replace("precedence = 90", f"precedence = {cause.precedence}")
    if cause is all_causes()[0]:  # One of them through the door; for all of them the figures.
        done = run_copy(tmp_path, _FILE, text, "import pgdoctor.diagnosis.cause as c; c.all_causes()")
        assert done.stderr.endswith(f"causes {cause.name} and full_moon have the same precedence, {cause.precedence}\n")
    assert [each.precedence for each in all_causes()].count(cause.precedence) == 1


def test_the_order_of_precedence_is_written_down() -> None:
    """A change of it changes which rule acts."""
    assert [cause.name for cause in all_causes()] == [
        *("autovacuum", "backup", "prepared_transaction", "replication", "hot_row", "advisory_lock"),
        *("idle_in_transaction", "explicit_lock", "maintenance", "migration", "unindexed_scan", "long_query"),
        "unknown",
    ]
    assert all(one.precedence < other.precedence for one, other in pairwise(all_causes()))


def test_the_untouchable_classes_are_written_down() -> None:
    assert set(untouchable_classes()) == {
        "autovacuum",
        "backup",
        "hot_row",
        "prepared_transaction",
        "replication",
        "unknown",
    }
    assert {name for name in class_names() if may_be_signalled(name)} == set(class_names()) - set(untouchable_classes())
