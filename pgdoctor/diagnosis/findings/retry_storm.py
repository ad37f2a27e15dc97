"""Clients send the same statement at a rising rate, because it fails or times out.

Recognised by: in one database more than 1 % of all transactions, two a second or more, are rolled back; that is three
times the usual share there. Also, a statement of the last ten seconds waits for a lock, has failed, or comes from more
clients than before. Two polls are needed. The server does not say which transactions fail, so the statement is the
probable one, not a proven one.
Do: make the clients retry with exponential backoff and jitter, or stop them. Then find out why the statement fails: a
short timeout, a blocker, a recurring conflict.
Do not: raise the statement timeout during the storm: the same load then runs longer and accumulates.
Prevent: a limit on retries, and a circuit breaker in the application.
Source: PostgreSQL documentation, "The Cumulative Statistics System" (`pg_stat_database.xact_rollback`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_count
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import LatestStatement, Rates, ServerContext
from pgdoctor.sqltext import statement_kinds
from pgdoctor.sqltext.redact import HIDDEN_STATEMENT
from pgdoctor.sqltext.statement import read_statement

#: Transactions rolled back per second, and their share of all, from which on that is much.
_MANY = 2.0
_MUCH = 0.01
#: Some pools end each transaction by a rollback, all day: there only a change says something.
_TIMES_USUAL = 3.0

_LATELY = timedelta(seconds=10)

_MOST_NAMED = 3


class _FailingClient(NamedTuple):
    """A statement, and how many clients have sent it recently and before; of the former, how many are in trouble.

    `began`: when the last of them has sent it.
    """

    statement: str
    clients: int
    before: int
    troubled: int
    began: datetime


class RetryStorm(FindingCheck):
    name = "retry_storm"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None:
            return
        failing = {name: pace for name, pace in around.lately.items() if _is_failing(pace, around.usual[name])}
        if not failing:
            return
        name = max(failing, key=lambda each: failing[each].rollbacks)
        suspects = _find_suspects(around, name)
        if not suspects:
            return
        pace, usual, likely = failing[name], around.usual[name], suspects[0]
        is_known = bool(around.latest_before) or likely.troubled > 0
        yield Finding(
            self.name,
            "warning",
            f"{pace.rollbacks:.0f} transactions a second fail in {name}, {pace.failing:.0%} of all "
            f"(usual: {usual.rollbacks:.1f}, {usual.failing:.0%}); "
            + (_describe_suspect(likely) if is_known else "see the server's log for the statement"),
            "make the clients wait before each retry, or stop them; then find out why the statement fails",
            {
                "rollbacks_per_second": pace.rollbacks,
                "failing_share": pace.failing,
                "usual_rollbacks_per_second": usual.rollbacks,
                "usual_failing_share": usual.failing,
                "clients": likely.clients,
                "clients_before": likely.before,
            },
            (likely.statement, *_senders_named(around, likely.statement))
            if is_known
            else tuple(_list_senders(suspects)),
        )


def _is_failing(pace: Rates, usual: Rates) -> bool:
    """Far more than usual. On a database where a third of all transactions fail, no rate is."""
    is_more = pace.rollbacks >= _MANY and pace.rollbacks > usual.rollbacks
    return is_more and pace.failing > max(_MUCH, _TIMES_USUAL * usual.failing)


def _find_suspects(around: ServerContext, database: str) -> list[_FailingClient]:
    """The statements that may cause the storm, the most probable first."""
    latest = [each for each in around.latest if each.database == database]
    now, before = _count_senders(latest, around.read_at), _count_senders(around.latest_before)
    troubled = _count_senders([each for each in latest if each.is_troubled], around.read_at)
    began = {each.statement: each.began for each in sorted(latest, key=lambda each: each.began)}
    all_of_them = (
        _FailingClient(each, clients, before[each], troubled[each], began[each]) for each, clients in now.items()
    )
    return sorted(
        (each for each in all_of_them if each.clients > each.before or each.troubled),
        key=lambda each: (each.troubled, each.clients - each.before, each.began),
        reverse=True,
    )


def _count_senders(latest: Sequence[LatestStatement], now: datetime | None = None) -> Counter[str]:
    """How many clients have sent each statement; with `now`, only the recent ones."""
    found = Counter(
        each.statement
        for each in latest
        if (now is None or now - each.began <= _LATELY) and not _is_about_the_session(each)
    )
    del found[HIDDEN_STATEMENT]
    return found


def _is_about_the_session(each: LatestStatement) -> bool:
    return statement_kinds.SESSION.issuperset(read_statement(each.statement, truncated=True).kinds)


def _describe_suspect(likely: _FailingClient) -> str:
    send = "sends" if likely.clients == 1 else "send"
    return f"probably the statement that {format_count(likely.clients, 'client')} {send} ({likely.before} before)"


def _list_senders(suspects: Sequence[_FailingClient]) -> Iterator[str]:
    for each in suspects[:_MOST_NAMED]:
        yield f"sent by {format_count(each.clients, 'client')}: {each.statement}"


def _senders_named(around: ServerContext, statement: str) -> Iterator[str]:
    senders = {format_client(each.application, each.user) for each in around.latest if each.statement == statement}
    yield from (f"sent by {who}" for who in sorted(senders)[:_MOST_NAMED])
