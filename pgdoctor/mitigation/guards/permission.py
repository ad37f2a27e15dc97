"""Whether the server permits our role to signal this session."""

from pgdoctor.diagnosis.manual_signal import write_remedy
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard
from pgdoctor.mitigation.match import refused_by_wrapper

#: When this file's guards are asked, before those of a higher one.
ORDER = 15


class NotPermitted(Guard):
    """The server does not permit our role to signal this session: only a superuser may signal a superuser's session.

    Do: run the statement of the objection as a superuser. pgdoctor sends no signal, spends no budget, and the breaker
    stays closed.
    """

    name = "not_permitted"

    def find_objection(self, case: Case) -> str | None:
        session, amid = case.session, case.circumstances
        if amid.may_signal is False:
            return None  # Our role may signal no session; the guard may_signal reports that.
        if said := write_remedy(case.signal, session):
            return said
        if amid.may_signal is not None and session.may_signal is None and session.backend_type == "client backend":
            return "it is unknown whether our role may signal it"
        return refused_by_wrapper(session) if amid.has_wrapper else None

    def format_value(self, case: Case) -> str:
        return {True: "permitted", False: "refused", None: "unknown"}[case.session.may_signal]
