"""The keys c and k: one session, by the same rules, guards and journal as `pgdoctor mitigate --pid PID --execute`."""

from pgdoctor.cli._mitigate_operations import about, executed
from pgdoctor.cli._watch_loop import Said
from pgdoctor.config.config import Config
from pgdoctor.mitigation.plan import OnlySession, Plan
from pgdoctor.render.live.view import Signal, ViewQuestion
from pgdoctor.render.plan import DecisionFacts, action_text
from pgdoctor.render.session_facts import describe_effect


class WatchActions:
    """Asks about sessions of one server, and signals them. `path`: where the configuration was read from."""

    def __init__(self, dsn: str, config: Config, path: str | None) -> None:
        self._dsn = dsn
        self._config = config
        self._path = path

    async def ask(self, pid: int, signal: Signal) -> ViewQuestion | Said:
        """What it would free and cost, to be agreed to; or why it may not be done. Raises ServerError."""
        unarmed = self._unarmed()
        if unarmed:
            return (f"{signal} {pid}: no. {unarmed}",)
        facts = await about(self._dsn, self._config, pid)
        decision = facts.decision
        if decision is None:
            return (f"{signal} {pid}: no, {facts.said}.",)
        said = tuple(describe_effect(facts, decision))
        against = tuple(_against(decision, signal))
        if against:
            return (f"{signal} {pid}: no.", *against, *said)
        allowed = f"Rule {decision.rule} allows it, and no guard objects."
        return ViewQuestion(signal, pid, (_who(decision), *said, allowed), decision.id)

    async def act(self, agreed: ViewQuestion) -> Said:
        """What came of it; the guards have their say once more. Raises ServerError."""
        only = OnlySession(agreed.pid, agreed.signal, agreed.decision)
        actions, plan, _ = await executed(self._dsn, self._config, 1, only=only)
        return tuple(map(action_text, actions)) or _nothing(agreed.pid, agreed.signal, plan)

    def _unarmed(self) -> str:
        """Why nobody can be signalled from here; empty where that depends on the session."""
        settings = self._config.mitigation
        if self._path is None:
            return "No rule allows it: there is no configuration (--config FILE; see: pgdoctor config init)."
        if not settings.rules:
            return f"No rule allows it: {self._path} has no [[mitigation.rules]]."
        if settings.mode != "enforce":
            return f'{self._path} has mode = "{settings.mode}" under [mitigation]; signals need "enforce".'
        return ""


def _who(decision: DecisionFacts) -> str:
    """The session that is meant, as people know it."""
    where = f" on {decision.relation}" if decision.relation else ""
    application = f' "{decision.application}"' if decision.application else ""
    who = f"{decision.user or '?'}@{decision.database or '?'}{application}"
    return f"{who}: {decision.classification}{where}."


def _against(decision: DecisionFacts, signal: Signal) -> list[str]:
    if decision.rule is None:
        return [f"No rule allows a signal to class {decision.classification}."]
    if decision.action != signal:
        return [f"Rule {decision.rule} allows only a {decision.action}."]
    return [f"{each.guard}: {each.objection}." for each in decision.verdicts if each.objection is not None]


def _nothing(pid: int, signal: Signal, plan: Plan) -> Said:
    """Why nothing was done after all."""
    decision = next((each for each in plan.decisions if each.pid == pid), None)
    if decision is None:
        return (f"{signal} {pid}: no signal was sent, because no session waits for it any more.",)
    objections = [f"{verdict.guard}: {verdict.objection}." for verdict in decision.objections]
    return (f"{signal} {pid}: no signal was sent.", *objections)
