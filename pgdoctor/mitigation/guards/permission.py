"""Whether the server would let our role signal this very session."""

from pgdoctor.diagnosis.by_hand import write_remedy
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard
from pgdoctor.mitigation.match import refused_by_wrapper

#: When this file's guards are asked, before those of a higher one.
ORDER = 15


class NotPermitted(Guard):
    """The server lets our role signal this session: a superuser's only a superuser may.

    Do: run the statement that it names as a superuser. Nothing is tried: no budget is spent, and no breaker opens.
    """

    name = "not_permitted"

    def objection(self, case: Case) -> str | None:
        session, amid = case.session, case.circumstances
        if amid.may_signal is False:
            return None  # It may signal nobody at all: a brake, of which the guard may_signal speaks.
        if said := write_remedy(case.signal, session):
            return said
        if amid.may_signal is not None and session.may_signal is None and session.backend_type == "client backend":
            return "it cannot be told whether our role may signal it"
        return refused_by_wrapper(session) if amid.has_wrapper else None

    def value(self, case: Case) -> str:
        return {True: "permitted", False: "refused", None: "not known"}[case.session.may_signal]
