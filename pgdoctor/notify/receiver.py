"""One receiver: a bounded queue, and a task of its own that sends what is in it, one after the other."""

import asyncio
import hashlib
import logging
import ssl
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple, get_args

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.notify.circuit import Circuit
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import Outgoing, Reply
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.settings import Recipient

log = logging.getLogger(__name__)

#: What becomes of an event. refused: the answer was one that stays the same (3xx, 4xx). failed: every attempt was made.
#: expired: it was too old. dropped: the queue was full, or the receiver was taken out of the configuration.
Outcome = Literal["delivered", "refused", "failed", "expired", "dropped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: Threads that a receiver is known to have; of more the oldest is forgotten, and what follows begins another.
_MOST_THREADS = 1_000

#: Seconds between two lines about the same trouble.
_REMINDER = 60.0


class Notice(NamedTuple):
    """What is to be sent of an event, one after the other, and since when (monotonic)."""

    alert: str
    parts: tuple[Outgoing, ...]
    since: float


class SavedThreads(msgspec.Struct, frozen=True):
    """Threads of incidents, and a digest of the channel that has them: in another one they mean nothing."""

    place: str = ""
    threads: Mapping[str, str] = {}


def _digest_place(address: Endpoint) -> str:
    place = encode_json([address.url, address.channel])
    return hashlib.sha256(place).hexdigest()


class Receiver:
    """Sends from `start` to `stop`; `outcomes` is counted up."""

    def __init__(
        self, settings: Recipient, address: Endpoint, outcomes: dict[str, int], threads: SavedThreads | None = None
    ) -> None:
        self.settings = settings
        self.address = address
        self.circuit = Circuit(settings.breaker_pause)
        self._format = load_format(settings.format)
        self._outcomes = outcomes
        #: What the receiver calls the thread of an incident.
        self._threads: dict[str, str] = {}
        if threads is not None and threads.place == _digest_place(address):
            self._threads = dict(threads.threads)
        self._queue: deque[Notice] = deque()
        self._sending: Notice | None = None
        self._filled = asyncio.Event()
        self._complained_at: float | None = None
        self._tls: ssl.SSLContext | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def threads(self) -> SavedThreads:
        """The threads that are open, for the agent that comes next."""
        return SavedThreads(_digest_place(self.address), dict(self._threads))

    @property
    def waiting(self) -> int:
        """How many are not settled yet."""
        return len(self._queue) + (self._sending is not None)

    def start(self) -> None:
        """Send what comes."""
        self._task = asyncio.create_task(self._run_queue())

    def stop(self) -> None:
        """Break off, at once."""
        if self._task is not None:
            self._task.cancel()
        if self._sending is not None:
            self._queue.appendleft(self._sending)
            self._sending = None

    def drop_all(self) -> None:
        """Drop what waits."""
        self.stop()
        self._outcomes["dropped"] += self.waiting
        self._queue.clear()

    def reconfigure(self, settings: Recipient, address: Endpoint) -> None:
        """Go on with other settings, or to another address: waiting notifications are sent there, at once."""
        if (settings, address) == (self.settings, self.address):
            return
        self.stop()
        if settings.format != self.settings.format:
            self._drop_queued("it was written in another format")
        if (settings.format, address) != (self.settings.format, self.address):
            self._threads.clear()
        self._format = load_format(settings.format)
        self.settings, self.address = settings, address
        self.circuit = Circuit(settings.breaker_pause)
        self.start()

    def _drop_queued(self, why: str) -> None:
        while self._queue:
            self._settle_notice(self._queue.popleft(), "dropped", why)

    def queue_alert(self, alert: str, *parts: Outgoing) -> None:
        """Take one more event into the queue, instead of the oldest where it is full. Never waits."""
        while len(self._queue) >= self.settings.queue:
            self._settle_notice(self._queue.popleft(), "dropped", "the queue is full")
        self._queue.append(Notice(alert, parts, time.monotonic()))
        self._filled.set()

    async def _run_queue(self) -> None:
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            await asyncio.to_thread(self._load_sender)
            self._sending = notice = self._queue.popleft()
            try:
                outcome, why = await self._deliver_notice(notice)
            except Exception as error:
                # A fault of ours must not end the telling of the others.
                log.exception("a notification failed with an exception")
                outcome, why = "failed", f"internal error: {type(error).__name__}"
            self._sending = None
            self._settle_notice(notice, outcome, why)

    def _load_sender(self) -> None:
        """Load what sends, not before there is something to send: 5 MB. Off the loop: it takes a fifth of a second."""
        from pgdoctor.notify import retry, transports  # noqa: F401

        if self._tls is None and self.address.is_tls:
            self._tls = ssl.create_default_context()

    async def _deliver_notice(self, notice: Notice) -> tuple[Outcome, str]:
        """What became of it, and why."""
        from pgdoctor.notify.retry import GaveUp, call_with_retries

        give_up = notice.since + self.settings.max_age
        if time.monotonic() >= give_up:
            return "expired", "it waited too long in the queue"
        for part in notice.parts:
            try:
                reply = await call_with_retries(partial(self._attempt_part, part), self.settings, give_up)
            except GaveUp as last:
                return "expired" if last.is_late else "failed", str(last)
            if not reply.is_delivered:
                return "refused", reply.why
        return "delivered", ""

    async def _attempt_part(self, part: Outgoing) -> Reply:
        """What the receiver answers, once the circuit lets a call through. Raises Postponed."""
        from pgdoctor.notify.http_post import Unanswered
        from pgdoctor.notify.retry import Postponed
        from pgdoctor.notify.transports import Way, send_part

        await asyncio.sleep(self.circuit.wait_seconds(time.monotonic()))
        way = Way(self.address, self.settings.timeout, self._tls)
        try:
            reply = await send_part(self._format, part, way, self._threads.get(part.thread or ""))
        except Unanswered as error:
            self._note_result(False)
            raise self._log_failure(Postponed(str(error))) from None
        self._note_result(reply.is_delivered)
        if reply.may_work_later:
            raise self._log_failure(Postponed(reply.why, reply.retry_after))
        self._note_thread(part, reply)
        return reply

    def _note_thread(self, part: Outgoing, reply: Reply) -> None:
        if part.thread is None:
            return
        if part.ends_thread:
            self._threads.pop(part.thread, None)
        elif reply.thread is not None:
            self._threads.setdefault(part.thread, reply.thread)
        while len(self._threads) > _MOST_THREADS:
            del self._threads[next(iter(self._threads))]

    def _note_result(self, succeeded: bool) -> None:
        was_open, now = self.circuit.opened_at is not None, time.monotonic()
        self.circuit = self.circuit.after_call(succeeded, now)
        if self.circuit.opened_at is not None and not was_open:
            pause = float(self.settings.breaker_pause)
            log.warning(
                "circuit breaker of a receiver opened: half of the latest calls failed",
                extra=self._facts | {"pause": pause},
            )

    def _log_failure(self, error: Exception) -> Exception:
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= _REMINDER:
            log.warning("notification not delivered yet", extra=self._facts | {"reason": str(error)})
            self._complained_at = now
        return error

    def _settle_notice(self, notice: Notice, outcome: Outcome, why: str) -> None:
        self._outcomes[outcome] += 1
        if outcome != "delivered":
            facts = {"incident": notice.alert, "outcome": outcome, "reason": why}
            log.warning("notification not delivered", extra=self._facts | facts)
        elif self._complained_at is not None:
            log.info("notifications are delivered again", extra=self._facts)
            self._complained_at = None

    @property
    def _facts(self) -> dict[str, object]:
        return {"receiver": self.settings.name, "host": self.address.host}
