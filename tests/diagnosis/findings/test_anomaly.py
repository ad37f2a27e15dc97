"""What is unusual, in words; nothing where the diagnosis says more."""

from datetime import UTC, datetime

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.anomaly_signals import SIGNALS, Anomaly, Usual
from pgdoctor.model.snapshot import Connections, ServerInfo, Snapshot

SERVER = ServerInfo(180000, False, 200, 85, Connections(active=5, idle=80))


def said(*anomalies: Anomaly) -> list[str]:
    snapshot = Snapshot(datetime(2026, 5, 22, tzinfo=UTC), SERVER, anomalies=anomalies)
    findings = diagnose(snapshot).findings
    assert {(note.kind, note.severity) for note in findings} <= {("anomaly", "info")}
    return [note.summary for note in findings]


def test_it_says_how_much_is_usual_and_since_when_it_is_more():
    assert said(Anomaly("connections", 85.0, Usual(40.0, 5.0, True), 9.0, 130.0)) == [
        "connections: 85, usual at this hour 40 ± 5: score 9.0, for 2 min 10 s"
    ]
    assert said(Anomaly("oldest_transaction", 700.0, Usual(0.5, 5.0, False), 139.9, 31.0)) == [
        "oldest transaction: 11 min 40 s, usual 0.5 s ± 5.0 s: score 139.9, for 31 s"
    ]


def test_of_waits_for_locks_the_diagnosis_says_more():
    shown = said(*(Anomaly(name, 50.0, Usual(1.0, 1.0, False), 49.0, 60.0) for name in SIGNALS))
    assert [each.partition(":")[0] for each in shown] == ["active sessions", "connections", "oldest transaction"]


def test_usual_rate_is_not_mentioned():
    assert said() == []
