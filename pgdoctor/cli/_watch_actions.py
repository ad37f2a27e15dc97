"""The keys c and k: a person signals one session, as `pgdoctor cancel PID` and `pgdoctor terminate PID` do."""

from pgdoctor.cli._manual_operations import ShownAction, open_operations
from pgdoctor.cli._operator import name_operator
from pgdoctor.cli._watch_loop import Said
from pgdoctor.config.config import Config
from pgdoctor.mitigation.history import decision_id
from pgdoctor.render.live.view import Signal, ViewQuestion
from pgdoctor.render.manual_action import describe_action, describe_outcome, describe_refusal


class WatchActions:
    """Asks about sessions of one server, and signals them. `read_only`: it signals none."""

    def __init__(self, dsn: str, config: Config, *, read_only: bool = False) -> None:
        self._dsn = dsn
        self._config = config
        self._read_only = read_only
        #: What the last question was about.
        self._shown: ShownAction | None = None

    async def ask(self, pid: int, signal: Signal) -> ViewQuestion | Said:
        """What it would free and cost, to be agreed to; or why it may not be done. Raises ServerError."""
        if self._read_only:
            return (f"{signal} {pid}: no, this is watch --read-only.",)
        async with open_operations(self._dsn, self._config, name_operator()) as operations:
            shown = await operations.show(signal, pid)
        if shown is None:
            return (f"{signal} {pid}: no, there is no such session at this server.",)
        action = shown.action
        if action.refusal is not None or action.victim is None:
            return tuple(part.words for part in describe_refusal(action))
        said = tuple(part.words for part in describe_action(action, shown.server, shown.brakes))
        if shown.brakes:
            override = f"Override: pgdoctor {signal} {pid} --despite-disarm"
            return (f"{signal} {pid}: no, an operator has stopped all signals.", *said[1:], override)
        self._shown = shown
        return ViewQuestion(signal, pid, said, decision_id(action.victim, signal))

    async def act(self, agreed: ViewQuestion) -> Said:
        """What came of it, if the session is still the one that was shown. Raises ServerError."""
        shown = self._shown
        assert shown is not None
        assert shown.action.victim is not None
        assert decision_id(shown.action.victim, shown.action.signal) == agreed.decision
        async with open_operations(self._dsn, self._config, name_operator()) as operations:
            outcome = await operations.act(shown)
        unrecorded = f"warning: this is not recorded in a journal: {outcome.unrecorded}" if outcome.unrecorded else ""
        return tuple(filter(None, (describe_outcome(shown.action, outcome), unrecorded)))
