"""All signals of a server: what is not learnt from, what is alarming, and what survives a restart."""

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.baseline.thresholds import (
    ALARMING,
    LASTING,
    VERSION,
    StoredThresholds,
    Thresholds,
    signal_readings,
    unpack_thresholds,
)
from pgdoctor.model.anomaly_signals import SIGNALS
from pgdoctor.model.snapshot import Connections, ServerInfo
from tests.examples import examples

MIDNIGHT = 1_767_484_800.0
MINUTE, DAY = 60.0, 86_400.0
QUIET = dict.fromkeys(SIGNALS, 0.0) | {"connections": 40.0, "active_sessions": 3.0}


def fed(
    thresholds: Thresholds, values: dict[str, float], begin: float, seconds: float, step: float, **how
) -> Thresholds:
    at = begin
    while at < begin + seconds:
        thresholds = thresholds.observe(values, at, **{"incident": False, **how})
        at += step
    return thresholds


@pytest.fixture(scope="module")
def known() -> Thresholds:
    return fed(Thresholds(), QUIET, MIDNIGHT, 3_600.0, 20.0)


def test_every_signal_has_a_score_before_anything_is_known():
    assert Thresholds().scores == dict.fromkeys(SIGNALS, 0.0)


def test_a_finding_has_to_last(known):
    crowded = QUIET | {"connections": 90.0}
    begin = MIDNIGHT + 3_600
    assert fed(known, crowded, begin, LASTING, 1.0).anomalies == ()
    later = fed(known, crowded, begin, LASTING + 1, 1.0)
    [anomaly] = later.anomalies
    assert (anomaly.signal, anomaly.value, anomaly.usual.median, anomaly.seconds) == (
        "connections",
        90.0,
        40.0,
        LASTING,
    )
    assert anomaly.score == later.scores["connections"] >= ALARMING
    # A moment below it, and it begins again.
    again = fed(later, QUIET, begin + 31, 1.0, 1.0)
    assert again.anomalies == ()
    assert fed(again, crowded, begin + 32, LASTING, 1.0).anomalies == ()


@pytest.mark.parametrize("begin", [0.0, 7_200.0], ids=["the clock was set back", "an hour later"])
def test_over_gaps_between_polls_a_finding_has_not_lasted(known, begin):
    crowded = QUIET | {"connections": 90.0}
    later = fed(known, crowded, MIDNIGHT + 3_600, LASTING + 1, 1.0)
    assert later.anomalies
    assert fed(later, crowded, MIDNIGHT + begin, LASTING, 1.0).anomalies == ()


def test_an_incident_in_which_a_session_waits_long_is_not_learnt_from_to_its_end(known):
    begin = MIDNIGHT + 3_600
    hurt = QUIET | {"blocked_sessions": 1.0, "oldest_wait": 6.0, "connections": 45.0}
    after = fed(known, hurt, begin, 2 * 3_600, 20.0, incident=True)
    # Its waits are short again, and it goes on.
    after = fed(after, hurt | {"oldest_wait": 0.3}, begin + 7_200, 3_600, 20.0, incident=True)
    assert {name: each.recent for name, each in after.baselines.items()} == {
        name: each.recent for name, each in known.baselines.items()
    }
    over = fed(after, QUIET, begin + 10_800, 3_600, 20.0)
    assert over.baselines["connections"].recent != known.baselines["connections"].recent


def test_short_waits_are_what_is_usual_on_a_server_under_write_load():
    busy = QUIET | {"blocked_sessions": 5.0, "oldest_wait": 0.4, "lock_wait_share": 0.4}
    known = fed(Thresholds(), busy, MIDNIGHT, 3_600, 20.0, incident=True)
    assert known.observe(busy, MIDNIGHT + 3_600, incident=True).scores["blocked_sessions"] == 0.0


def test_a_signal_that_is_missing_is_neither_learnt_nor_unusual(known):
    after = fed(known, {"connections": 40.0}, MIDNIGHT + 3_600, 3_600, 20.0)
    assert after.baselines["active_sessions"].recent == known.baselines["active_sessions"].recent
    assert after.scores["active_sessions"] == 0.0


def test_of_a_server_that_hides_its_sessions_only_the_connections_are_read():
    server = ServerInfo(180000, False, 100, 40, Connections(active=4, idle=16, unknown=20), oldest_transaction=7.0)
    assert signal_readings(server, 2, 1, 0.5) == {
        "blocked_sessions": 1.0,
        "oldest_wait": 0.5,
        "active_sessions": 4.0,
        "connections": 40.0,
        "oldest_transaction": 7.0,
        "lock_wait_share": 0.2,
    }
    assert signal_readings(replace(server, hidden_sessions=20), 2, 1, 0.5) == {"connections": 40.0}


@examples(30)
@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 3 * 3_600), st.booleans()), min_size=1, max_size=60),
    st.floats(0, 500),
)
def test_after_a_restart_every_score_is_the_same(polls, value):
    thresholds, at = Thresholds(), MIDNIGHT
    for each, step, incident in polls:
        at += step
        thresholds = thresholds.observe(QUIET | {"connections": each, "oldest_wait": each}, at, incident=incident)
    again = unpack_thresholds(thresholds.encode_state())
    assert again.baselines == thresholds.baselines
    values = dict.fromkeys(SIGNALS, value)
    assert (
        again.observe(values, at + 1, incident=False).scores
        == thresholds.observe(values, at + 1, incident=False).scores
    )


def test_kept_state_stays_small():
    long = fed(Thresholds(), QUIET, MIDNIGHT, 30 * DAY, 5_000.0)
    assert len(long.encode_state()) < 100_000
    rings = [ring for each in long.baselines.values() for ring in (each.recent, each.days)]
    assert sum(len(ring.values) + len(ring.held) for ring in rings) < 130_000


def packed(**kept: object) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(kept))


def unsound() -> bytes:
    baselines = dict(fed(Thresholds(), QUIET, MIDNIGHT, 60.0, 20.0).baselines)
    recent = replace(baselines["connections"].recent, values=b"\0" * 8)
    baselines["connections"] = replace(baselines["connections"], recent=recent)
    return zlib.compress(msgspec.msgpack.encode(StoredThresholds(VERSION, baselines)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "damaged"),
        (b"\0\xff" * 50, "damaged"),
        (zlib.compress(b"hello"), "damaged"),
        (zlib.compress(b"\0" * 50_000_000), "damaged"),
        (packed(baselines={}), "damaged"),
        (packed(version=VERSION + 1, baselines={}), f"format {VERSION + 1}, this pgdoctor knows {VERSION}"),
        (packed(version=VERSION, baselines={}), "damaged"),
        (packed(version=VERSION, baselines={"connections": 7}), "damaged"),
        (Thresholds().encode_state()[:40], "damaged"),
        (unsound(), "damaged"),
    ],
)
def test_foreign_archive_is_refused_in_words(body, said):
    with pytest.raises(ValueError, match=said) as error:
        unpack_thresholds(body)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_garbage_is_refused(body):
    for each in (body, zlib.compress(body)):
        with pytest.raises(ValueError):
            unpack_thresholds(each)
