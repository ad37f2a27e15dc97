"""Whether the end of a session certainly releases other sessions."""

from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard

#: When this file's guards are asked, before those of a higher one.
ORDER = 17


class ReleaseUncertain(Guard):
    """Other sessions may hold the same row lock: FOR SHARE and foreign key checks share rows.

    The server reports one holder at a time, and a waiter waits for them one after the other.
    Do: look at all named holders; end them only if none of them is needed.
    Do not: end one of them to see what happens.
    """

    name = "release_uncertain"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        blocker, uncertain = case.candidate.blocker, self._count_uncertain(case)
        if uncertain and case.frees - uncertain < max(case.rule.min_blocked, 1):
            return blocker.release_uncertain
        return None

    def format_value(self, case: Case) -> str:
        return f"the release of {self._count_uncertain(case)} of {len(case.waiters)} is not certain"

    @staticmethod
    def _count_uncertain(case: Case) -> int:
        return sum(waiter.pid in case.candidate.blocker.uncertain_waiters for waiter in case.waiters)
