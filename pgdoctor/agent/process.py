"""The process: from its options to its end by SIGTERM."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from msgspec.structs import replace

from pgdoctor.agent import memory
from pgdoctor.agent.archiver import Archiver
from pgdoctor.agent.http.app import Endpoints
from pgdoctor.agent.http.auth import Access, load_access, missing_protections
from pgdoctor.agent.http.http_server import HttpServer
from pgdoctor.agent.http.listen import open_listening_socket
from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.agent.http.repeated_scrapes import RepeatedScrapes
from pgdoctor.agent.http.webhook import WebhookReceiver
from pgdoctor.agent.log import Lines, install_logging
from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.metrics_page import MetricsPage
from pgdoctor.agent.polling.reconnector import DsnFile
from pgdoctor.agent.polling.server_monitor import ServerMonitors, monitored_servers, say_server
from pgdoctor.agent.stored_incidents import IMPORTED
from pgdoctor.config.config import Config, GivenOptions, LogFormat, load_config
from pgdoctor.errors import JournalError, PgdoctorError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import JournalUsage
from pgdoctor.mitigation.audit_records import LASTING
from pgdoctor.mitigation.circumstances import AgentState, find_lapse
from pgdoctor.mitigation.history import KEPT
from pgdoctor.notify.notifier import Notifier, Told, resolve_recipients
from pgdoctor.postgres.dsn import parse_dsn

log = logging.getLogger(__name__)

#: Seconds after SIGTERM for running answers, and from then on for closing the journal.
_GRACE = 1.0
_JOURNAL_GRACE = 0.3

#: Threads at most. Each name lookup takes one, and keeps it for as long as its resolver hangs, even if no
#: task waits for it any more: with Python's few threads one server's name would delay the lookups and diagnoses of
#: all others.
_MOST_THREADS = 256

#: Seconds between two deletions of old journal records.
_CLEARING = 3600.0

#: Seconds from one round of housekeeping to the next: once a second it was a tenth of an idle agent's CPU (measured).
_HOUSEKEEPING = 5.0

#: The name under which the journal keeps the threads of chats.
_THREADS = "notification_threads"

#: What lifts a disarm.
ARM = "pgdoctor mitigate arm"

#: How long a thread may keep the interpreter while others (HTTP) want it.
_SWITCH_INTERVAL = 0.001


def run_agent(
    dsn: str | DsnFile,
    config_path: str | None,
    given: Mapping[str, GivenOptions],
    log_format: LogFormat | None,
    *,
    armed: bool = False,
) -> NoReturn:
    """Run until SIGTERM or SIGINT, then end the process. Raises PgdoctorError where it cannot start.

    `given` are the options of `[agent]` by flag and environment, which stay above the file at every reload, as does
    `log_format`. `armed`: it was started with the second key that `mode = "enforce"` needs.
    """

    def read() -> Config:
        config = load_config(config_path, given)
        return config if log_format is None else replace(config, log=replace(config.log, format=log_format))

    config = read()
    monitored_servers(config, dsn)
    parse_dsn(dsn.read() if isinstance(dsn, DsnFile) else dsn)
    access = load_access(config.http, config.webhook, config.agent.listen)
    told = resolve_recipients(config.notify)
    listener = open_listening_socket(config.agent.listen)
    lines = install_logging(config.log.format, config.log.lines_per_second)
    lines.addFilter(say_server)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    memory.keep_small()
    agent = Agent(dsn, read, config, access, told, lines, armed=armed)
    status = asyncio.new_event_loop().run_until_complete(agent.serve(listener))
    # The interpreter waits for all threads, and one that resolves a host name or reads a file may hang.
    logging.shutdown()
    os._exit(status)


def spread_out(loop: asyncio.AbstractEventLoop) -> None:
    """Give the loop more threads than can hang."""
    loop.set_default_executor(ThreadPoolExecutor(_MOST_THREADS))


class Agent:
    """The parts, and what joins them: signals, reload, the order of the end."""

    def __init__(
        self,
        dsn: str | DsnFile,
        read: Callable[[], Config],
        config: Config,
        access: Access,
        told: Sequence[Told],
        lines: Lines,
        *,
        armed: bool,
    ) -> None:
        self._dsn = dsn
        self._armed = armed
        self._read = read
        self._config = config
        self._access = access
        self._lines = lines
        self._reloaded = True
        self._keeper = Keeper(config.journal.file, config.journal.max_size)
        self._archiver = Archiver(config.archive, self._keeper)
        self._notifier = Notifier(told, config.http.external_url)
        self._monitors = ServerMonitors(
            monitored_servers(config, dsn), config.mitigation, self._keeper, self._notifier, armed=armed
        )
        refusals = RejectionCounter()
        webhook = WebhookReceiver(lambda: [monitor.poller.ask for monitor in self._monitors])
        counts = {
            "http_refused": refusals.counts,
            "webhook_received": webhook.received,
            "notifications": self._notifier.outcomes,
            "journal_left_out": self._keeper.left_out,
            "archived": self._archiver.counts,
        }
        exposition = MetricsPage(
            self._list_sources,
            counts,
            lambda: lines.dropped,
            self._list_states,
            lambda: self._notifier.waiting,
            lambda: self._keeper.usage or JournalUsage(0, self._keeper.max_size, 0, 0),
            lambda: self._config.http.external_url,
        )
        # It imports what it needs; at a request there may be no file descriptor left for that.
        exposition.fetch_page("")
        endpoints = Endpoints(self._monitors, exposition, webhook, self._effective_mode, self._disarm_servers)
        scrapes = RepeatedScrapes(endpoints.respond_to_scrape)
        self._server = HttpServer(endpoints.application(), access, refusals, scrapes)
        #: As the journal has them.
        self._threads = b"{}"
        self._writing: asyncio.Task[bool] | None = None
        self._end = asyncio.Event()
        self._stopping = False

    async def serve(self, listener: socket.socket) -> int:
        """Poll and answer until a signal ends it; 0, or 1 where a part of it ended by itself."""
        loop = asyncio.get_running_loop()
        spread_out(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_config)
        loop.add_signal_handler(signal.SIGUSR1, self._pull_brake)
        host, port = listener.getsockname()[:2]
        log.info("listening", extra={"host": host, "port": port, "interval": float(self._config.agent.interval)})
        self._host = host
        self._warn_exposed()
        self._say_arming()
        await self._take_threads()
        self._notifier.start()
        self._monitors.start(self._end.set)
        housekeeping = asyncio.create_task(self._run_housekeeping())
        archiving = asyncio.create_task(self._archiver.run())
        serving = asyncio.create_task(self._server.serve_on(listener))
        ending = asyncio.create_task(self._end.wait())
        await asyncio.wait({housekeeping, serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        self._server.stop()
        housekeeping.cancel()
        archiving.cancel()
        self._archiver.close()
        await asyncio.gather(self._monitors.stop(_GRACE), asyncio.wait({housekeeping, serving}, timeout=_GRACE))
        await self._keep_threads()
        await asyncio.wait({asyncio.wrap_future(self._keeper.close())}, timeout=_JOURNAL_GRACE)
        if untold := self._notifier.stop():
            log.warning("shutdown: undelivered notifications dropped", extra={"events": untold})
        if not self._stopping:
            log.error("ended unexpectedly")
            return 1
        log.info("stopped")
        return 0

    def _request_stop(self, number: int) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        self._stopping = True
        self._end.set()

    def _reload_config(self) -> None:
        """Take the new configuration; keep the old one, but disarmed, where the new one is broken."""
        try:
            config = self._read()
            wanted = monitored_servers(config, self._dsn)
            access = load_access(config.http, config.webhook, config.agent.listen)
            told = resolve_recipients(config.notify)
        except Exception as error:  # noqa: BLE001 (a fault of ours must not go on with what was allowed before)
            self._reloaded = False
            self._monitors.disarm(self._config.mitigation)
            said = str(error) if isinstance(error, PgdoctorError) else f"internal error: {type(error).__name__}"
            log.error("configuration not reloaded, mitigation disarmed", extra={"error": said})
            return
        if config.agent.listen != self._config.agent.listen:
            log.warning("a new listen address needs a restart", extra={"listen": config.agent.listen})
        if config.journal.file != self._keeper.path:
            log.warning("a new journal needs a restart", extra={"journal": str(config.journal.file)})
        old, self._config = self._config, config
        self._reloaded = True
        self._keeper.max_size = config.journal.max_size
        self._monitors.reconfigure(wanted, config.mitigation)
        self._notifier.reconfigure(told, config.http.external_url)
        if config.archive != old.archive:
            self._archiver.reconfigure(config.archive)
        self._access = access
        self._server.use(access)
        self._lines.write_as(config.log.format, config.log.lines_per_second)
        log.info("configuration reloaded", extra={"mode": config.mitigation.mode})
        self._warn_exposed()
        self._say_arming()

    def _pull_brake(self) -> None:
        """SIGUSR1 disarms. The brake holds at once; it is recorded now or, if that fails, at a later poll."""
        self._monitors.stop_acting("SIGUSR1 was sent to the agent", "a signal")
        # Kept: a task without a reference may be garbage-collected before it ends.
        self._writing = asyncio.create_task(self._monitors.write_down())
        log.warning("mitigation disarmed", extra={"by": "SIGUSR1", "until": ARM})

    async def _disarm_servers(self, reason: str, by: str) -> bool:
        """Signal no session until an operator arms again; whether that is on the disk too, for each server."""
        self._monitors.stop_acting(reason, by)
        log.warning("mitigation disarmed", extra={"by": by, "reason": reason, "until": ARM})
        return await self._monitors.write_down()

    def _say_arming(self) -> None:
        mitigation = self._config.mitigation
        if mitigation.mode != "enforce":
            return
        if not self._armed:
            log.warning(
                "mitigation is only a dry run: enforce needs the flag --enforce", extra={"missing": "--enforce"}
            )
        elif why := find_lapse(mitigation, AgentState(), datetime.now(UTC)):
            log.warning("mitigation is only a dry run", extra={"why": why})
        elif not mitigation.rules:
            log.warning("mitigation is armed, but there are no [[mitigation.rules]]: no session is signalled")
        else:
            until = {"until": mitigation.armed_until} if mitigation.armed_until else {}
            log.warning("mitigation is armed: sessions are cancelled and terminated by the rules", extra=until)

    def _warn_exposed(self) -> None:
        for missing in missing_protections(self._host, self._access):
            log.warning("HTTP is reachable from other machines without protection", extra={"missing": missing})

    def _list_sources(self) -> list[MetricsSource]:
        return [monitor.watched for monitor in self._monitors]

    def _list_states(self) -> Mapping[str, float]:
        return {
            "config_reload_success": self._reloaded,
            "journal_up": self._keeper.error is None,
            "archive_up": self._archiver.error is None,
            "archive_waiting": self._archiver.waiting,
        }

    def _effective_mode(self) -> str:
        return self._config.mitigation.mode if self._reloaded else "disarmed"

    async def _run_housekeeping(self) -> None:
        """Now and then say which log lines were dropped, for the flood itself may have ended, and free memory."""
        clearing = 0.0
        while True:
            if time.monotonic() >= clearing:
                clearing = time.monotonic() + _CLEARING
                await self._clear_journal()
            with suppress(JournalError):
                await self._keeper.checkpoint()
            await self._keep_threads()
            await asyncio.sleep(_HOUSEKEEPING)
            self._lines.tell_dropped()
            memory.give_back()

    async def _take_threads(self) -> None:
        """Go on in the threads that an earlier agent began in a chat."""
        if self._notifier.keeps_threads:
            with suppress(JournalError):
                threads = await self._keeper.run_work(lambda journal: journal.recall("", _THREADS))
                if threads is not None:
                    self._threads = threads
                    self._notifier.take_threads(threads)

    async def _keep_threads(self) -> None:
        if self._notifier.keeps_threads and (threads := self._notifier.threads) != self._threads:
            with suppress(JournalError):
                await self._keeper.run_work(lambda journal: journal.remember("", _THREADS, threads))
                self._threads = threads

    async def _clear_journal(self) -> None:
        """Delete what is too old, and nothing that budgets or brakes rest on; at first see whether it works."""
        oldest = datetime.now(UTC) - max(timedelta(seconds=self._config.journal.keep), KEPT)
        with suppress(JournalError):
            await self._keeper.run_work(lambda journal: journal.forget(oldest, but=LASTING, apart=IMPORTED))
            while await self._keeper.run_work(lambda journal: journal.shrink()):
                pass
