"""Who we are at one server, now: whether we lead and may signal, and which brakes hold."""

import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from pgdoctor.mitigation.audit import Audit
from pgdoctor.mitigation.circumstances import Circumstances, mode_in_force
from pgdoctor.mitigation.leader import Leader
from pgdoctor.mitigation.look import Look
from pgdoctor.mitigation.records import Brakes
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.mitigation.shared import joined_brakes
from pgdoctor.mitigation.sharing import Sharing
from pgdoctor.postgres.signal import rights

#: Says why nobody is to be signalled, if so.
Brake = Callable[[], Awaitable[str | None]]


class Position:
    """Asks the server and the brakes. Raises ServerError where the server cannot be asked."""

    def __init__(self, audit: Audit, sharing: Sharing, brake: Brake | None, *, unattended: bool, armed: bool) -> None:
        self.leader = Leader()
        #: It was given the second key that enforce needs.
        self.armed = armed
        #: There are functions on the server that signal, as of the last time it was asked.
        self.has_wrapper = False
        self._audit = audit
        self._sharing = sharing
        self._brake = brake
        self._unattended = unattended

    async def brakes(self) -> Brakes:
        """What was pulled, and holds, as far as is known here."""
        pulled = None if self._brake is None else await self._brake()
        return replace(self.pulled, kill_switch=pulled) if pulled else self.pulled

    @property
    def pulled(self) -> Brakes:
        """The same without the kill-switch file."""
        is_untold = bool(self._audit.untold)
        return joined_brakes(self._sharing.shared, self._audit.brakes, is_untold=is_untold)

    async def circumstances(self, look: Look, settings: Mitigation) -> Circumstances:
        """All of it, for a plan that is made now; tries to get the lead where it is wanted."""
        if look.door is None:
            return Circumstances(armed=False)
        acting = self.mode(look, settings)
        leads = True
        # Through a pooler the lock would stay with one of its connections, and keep everybody else from leading.
        if settings.mode in ("dry_run", "enforce") and not look.is_pooled:
            leads = await self.leader.lead(look.door, acting, look.now)
        else:
            await self.leader.resign()
        ours = await rights(look.door) if look.diagnosis.blockers else None
        self.has_wrapper = ours is not None and ours.has_wrapper
        brakes = await self.brakes()
        return Circumstances(
            leader=leads,
            rival=self.leader.rival,
            kill_switch=brakes.kill_switch,
            maintenance_until=brakes.maintenance_until,
            armed=self.armed,
            may_signal=ours.may_signal if ours else None,
            superuser=self._unattended and ours is not None and ours.is_superuser,
            pooled=look.is_pooled,
            audit=self._audit.error if acting == "enforce" else None,
            shared=self._sharing.error if acting == "enforce" else None,
            watching_since=self.leader.since if self._unattended else None,
            sample_age=time.monotonic() - look.read_at,
        )

    def mode(self, look: Look, settings: Mitigation) -> Mode:
        """The mode that is in force; on paper nothing more than a dry run."""
        return mode_in_force(settings, Circumstances(armed=self.armed and look.door is not None), look.now)
