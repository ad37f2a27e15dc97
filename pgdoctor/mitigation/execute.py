"""Carries plans out, one action at a time, and watches whether those who waited were released.

It takes nothing but a plan of its own making: there is no way to a signal past the guards. Each action is recorded and
told twice: as an intent, which is on the disk before anything is sent, and by its outcome. What a statement says is in
neither.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnosis import Diagnosis, Note
from pgdoctor.diagnosis.former_holders import worth_a_second_look
from pgdoctor.errors import ServerError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation import records
from pgdoctor.mitigation.audit import Audit
from pgdoctor.mitigation.budgets import budgets_left
from pgdoctor.mitigation.circumstances import Circumstances
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.guards.pace import Persistence
from pgdoctor.mitigation.history import (
    Action,
    History,
    Load,
    Outcome,
    acted,
    concluded,
    in_mode,
    looked,
    verified,
)
from pgdoctor.mitigation.look import Look
from pgdoctor.mitigation.plan import Only, Plan, intended, plan
from pgdoctor.mitigation.position import Brake, Position
from pgdoctor.mitigation.protected_names import unresolved_notes
from pgdoctor.mitigation.records import BY_AGENT, BY_COMMAND, Brakes
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.mitigation.telling import ActionKey, Telling
from pgdoctor.mitigation.traces import Traces
from pgdoctor.mitigation.waiters import find_uncounted, list_unchecked_waiters
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.signal import Reply, send

#: Sessions from which on a plan is made in a thread.
_MANY_SESSIONS = 100


class Standing(msgspec.Struct, frozen=True):
    """How mitigation stands at one server, as of the last look."""

    mode: Mode
    leads: bool = False
    #: The other pgdoctor that leads or contends, in words. None: none was seen.
    rival: str | None = None
    breaker_open: bool = False
    #: Protections that name what the server does not have.
    unresolved: int = 0
    #: What is left of each budget; of those of a kind of incident, the smallest.
    budgets: Mapping[str, int] = {}


class Mitigator:
    """Considers one diagnosis after the other, and acts as its settings allow.

    `off` does nothing; `observe` judges, and counts refusals; `dry_run` does all but send; `enforce` signals.
    Without a journal what was done is forgotten at the end. `unattended`: nobody watches it, as nobody does an agent.
    `armed`: it was given the second key that enforce needs. `brake` says why nobody is to be signalled, if so; it is
    asked before each plan, and again before each signal. `only`: nobody but that session is signalled.
    """

    def __init__(
        self,
        settings: Mitigation,
        journal: Keeper | None = None,
        *,
        unattended: bool = False,
        armed: bool = True,
        brake: Brake | None = None,
        only: Only | None = None,
    ) -> None:
        self.settings = settings
        self.only = only
        #: Of the latest diagnosis.
        self.plan = Plan()
        #: The actions whose outcome the latest diagnosis has shown.
        self.settled: tuple[Action, ...] = ()
        self._standing = Standing(settings.mode)
        self._audit = Audit(journal, BY_AGENT if unattended else BY_COMMAND)
        self._position = Position(self._audit, brake, unattended=unattended, armed=armed)
        self._telling = Telling()
        self._traces = Traces()
        #: What protections name and the server does not have, in words.
        self._unresolved: tuple[str, ...] = ()
        #: The latest look.
        self._look: Look | None = None
        #: An action is being carried out; and one that was broken off meanwhile.
        self._is_carrying_out = False
        self._broken_off: Action | None = None
        self._is_winding_down = False
        self.reconfigure(settings)

    @property
    def history(self) -> History:
        """What was seen and done so far, here and, by the journal, elsewhere."""
        return self._audit.history

    @property
    def actions(self) -> Mapping[ActionKey, int]:
        """Actions by signal, rule and outcome; all that may come up are there as 0."""
        return self._telling.actions

    @property
    def refused(self) -> Mapping[str, int]:
        """Refusals by reason, one for each transaction that it speaks against; all reasons are there as 0."""
        return self._telling.refused

    @property
    def traces(self) -> Mapping[str, int]:
        """What actions have left behind, by kind; all kinds are there as 0."""
        return self._traces.counts

    @property
    def findings(self) -> tuple[Note, ...]:
        """What the actions of the last minutes have left behind, and misnamed protections, as of the last look."""
        return (*self._traces.notes, *unresolved_notes(self._unresolved, self.settings))

    @property
    def standing(self) -> Standing:
        """As of the last look; but whose connection is lost does not lead any more."""
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
        """Whether the next look settles something: an action under way, or a decision that lacks only another look."""
        if self.settings.mode != "enforce":
            return False
        lacking = ([each.guard for each in decision.objections] for decision in self.plan.decisions)
        return self.history.under_way is not None or [Persistence.name] in lacking

    @property
    def has_just_signalled(self) -> bool:
        """Whether the latest look has led to a signal whose effect is to be seen."""
        action, look = self.history.under_way, self._look
        return action is not None and look is not None and action.at >= look.now

    async def brakes(self) -> Brakes:
        """What was pulled, and holds, as far as is known here."""
        return await self._position.brakes()

    @property
    def is_disarmed(self) -> bool:
        """Whether a disarm holds, as far as is known here."""
        return self._audit.brakes.kill_switch is not None

    def disarm(self, reason: str, by: str) -> None:
        """Signal nobody until somebody arms again; an action under way is still watched. It holds at once."""
        self._audit.pull(records.Disarm(datetime.now(UTC), reason, by))

    async def write_down(self) -> bool:
        """Whether a disarm is on the disk now, so that it holds after a restart too."""
        return await self._audit.write_down()

    def wind_down(self) -> None:
        """Begin nothing more. What is under way is still watched."""
        self._is_winding_down = True

    async def end(self) -> None:
        """Put on record what nobody watches any more: that it was sent, or may have been, and no more is known."""
        action, look = self.history.under_way, self._look
        if action is not None:
            left = replace(action, outcome="unverified", message="pgdoctor ended before its effect was known")
            self._audit.history = concluded(self.history, action, left)
            self._tell(left)
            self._broken_off = left
        if look is not None:
            await self._record_broken_off(look)

    async def resign(self) -> None:
        """Let others lead: nobody acts over this connection any more. Raises ServerError."""
        await self._position.leader.resign()

    def reconfigure(self, settings: Mitigation) -> None:
        """Go on with other settings; what was counted and done so far stays."""
        self.settings = settings
        self._telling.expect(settings)

    async def consider(self, diagnosis: Diagnosis, door: Door | None, read_at: float | None = None) -> None:
        """Settle the action under way, judge every blocker, and carry out at most one decision.

        `read_at`: when what is diagnosed had been read, on the monotonic clock; None: now. Without a door it is done on
        paper: no server is asked, and nothing is sent. Raises ServerError.
        """
        self.settled = ()
        look = self._look = Look(diagnosis, door, time.monotonic() if read_at is None else read_at)
        if look.door is not None and self.settings.mode != "off":
            await self._audit.catch_up(look.door, look.now)
        await self._settle(look)
        if self.settings.mode == "off":
            await self._position.leader.resign()
            self._standing, self._unresolved = Standing("off"), ()
            return
        circumstances = await self._position.circumstances(look, self.settings)
        self._unresolved = circumstances.unresolved
        self._telling.unresolved(self._unresolved, is_allowed=self.settings.allow_unresolved_protections)
        mode = self._position.mode(look, self.settings)
        self.plan = await self._plan(look, circumstances)
        self._telling.refusals(self.plan, aloud=self.may_act)
        await self._remember(look, mode)
        # What was just settled may change the picture, and the next look tells whether a row changes hands.
        if self.may_act and not self._is_winding_down and not self.settled and not worth_a_second_look(diagnosis):
            self._is_carrying_out = True
            try:
                await self._carry_out(look, mode)
            finally:
                self._is_carrying_out = False
        self._standing = self._stands(look, mode)

    async def _plan(self, look: Look, circumstances: Circumstances) -> Plan:
        """The plan, once it is known of each wait that an action would be for whether it counts."""
        made = await self._make_plan(look, circumstances)
        checked: set[int] = set()
        while look.door is not None and (unchecked := list_unchecked_waiters(made, checked)):
            checked |= unchecked
            uncounted = await find_uncounted(look.door, unchecked)
            if uncounted:
                circumstances = replace(circumstances, uncounted={**circumstances.uncounted, **uncounted})
                made = await self._make_plan(look, circumstances)
        return made

    async def _make_plan(self, look: Look, circumstances: Circumstances) -> Plan:
        known = in_mode(self.history, self._position.mode(look, self.settings))
        making = look.diagnosis, self.settings, known, circumstances, self.only
        if len(look.diagnosis.snapshot.sessions) < _MANY_SESSIONS:
            return plan(*making)
        # A convoy of a thousand takes a fifth of a second; whoever else lives in this loop is not held up by it.
        return await asyncio.to_thread(plan, *making)

    async def _remember(self, look: Look, mode: Mode) -> None:
        """What this look adds to the history."""
        opening = self.plan.opening
        if opening is not None and opening not in (self.history.opening, self.history.rehearsal):
            opening = replace(opening, rehearsed=mode != "enforce")
            if self._position.leader.leads:
                await self._audit.write(opening)
        self._audit.history = looked(
            self.history, self.plan.fit, look.now, load=Load.of(look.diagnosis), opening=opening
        )

    async def _record_broken_off(self, look: Look) -> None:
        if self._broken_off is not None:
            action, self._broken_off = self._broken_off, None
            await self._record(action, look)

    async def _settle(self, look: Look) -> None:
        await self._record_broken_off(look)
        action = self.history.under_way
        if action is not None:
            settled = verified(action, look.diagnosis)
            if settled.outcome is not None:
                self._audit.history = concluded(self.history, action, settled)
                await self._conclude(settled, look)
        if look.door is not None:
            for done, note in await self._traces.look(look.diagnosis, look.door):
                await self._audit.write(records.trace(done, note, look.now))

    async def _carry_out(self, look: Look, mode: Mode) -> None:
        decision = self.plan.approved
        if decision is None:
            return
        action = intended(decision, look.diagnosis)
        intent = records.intent(action, decision, mode, look.now, self._budgets(look, mode, action))
        is_written = await self._audit.write(intent)
        self._telling.intent(decision, intent)
        outcome = self._broken_off = replace(action, outcome="error", message=records.UNKNOWN)
        try:
            if mode != "enforce":
                outcome = replace(action, outcome="would_act")
            elif not is_written:
                outcome = replace(action, outcome="withheld", message=f"not recorded: {self._audit.error}")
            else:
                outcome = await self._signalled(action, decision, look)
        finally:
            self._audit.history = acted(self.history, outcome)
            if outcome.outcome is not None:
                self._tell(outcome)
        self._broken_off = None
        if outcome.outcome is not None:
            await self._record(outcome, look)

    async def _signalled(self, action: Action, decision: Decision, look: Look) -> Action:
        """The action after its signal; or withheld, where a guard objects now that did not before."""
        assert look.door is not None
        try:
            await self._audit.catch_up(look.door, look.now)
            circumstances = await self._position.circumstances(look, self.settings)
            settings = self.settings
            objections = (await self._plan(look, circumstances)).objections_to(decision)
        except ServerError as error:
            return replace(action, outcome="withheld", message=str(error))
        mode = self._position.mode(look, self.settings)
        if objections is None and mode != "enforce":
            objections = f"the mode is {mode} now"
        # While the plan was made somebody may have pulled the brake.
        pulled = (await self.brakes()).kill_switch
        # And while the file was looked for; from here to the signal nothing is waited for.
        pulled = pulled or self._audit.brakes.kill_switch
        if objections is None and pulled:
            objections = f"kill_switch: {pulled}"
        if objections is None and self.settings is not settings:
            objections = "the settings have changed"
        if objections is None and self._is_winding_down:
            objections = "pgdoctor is ending"
        if objections is not None:
            return replace(action, outcome="withheld", message=objections)
        assert decision.rule is not None
        wait, wrapped = decision.rule.min_wait, self._position.has_wrapper
        waits = decision.waiting_pids
        reply = await send(look.door, action.signal, action.victim, min_wait=wait, wrapped=wrapped, waiting_pids=waits)
        return _answered(action, reply)

    async def _conclude(self, action: Action, look: Look) -> None:
        self._tell(action)
        self._traces.follow(action)
        await self._record(action, look)

    def _tell(self, action: Action) -> None:
        self.settled += (action,)
        self._telling.outcome(action)

    async def _record(self, action: Action, look: Look) -> None:
        mode: Mode = "dry_run" if action.outcome == "would_act" else "enforce"
        await self._audit.write(records.settled(action, look.now, self._budgets(look, mode, action)))

    def _budgets(self, look: Look, mode: Mode, action: Action | None = None) -> Mapping[str, int]:
        fingerprint = action.fingerprint if action else None
        return budgets_left(in_mode(self.history, mode), self.settings, look.now, fingerprint)

    def _stands(self, look: Look, mode: Mode) -> Standing:
        leads = self.may_act and self._position.leader.leads
        is_open, unresolved = self.plan.opening is not None, len(self._unresolved)
        rival = self._position.leader.rival if self.may_act and not leads else None
        return Standing(mode, leads, rival, is_open, unresolved, self._budgets(look, mode))


def _answered(action: Action, reply: Reply) -> Action:
    at = reply.at or action.at
    outcome: Outcome | None = None if reply.answer == "sent" else reply.answer
    return replace(action, at=at, outcome=outcome, sqlstate=reply.sqlstate, message=reply.message)
