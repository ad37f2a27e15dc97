"""What all servers of an agent take in turns."""

from pgdoctor.agent.polling.pacing import Pacing, PollTurns


def test_single_server_never_waits_for_its_turn():
    turns = PollTurns(10.0)
    assert all(turns.take(now) for now in (0.0, 0.0, 0.001))


def test_servers_take_turns_within_the_seconds_for_all_of_them():
    turns = PollTurns(10.0)
    turns.servers = 5
    assert [now for now in range(11) if turns.take(float(now))] == [0, 2, 4, 6, 8, 10]


def test_turn_that_was_not_taken_holds_up_no_server():
    turns = PollTurns(10.0)
    turns.servers = 2
    assert turns.take(0.0)
    assert not turns.take(4.9)
    assert turns.take(60.0)
    assert not turns.take(64.9)


def test_number_of_servers_holds_from_the_next_turn_on():
    pacing = Pacing()
    pacing.use(2)
    assert pacing.context_reads.take(0.0)
    assert not pacing.context_reads.take(1.0)
    pacing.use(0)
    assert pacing.context_reads.take(1.0)
