"""A signal is far above its baseline on this server, for the time of day where that is known.

Recognised by: for half a minute the active sessions, the connections or the age of the oldest transaction have an
anomaly score of 5 or more. The score is the distance to the median in units of the MAD (median absolute deviation)
that the agent has measured. The MAD has a floor, so that small numbers do not count. `pgdoctor_anomaly_score` exports
the scores of all signals. Only an agent knows baselines; a single poll finds no anomaly.
Do: find out what has changed since the anomaly began.
Do not: treat an anomaly as an incident by itself: it does not say that sessions are blocked.
Prevent: a level becomes part of the baseline after six hours, or after three days at the same time of day (UTC). The
agent learns nothing while sessions are blocked for long. Jobs that follow the local time shift by an hour twice a year
and then count as anomalies for three days.
Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_duration
from pgdoctor.model.anomaly_signals import Anomaly
from pgdoctor.model.diagnosis import Finding

#: Signals about lock waits, which the diagnosis explains in detail.
_ABOUT_LOCKS = ("blocked_sessions", "oldest_wait", "lock_wait_share")

_IN_SECONDS = ("oldest_transaction",)

_ADVICE = "find out what has changed since then; a level that lasts six hours becomes the baseline"


class Unusual(FindingCheck):
    name = "anomaly"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        for anomaly in seen.snapshot.anomalies:
            if anomaly.signal in _ABOUT_LOCKS:
                continue
            usual = anomaly.usual
            when = "at this hour " if usual.at_this_hour else ""
            value, median, spread = (
                _format_reading(anomaly, each) for each in (anomaly.value, usual.median, usual.spread)
            )
            yield Finding(
                self.name,
                "info",
                f"{anomaly.signal.replace('_', ' ')}: {value}, usual {when}{median} ± {spread}: "
                f"score {anomaly.score:.1f}, for {format_duration(anomaly.seconds)}",
                _ADVICE,
                {
                    anomaly.signal: anomaly.value,
                    "usual": usual.median,
                    "spread": usual.spread,
                    "score": anomaly.score,
                    "seconds": anomaly.seconds,
                },
            )


def _format_reading(anomaly: Anomaly, value: float) -> str:
    return format_duration(value) if anomaly.signal in _IN_SECONDS else f"{value:,.0f}"
