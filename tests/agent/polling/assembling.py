"""A poller with all its parts, for tests without the rest of the agent."""

from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.incident_recorder import IncidentRecorder
from pgdoctor.agent.polling.learning import Learning
from pgdoctor.agent.polling.login_probe import LoginProbe
from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poller import Poller
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.config.config import AgentSettings
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.notify.notifier import Notifier


def make_poller(
    connection: Reconnector,
    settings: AgentSettings,
    keeper: Keeper,
    *,
    counters: Counters | None = None,
    mitigator: Mitigator | None = None,
    learning: Learning | None = None,
) -> Poller:
    """By default it counts for itself and signals no session. Nothing probes logins, writes or notifies."""
    return Poller(
        connection,
        settings,
        counters or Counters(),
        mitigator or Mitigator(Mitigation()),
        IncidentRecorder(None, keeper, Notifier(()), lambda _: None),
        learning or Learning(keeper),
        LoginProbe(connection.read_dsn, lambda: False, 0.0, settings.deadline),
        Pacing(),
    )
