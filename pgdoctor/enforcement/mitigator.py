"""Carries plans out, one action at a time, and watches whether those who waited were released.

It takes nothing but a plan of its own making: there is no way to a signal past the guards. Each action is recorded
and reported twice: an intent, which is on the disk before anything is sent, and its outcome. Neither has the text
of a statement.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.enforcement.action_log import ActionKey, ActionLog
from pgdoctor.enforcement.agent_state import AgentStateReader, Brake
from pgdoctor.enforcement.audit import Audit
from pgdoctor.enforcement.observation import Observation
from pgdoctor.enforcement.rehearsals import RehearsalWatch
from pgdoctor.enforcement.shared_record import SharedRecordAccess
from pgdoctor.enforcement.side_effects import SideEffectWatch
from pgdoctor.enforcement.waiter_rights import find_uncounted, list_unchecked_waiters
from pgdoctor.errors import ServerError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import BY_AGENT, BY_COMMAND, Brakes
from pgdoctor.mitigation.budgets import budgets_left
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.guards.rate_limits import Persistence
from pgdoctor.mitigation.history import (
    Action,
    History,
    Outcome,
    ServerLoad,
    decision_id,
    in_mode,
    verify_outcome,
    with_action,
    with_outcome,
    with_poll,
)
from pgdoctor.mitigation.plan import OnlySession, Plan, intend_action, make_plan
from pgdoctor.mitigation.protected_names import unresolved_notes
from pgdoctor.mitigation.rehearsal import RehearsalResult
from pgdoctor.mitigation.rules import Mitigation, Mode, Rule
from pgdoctor.mitigation.shared_record import (
    SharedEvent,
    SharedRecord,
    joined_history,
    lifted_brakes,
    missing_brakes,
    with_shared_action,
    with_shared_event,
)
from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.observer.hot_row_history import needs_second_snapshot
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.offload import offload
from pgdoctor.postgres.signal import SignalReply, send_signal


class MitigationStatus(msgspec.Struct, frozen=True):
    """The state of mitigation at one server, as of the last poll."""

    mode: Mode
    leads: bool = False
    #: The other pgdoctor that leads or contends, in words. None: none was seen.
    rival: str | None = None
    breaker_open: bool = False
    #: Protections that name what the server does not have.
    unresolved: int = 0
    #: Fingerprints that are not signalled until a reset, since they came back too often.
    stopped: int = 0
    #: An operator has disarmed it, here or for all pgdoctors at the server.
    disarmed: bool = False
    #: The record that all pgdoctors at the server share can be read and written.
    shares: bool = True
    #: The rest of each budget; of those of a kind of incident, the smallest.
    budgets: Mapping[str, int] = {}


class Mitigator:
    """Considers one diagnosis after the other, and acts as its settings allow.

    `off` does nothing; `observe` judges, and counts refusals; `dry_run` does all but send; `enforce` signals.
    Without a journal its actions are forgotten at the end. `unattended`: no operator watches it, as in an agent.
    `armed`: it was given the second key that enforce needs. `brake` says why no session is to be signalled, if so; it
    is asked before each plan, and again before each signal. `only`: no other session is signalled.
    `only_reads`: nothing is written to the journal, as for a plan that an assistant asks for.
    """

    def __init__(
        self,
        settings: Mitigation,
        journal: Keeper | None = None,
        *,
        unattended: bool = False,
        armed: bool = True,
        brake: Brake | None = None,
        only: OnlySession | None = None,
        only_reads: bool = False,
    ) -> None:
        self.settings = settings
        self.only = only
        #: Of the latest diagnosis.
        self.plan = Plan()
        #: The actions whose outcome the latest diagnosis has shown.
        self.settled: tuple[Action, ...] = ()
        self._standing = MitigationStatus(settings.mode)
        self._audit = Audit(journal, BY_AGENT if unattended else BY_COMMAND, only_reads=only_reads)
        self._sharing = SharedRecordAccess()
        self._position = AgentStateReader(self._audit, self._sharing, brake, unattended=unattended, armed=armed)
        #: Actions that were written to what pgdoctors share, and whose outcome was not: as they were then.
        self._shared_intents: dict[str, Action] = {}
        self._joined: tuple[History, SharedRecord, History] | None = None
        self._told_brake: str | None = None
        self._is_unattended = unattended
        self._telling = ActionLog()
        self._traces = SideEffectWatch()
        self._rehearsals = RehearsalWatch()
        #: What protections name and the server does not have, in words.
        self._unresolved: tuple[str, ...] = ()
        #: Of the latest poll.
        self._observation: Observation | None = None
        #: An action is being carried out; and one that was broken off meanwhile.
        self._is_carrying_out = False
        self._broken_off: Action | None = None
        self._is_winding_down = False
        self.reconfigure(settings)

    @property
    def history(self) -> History:
        """What was seen and done so far, here and, by the journal and what pgdoctors share, elsewhere."""
        here, there = self._audit.history, self._sharing.shared
        if self._joined is None or self._joined[0] is not here or self._joined[1] is not there:
            self._joined = here, there, joined_history(there, here)
        return self._joined[2]

    @property
    def actions(self) -> Mapping[ActionKey, int]:
        """Actions by signal, rule and outcome; all that may come up are there as 0."""
        return self._telling.actions

    @property
    def refused(self) -> Mapping[str, int]:
        """Refusals by reason, one for each transaction that it objects to; all reasons are there as 0."""
        return self._telling.refused

    @property
    def traces(self) -> Mapping[str, int]:
        """What actions have left behind, by kind; all kinds are there as 0."""
        return self._traces.counts

    @property
    def rehearsals(self) -> Mapping[RehearsalResult, int]:
        """Rehearsed actions by result; all results are there as 0."""
        return self._rehearsals.counts

    @property
    def rehearsed_session_seconds(self) -> float:
        """Time of waiting sessions that rehearsed actions would have saved."""
        return self._rehearsals.session_seconds

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Remains of the actions of the last minutes, and misnamed protections, as of the last poll."""
        return (*self._traces.notes, *unresolved_notes(self._unresolved, self.settings))

    @property
    def standing(self) -> MitigationStatus:
        """As of the last poll; without a connection it no longer leads."""
        return replace(self._standing, leads=self._standing.leads and self._position.leader.leads)

    @property
    def may_act(self) -> bool:
        """Whether decisions are carried out, or at least announced."""
        return self.settings.mode in ("dry_run", "enforce")

    @property
    def armed(self) -> bool:
        """Whether it was given the second key that enforce needs."""
        return self._position.armed

    @property
    def is_busy(self) -> bool:
        """Whether an action is being carried out, or is watched until its effect is known."""
        return self._is_carrying_out or self.history.under_way is not None

    @property
    def needs_a_look(self) -> bool:
        """Whether the next poll settles something: an open action, or a decision that lacks only another poll."""
        if self.settings.mode != "enforce":
            return False
        lacking = ([each.guard for each in decision.objections] for decision in self.plan.decisions)
        return self.history.under_way is not None or [Persistence.name] in lacking

    @property
    def judges_each_poll(self) -> bool:
        """Whether each poll has to read the waits: for rules, or for an action that is watched."""
        return self.settings.mode != "off" or self.is_busy

    @property
    def has_just_signalled(self) -> bool:
        """Whether the latest poll has led to a signal whose effect is not known yet."""
        action, observation = self.history.under_way, self._observation
        return action is not None and observation is not None and action.at >= observation.now

    async def read_brakes(self) -> Brakes:
        """What was pulled, and holds, as far as is known here."""
        return await self._position.read_brakes()

    @property
    def is_disarmed(self) -> bool:
        """Whether a disarm holds, as far as is known here."""
        return self._position.pulled.kill_switch is not None

    @property
    def sharing_error(self) -> str | None:
        """Why what all pgdoctors at the server share cannot be read or written; None: it can be."""
        return self._sharing.error

    def disarm(self, reason: str, by: str) -> None:
        """Send no signal until an operator arms again; an open action is still watched. It holds at once.

        Other pgdoctors at the server learn it at the next poll.
        """
        observation = self._observation
        # The server's clock, which tells whether an operator has armed since.
        now = (
            datetime.now(UTC)
            if observation is None
            else observation.now + timedelta(seconds=time.monotonic() - observation.read_at)
        )
        self._audit.pull_brake(audit_records.Disarm(now, reason, by))

    async def write_down(self) -> bool:
        """Whether a disarm is on the disk now, so that it holds after a restart too."""
        return await self._audit.write_down()

    def wind_down(self) -> None:
        """Begin no more actions. An open one is still watched."""
        self._is_winding_down = True

    async def record_unfinished_action(self) -> None:
        """Record an action that is no longer watched: it was sent, or may have been, and no more is known."""
        action, observation = self.history.under_way, self._observation
        if action is not None:
            left = replace(action, outcome="unverified", message="pgdoctor ended before the effect was known")
            self._audit.history = with_outcome(self._audit.history, action, left)
            self._log_outcome(left)
            self._broken_off = left
        for score in self._rehearsals.end():
            await self._audit.write_event(score)
        if observation is not None:
            await self._record_broken_off(observation)

    async def resign_leadership(self) -> None:
        """Let others lead: no action goes over this connection any more. Raises ServerError."""
        await self._position.leader.resign_leadership()

    def reconfigure(self, settings: Mitigation) -> None:
        """Go on with other settings; counts and actions so far stay."""
        self.settings = settings
        self._telling.prepare_counters(settings)

    async def consider(self, diagnosis: Diagnosis, connection: Connection | None, read_at: float | None = None) -> None:
        """Settle the open action, judge every blocker, and carry out at most one decision.

        `read_at`: when what is diagnosed had been read, on the monotonic clock; None: now. Without a connection it is
        only a rehearsal: no server is asked, and nothing is sent. Raises ServerError.
        """
        self.settled = ()
        observation = self._observation = Observation(
            diagnosis, connection, time.monotonic() if read_at is None else read_at
        )
        if observation.connection is not None and self.settings.mode != "off":
            await self._audit.catch_up(observation.connection, observation.now)
            await self._sharing.read_record(
                observation.connection, is_urgent=bool(diagnosis.blockers or self._audit.untold)
            )
        await self._settle_actions(observation)
        if self.settings.mode == "off":
            await self._position.leader.resign_leadership()
            self._standing, self._unresolved = MitigationStatus("off"), ()
            return
        mode = self._position.choose_mode(observation, self.settings)
        await self._share_record(observation, mode)
        circumstances = await self._position.read_state(observation, self.settings)
        self._unresolved = circumstances.unresolved
        self._telling.record_unresolved(self._unresolved, is_allowed=self.settings.allow_unresolved_protections)
        self.plan = await self._make_checked_plan(observation, circumstances)
        self._telling.record_refusals(self.plan, aloud=self.may_act)
        await self._extend_history(observation, mode)
        await self._rehearse(observation, mode)
        # A settled action may change the picture, and the next poll shows whether a row changes hands.
        if self.may_act and not self._is_winding_down and not self.settled and not needs_second_snapshot(diagnosis):
            self._is_carrying_out = True
            try:
                await self._carry_out(observation, mode)
                await self._share_outcomes(observation)
            finally:
                self._is_carrying_out = False
        self._standing = self._make_status(observation, mode)

    async def _make_checked_plan(self, observation: Observation, circumstances: AgentState) -> Plan:
        """The plan, once it is known of each wait that an action would be for whether it counts."""
        made = await self._make_plan(observation, circumstances)
        checked: set[int] = set()
        while observation.connection is not None and (unchecked := list_unchecked_waiters(made, checked)):
            checked |= unchecked
            uncounted = await find_uncounted(observation.connection, unchecked, observation.diagnosis.snapshot)
            if uncounted:
                circumstances = replace(circumstances, uncounted={**circumstances.uncounted, **uncounted})
                made = await self._make_plan(observation, circumstances)
        return made

    async def _make_plan(self, observation: Observation, circumstances: AgentState) -> Plan:
        known = in_mode(self.history, self._position.choose_mode(observation, self.settings))
        sessions = len(observation.diagnosis.snapshot.sessions)
        return await offload(sessions, make_plan, observation.diagnosis, self.settings, known, circumstances, self.only)

    async def _rehearse(self, observation: Observation, mode: Mode) -> None:
        """Judge rehearsed actions whose blockers have ended, and begin those that this plan would signal."""
        for score in self._rehearsals.follow(observation.diagnosis):
            await self._audit.write_event(score)
        if mode == "enforce":
            return
        for score in self._rehearsals.begin(self.plan, observation.diagnosis, mode):
            await self._audit.write_event(score)

    async def _extend_history(self, observation: Observation, mode: Mode) -> None:
        """Add this poll to the history."""
        opening = self.plan.opening
        if opening is not None and opening not in (self.history.opening, self.history.rehearsal):
            opening = replace(opening, rehearsed=mode != "enforce")
        known = in_mode(self.history, mode)
        stops = [each for each in self.plan.stops if each not in known.stops]
        new = [replace(each, rehearsed=mode != "enforce") for each in (*filter(None, (opening,)), *stops)]
        if self._position.leader.leads:
            for each in new:
                await self._audit.write_event(each)
            if new and mode == "enforce" and observation.connection is not None:
                await self._tell_others(observation.connection, *new)
        self._audit.history = with_poll(
            self._audit.history, self.plan.fit, observation.now, load=ServerLoad.of(observation.diagnosis), openings=new
        )

    async def _record_broken_off(self, observation: Observation) -> None:
        if self._broken_off is not None:
            action, self._broken_off = self._broken_off, None
            await self._write_outcome(action, observation)

    async def _settle_actions(self, observation: Observation) -> None:
        await self._record_broken_off(observation)
        action = self.history.under_way
        if action is not None:
            settled = verify_outcome(action, observation.diagnosis)
            if settled.outcome is not None:
                self._audit.history = with_outcome(self._audit.history, action, settled)
                await self._conclude_action(settled, observation)
        if observation.connection is not None:
            for done, note in await self._traces.find_new_side_effects(observation.diagnosis, observation.connection):
                await self._audit.write_event(audit_records.record_trace(done, note, observation.now))

    async def _carry_out(self, observation: Observation, mode: Mode) -> None:
        decision = self.plan.approved
        if decision is None:
            return
        action = intend_action(decision, observation.diagnosis)
        intent = audit_records.record_intent(
            action, decision, mode, observation.now, self._budgets_left(observation, mode, action)
        )
        is_written = await self._audit.write_event(intent)
        self._telling.record_intent(decision, intent)
        outcome = self._broken_off = replace(action, outcome="error", message=audit_records.UNKNOWN)
        try:
            if mode != "enforce":
                outcome = replace(action, outcome="would_act")
            elif not is_written:
                outcome = replace(action, outcome="withheld", message=f"not recorded: {self._audit.error}")
            else:
                outcome = await self._send_action(action, decision, observation)
        except BaseException:
            self._audit.history = with_action(self._audit.history, outcome)
            self._log_outcome(outcome)
            raise
        self._audit.history = with_action(self._audit.history, outcome)
        self._broken_off = None
        if outcome.outcome is not None:
            await self._record_outcome(outcome, observation)

    async def _send_action(self, action: Action, decision: Decision, observation: Observation) -> Action:
        """The action after its signal; or withheld, where a guard objects now that did not before."""
        assert observation.connection is not None
        try:
            await self._audit.catch_up(observation.connection, observation.now)
            await self._sharing.read_record(observation.connection, is_urgent=True)
            circumstances = await self._position.read_state(observation, self.settings)
            settings = self.settings
            objections = (await self._make_checked_plan(observation, circumstances)).objections_to(decision)
        except ServerError as error:
            return replace(action, outcome="withheld", message=str(error))
        mode = self._position.choose_mode(observation, self.settings)
        if objections is None and mode != "enforce":
            objections = f"the mode is {mode} now"
        # While the plan was made an operator may have pulled the brake.
        pulled = (await self.read_brakes()).kill_switch
        if objections is None and not pulled:
            objections = await self._share_intent(action, observation)
        # And while that was written. From here to the signal nothing is waited for; what others pull the server sees.
        pulled = pulled or self._position.pulled.kill_switch
        if objections is None and pulled:
            objections = f"kill_switch: {pulled}"
        if objections is None and self.settings is not settings:
            objections = "the settings have changed"
        if objections is None and self._is_winding_down:
            objections = "pgdoctor is shutting down"
        if objections is not None:
            return replace(action, outcome="withheld", message=objections)
        assert decision.rule is not None
        wait, wrapped = decision.rule.min_wait, self._position.has_wrapper
        reply = await send_signal(
            observation.connection,
            action.signal,
            action.victim,
            min_wait=wait,
            wrapped=wrapped,
            waiting_pids=decision.waiting_pids,
            record=self._sharing.text,
            unchanged=_is_about_a_state(decision.rule, settings),
        )
        return _with_reply(action, reply)

    async def _share_intent(self, action: Action, observation: Observation) -> str | None:
        """Tell all others at the server what is about to be done; why that could not be, or None."""
        assert observation.connection is not None
        try:
            failed = await self._sharing.write_record(
                observation.connection, lambda known: with_shared_action(known, action, observation.now), expected=True
            )
        except ServerError as error:
            return str(error)
        if failed is None:
            self._shared_intents[decision_id(action.victim, action.signal)] = action
        return failed

    async def _share_record(self, observation: Observation, mode: Mode) -> None:
        """Bring what all pgdoctors at the server share up to what is known here. Raises ServerError."""
        if observation.connection is None:
            return
        untold: list[SharedEvent] = list(self._audit.untold)
        if not untold:
            for event in lifted_brakes(self._sharing.shared, self._audit.brakes):
                if await self._audit.write_event(event):
                    self._audit.take_events([event])
        if mode == "enforce":
            untold += missing_brakes(self._sharing.shared, self._audit.brakes, observation.now)
        if untold and await self._tell_others(observation.connection, *untold):
            del self._audit.untold[:]
        await self._share_outcomes(observation)
        # The root blockers must be known before the first action; and that an agent acts at this server at all.
        is_unmarked = not self._sharing.shared.is_used or self._sharing.error is not None
        if mode == "enforce" and is_unmarked and self._is_unattended and self._position.leader.leads:
            await self._sharing.write_record(observation.connection, lambda known: replace(known, is_used=True))
        self._tell_brake()

    async def _share_outcomes(self, observation: Observation) -> None:
        """What came of the actions that were announced to all. Raises ServerError."""
        known = {decision_id(each.victim, each.signal): each for each in self._audit.history.actions}
        settled = [known[name] for name in self._shared_intents if name in known and known[name].outcome is not None]
        if not settled or observation.connection is None or not observation.connection.is_open:
            # Over the next connection, then.
            return

        def concluded_all(shared: SharedRecord) -> SharedRecord:
            for action in settled:
                shared = with_shared_action(shared, action, observation.now)
            return shared

        if await self._sharing.write_record(observation.connection, concluded_all) is None:
            for action in settled:
                del self._shared_intents[decision_id(action.victim, action.signal)]

    async def _tell_others(self, connection: Connection, *events: SharedEvent) -> bool:
        """Whether all pgdoctors at the server can see these now. Raises ServerError."""

        def all_told(shared: SharedRecord) -> SharedRecord:
            for event in events:
                shared = with_shared_event(shared, event)
            return shared

        return await self._sharing.write_record(connection, all_told) is None

    def _tell_brake(self) -> None:
        """Log when an operator elsewhere has disarmed, or armed again."""
        said = self._sharing.shared.brakes.kill_switch
        if said != self._told_brake and self._is_unattended:
            self._telling.record_brake(said)
            self._told_brake = said

    async def _conclude_action(self, action: Action, observation: Observation) -> None:
        self._traces.follow_action(action)
        await self._record_outcome(action, observation)

    def _log_outcome(self, action: Action) -> None:
        self.settled += (action,)
        self._telling.record_outcome(action)

    async def _record_outcome(self, action: Action, observation: Observation) -> None:
        """Write it down, then say it: what the log has said is never missing in the journal of a killed agent."""
        try:
            await self._write_outcome(action, observation)
        finally:
            self._log_outcome(action)

    async def _write_outcome(self, action: Action, observation: Observation) -> None:
        mode: Mode = "dry_run" if action.outcome == "would_act" else "enforce"
        await self._audit.write_event(
            audit_records.record_settled(action, observation.now, self._budgets_left(observation, mode, action))
        )

    def _budgets_left(self, observation: Observation, mode: Mode, action: Action | None = None) -> Mapping[str, int]:
        fingerprint = action.fingerprint if action else None
        return budgets_left(in_mode(self.history, mode), self.settings, observation.now, fingerprint)

    def _make_status(self, observation: Observation, mode: Mode) -> MitigationStatus:
        leads = self.may_act and self._position.leader.leads
        rival = self._position.leader.rival if self.may_act and not leads else None
        return MitigationStatus(
            mode,
            leads,
            rival=rival,
            breaker_open=self.plan.opening is not None,
            unresolved=len(self._unresolved),
            stopped=len(self.plan.stops),
            disarmed=self.is_disarmed,
            shares=self._sharing.error is None,
            budgets=self._budgets_left(observation, mode),
        )


def _is_about_a_state(rule: Rule, settings: Mitigation) -> bool:
    """What was asked of its statement, or of the age of its state, was asked of the sessions of that poll alone."""
    asks_for_text = rule.statement is not None or any(each.statement is not None for each in settings.protect)
    return asks_for_text or rule.min_state_age > 0


def _with_reply(action: Action, reply: SignalReply) -> Action:
    at = reply.at or action.at
    outcome: Outcome | None = None if reply.answer == "sent" else reply.answer
    return replace(action, at=at, outcome=outcome, sqlstate=reply.sqlstate, message=reply.message)
