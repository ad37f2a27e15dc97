"""A signal is far above what is usual on this server, at this time of day where that is known.

Recognised by: the active sessions, the connections or the age of the oldest transaction are, for half a minute, five
times as far above their median as values commonly are (a score of 5; median and MAD of what the agent has seen, with a
floor, so that little is never much). `pgdoctor_anomaly_score` has the scores of all signals at any moment. Only the
agent knows what is usual: a single look finds none of this.
Do: ask what has changed since it began.
Do not: take it for an incident by itself. It says that something is other than always, not that somebody is hurt.
Prevent: what has come at the same time of day (UTC) on three days is usual from then on, and so is a level that has
stayed for six hours; nothing is learnt while somebody has been blocked for long. What runs by the local time moves by
an hour twice a year, and is unusual for three days then.
Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.signals import Anomaly
from pgdoctor.diagnosis.words import duration

#: Of these the diagnosis says more: who blocks whom.
_ABOUT_LOCKS = ("blocked_sessions", "oldest_wait", "lock_wait_share")

_IN_SECONDS = ("oldest_transaction",)

_ADVICE = "ask what has changed since then; what stays for six hours, or comes at the same hour again, becomes usual"


class Unusual(Finding):
    name = "anomaly"

    def notes(self, seen: Seen) -> Iterator[Note]:
        for anomaly in seen.snapshot.anomalies:
            if anomaly.signal in _ABOUT_LOCKS:
                continue
            usual = anomaly.usual
            when = "at this hour " if usual.at_this_hour else ""
            value, median, spread = (_said(anomaly, each) for each in (anomaly.value, usual.median, usual.spread))
            yield Note(
                self.name,
                "info",
                f"{anomaly.signal.replace('_', ' ')}: {value}, usual {when}{median} ± {spread}: "
                f"score {anomaly.score:.1f}, for {duration(anomaly.seconds)}",
                _ADVICE,
                {
                    anomaly.signal: anomaly.value,
                    "usual": usual.median,
                    "spread": usual.spread,
                    "score": anomaly.score,
                    "seconds": anomaly.seconds,
                },
            )


def _said(anomaly: Anomaly, value: float) -> str:
    return duration(value) if anomaly.signal in _IN_SECONDS else f"{value:,.0f}"
