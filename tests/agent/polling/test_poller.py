"""The clock of the polls, the pauses between attempts, and a mitigation that fails."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.agent.polling.poller import next_tick
from pgdoctor.agent.polling.reconnector import LONGEST_PAUSE, Reconnector, seconds_until_retry
from pgdoctor.config.config import AgentSettings
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import Unreachable
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Duration, Mitigation
from tests.agent.polling.assembling import make_poller


def test_a_poll_in_time_is_followed_by_the_next():
    assert next_tick(10.0, 1.0, 10.3) == (11.0, 0)


def test_late_poll_leaves_out_the_missed_values():
    assert next_tick(10.0, 1.0, 13.4) == (14.0, 3)


@given(st.floats(0, 1e6), st.floats(0.1, 1e3), st.floats(0, 1e4))
def test_the_next_poll_is_ahead_and_not_far(due, interval, late):
    following, missed = next_tick(due, interval, due + late)
    assert missed >= 0
    assert due + late - 1e-6 <= following <= due + late + interval + 1e-6


@given(st.integers(0, 10_000), st.floats(0.1, LONGEST_PAUSE))
def test_a_pause_is_bounded(failures, longest):
    assert 0 <= seconds_until_retry(failures, longest) <= longest


def test_attempts_are_not_made_before_their_time():
    async def ask():
        connection = Reconnector("host=127.0.0.1 port=1", 1.0)
        for _ in range(50):
            with pytest.raises(Unreachable, match="refused"):
                await connection.connect()
        return connection._failures

    assert asyncio.run(ask()) < 25


class Failing(Mitigator):
    """A mitigation with a fault in it."""

    considered = 0

    async def consider(self, diagnosis, door, read_at=None):
        self.considered += 1
        raise ZeroDivisionError


def test_a_mitigation_that_fails_is_logged_and_does_not_stop_the_polls(scene, caplog, tmp_path):
    async def poll():
        connection, keeper = Reconnector(scene.dsn, 5.0), Keeper(tmp_path / "journal.db")
        failing = Failing(Mitigation())
        poller = make_poller(connection, AgentSettings(interval=Duration(0.05)), keeper, mitigator=failing)
        polling = asyncio.create_task(poller.run())
        async with asyncio.timeout(30):
            while failing.considered < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert poller.state.up
        polling.cancel()
        connection.drop()
        keeper.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(poll())
    assert caplog.text.count("mitigation failed") >= 5


def test_a_recent_state_is_asked_for_when_polls_are_rare(scene, tmp_path):
    async def poll():
        connection, keeper = Reconnector(scene.dsn, 5.0), Keeper(tmp_path / "journal.db")
        poller = make_poller(connection, AgentSettings(interval=Duration(3600)), keeper)
        polling = asyncio.create_task(poller.run())
        states = [await poller.recent(0.0, 5.0) for _ in range(3)]
        same = [await poller.recent(60.0, 5.0) for _ in range(3)]
        polling.cancel()
        connection.drop()
        keeper.close()
        return states, same

    states, same = asyncio.run(poll())
    assert len({state.last_success for state in states}) == 3
    assert {state.last_success for state in same} == {states[-1].last_success}
