"""Clients send the same statement again and again, faster and faster, because it fails or is given up.

Recognised by: in one database more than a hundredth of all transactions, two a second or more, are rolled back, and
that is three times the usual share there; and a statement has been sent within the last ten seconds that more clients
send than before, or that waits for a lock or has failed as one is looking. It takes two looks. The server does not
say which transactions fail, so the statement is the likely one, not the proven one.
Do: make the clients wait before they try again (longer each time, and by chance), or stop them; then find out why the
statement fails: a timeout that is too short, a blocker, a conflict that comes back.
Do not: raise the statement timeout while it goes on: the same load then runs longer and piles up.
Prevent: a limit on retries, and a circuit breaker in front of them.
Source: PostgreSQL documentation, "The Cumulative Statistics System" (`pg_stat_database.xact_rollback`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pgdoctor.diagnosis import kinds
from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.redact import HIDDEN
from pgdoctor.diagnosis.statement import read
from pgdoctor.diagnosis.surroundings import Latest, Pace, Surroundings
from pgdoctor.diagnosis.words import client, count

#: Transactions rolled back per second, and their share of all, from which on that is much.
_MANY = 2.0
_MUCH = 0.01
#: Some pools end each transaction by a rollback, all day: there only a change says something.
_TIMES_USUAL = 3.0

_LATELY = timedelta(seconds=10)

_MOST_NAMED = 3


class _Suspect(NamedTuple):
    """A statement, and how many clients have sent it of late and before; of the former, how many are in trouble.

    `began`: when the last of them has sent it.
    """

    statement: str
    clients: int
    before: int
    troubled: int
    began: datetime


class RetryStorm(Finding):
    name = "retry_storm"

    def notes(self, seen: Seen) -> Iterator[Note]:
        around = seen.snapshot.surroundings
        if around is None:
            return
        failing = {name: pace for name, pace in around.lately.items() if _fails(pace, around.usual[name])}
        if not failing:
            return
        name = max(failing, key=lambda each: failing[each].rollbacks)
        suspects = _suspects(around, name)
        if not suspects:
            return
        pace, usual, likely = failing[name], around.usual[name], suspects[0]
        is_known = bool(around.latest_before) or likely.troubled > 0
        yield Note(
            self.name,
            "warning",
            f"{pace.rollbacks:.0f} transactions a second fail in {name}, {pace.failing:.0%} of all, where "
            f"{usual.rollbacks:.1f} ({usual.failing:.0%}) are usual; "
            + (_accused(likely) if is_known else "which statement it is, the server's log says"),
            "make the clients wait before they try again, or stop them; then find out why it fails",
            {
                "rollbacks_per_second": pace.rollbacks,
                "failing_share": pace.failing,
                "usual_rollbacks_per_second": usual.rollbacks,
                "usual_failing_share": usual.failing,
                "clients": likely.clients,
                "clients_before": likely.before,
            },
            (likely.statement, *_senders_named(around, likely.statement)) if is_known else tuple(_listed(suspects)),
        )


def _fails(pace: Pace, usual: Pace) -> bool:
    """Far more than usual. Where a third of all fails every day, that cannot be told."""
    is_more = pace.rollbacks >= _MANY and pace.rollbacks > usual.rollbacks
    return is_more and pace.failing > max(_MUCH, _TIMES_USUAL * usual.failing)


def _suspects(around: Surroundings, database: str) -> list[_Suspect]:
    """The statements that may be it, the likeliest first."""
    latest = [each for each in around.latest if each.database == database]
    now, before = _senders(latest, around.read_at), _senders(around.latest_before)
    troubled = _senders([each for each in latest if each.is_troubled], around.read_at)
    began = {each.statement: each.began for each in sorted(latest, key=lambda each: each.began)}
    all_of_them = (_Suspect(each, clients, before[each], troubled[each], began[each]) for each, clients in now.items())
    return sorted(
        (each for each in all_of_them if each.clients > each.before or each.troubled),
        key=lambda each: (each.troubled, each.clients - each.before, each.began),
        reverse=True,
    )


def _senders(latest: Sequence[Latest], now: datetime | None = None) -> Counter[str]:
    """How many clients have sent each statement; those of late where it is said what `now` is."""
    found = Counter(
        each.statement
        for each in latest
        if (now is None or now - each.began <= _LATELY) and not _is_about_the_session(each)
    )
    del found[HIDDEN]
    return found


def _is_about_the_session(each: Latest) -> bool:
    return kinds.SESSION.issuperset(read(each.statement, truncated=True).kinds)


def _accused(likely: _Suspect) -> str:
    send = "sends" if likely.clients == 1 else "send"
    return f"likely the statement that {count(likely.clients, 'client')} {send}, {likely.before} before"


def _listed(suspects: Sequence[_Suspect]) -> Iterator[str]:
    for each in suspects[:_MOST_NAMED]:
        yield f"sent by {count(each.clients, 'client')}: {each.statement}"


def _senders_named(around: Surroundings, statement: str) -> Iterator[str]:
    senders = {client(each.application, each.user) for each in around.latest if each.statement == statement}
    yield from (f"sent by {who}" for who in sorted(senders)[:_MOST_NAMED])
