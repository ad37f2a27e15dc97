"""The process: from its options to its end by SIGTERM."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading

from msgspec.structs import replace

from pgdoctor.agent.access import Access, exposed, load_access
from pgdoctor.agent.connection import Connection
from pgdoctor.agent.http import Endpoints
from pgdoctor.agent.listen import listen
from pgdoctor.agent.log import Lines, install
from pgdoctor.agent.loop import Poller
from pgdoctor.agent.metrics import Exposition
from pgdoctor.agent.refusals import Refusals
from pgdoctor.agent.server import Server
from pgdoctor.agent.tally import Tally
from pgdoctor.config import Config, LogFormat, load
from pgdoctor.errors import ConfigError
from pgdoctor.mitigation.execute import Mitigator
from pgdoctor.postgres.door import parse_dsn

log = logging.getLogger(__name__)

#: Seconds after SIGTERM at which the process ends whatever still hangs: a thread that resolves a host name, say.
_LAST_RESORT = 1.7

#: Seconds after SIGTERM for answers that are under way.
_GRACE = 1.0

#: How long a thread may keep the interpreter while others (HTTP) want it.
_SWITCH_INTERVAL = 0.001


def run(dsn: str, config_path: str | None, listen_on: str | None, log_format: LogFormat | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises PgdoctorError where it cannot start."""
    config = load(config_path)
    parse_dsn(dsn)
    access = load_access(config.http)
    listener = listen(listen_on or config.agent.listen)
    lines = install(log_format or config.log.format, config.log.lines_per_second)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    return asyncio.run(Agent(dsn, config_path, config, access, lines).serve(listener))


class Agent:
    """The parts, and what joins them: signals, reload, the order of the end."""

    def __init__(self, dsn: str, config_path: str | None, config: Config, access: Access, lines: Lines) -> None:
        self._config_path = config_path
        self._config = config
        self._access = access
        self._lines = lines
        self._tally = Tally()
        self._connection = Connection(dsn, config.agent.deadline)
        self._mitigator = Mitigator(config.mitigation)
        self._poller = Poller(self._connection, config.agent.interval, self._tally, self._mitigator)
        exposition = Exposition(lambda: self._poller.state, self._tally, self._mitigator, lambda: lines.dropped)
        application = Endpoints(self._poller, exposition, self._mode).application()
        self._server = Server(application, access, Refusals(self._tally))
        self._end = asyncio.Event()

    async def serve(self, listener: socket.socket) -> int:
        """Poll and answer until a signal ends it; 0, or 1 where a part of it ended by itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        host, port = listener.getsockname()[:2]
        log.info("listening", extra={"host": host, "port": port, "interval": float(self._config.agent.interval)})
        self._host = host
        self._warn_exposed()
        tasks = [asyncio.create_task(work) for work in (self._poller.run(), self._housekeeping())]
        serving = asyncio.create_task(self._server.serve_on(listener))
        ending = asyncio.create_task(self._end.wait())
        await asyncio.wait({*tasks, serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        self._server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait({*tasks, serving}, timeout=_GRACE)
        self._connection.drop()
        if not self._end.is_set():
            log.error("ended by itself, which is a fault")
            return 1
        log.info("stopped")
        return 0

    def _stop(self, number: int) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        last_resort = threading.Timer(_LAST_RESORT, os._exit, (0,))
        last_resort.daemon = True
        last_resort.start()
        self._end.set()

    def _reload(self) -> None:
        """Take the new configuration; keep the old one, but disarmed, where the new one is broken."""
        try:
            config = load(self._config_path)
            access = load_access(config.http)
        except ConfigError as error:
            self._tally.reload_success = False
            # Not `disarm`, which is for good: the next reload that succeeds may arm it again.
            if self._config.mitigation.mode != "off":
                self._mitigator.reconfigure(replace(self._config.mitigation, mode="observe"))
            log.error("configuration not reloaded, mitigation disarmed", extra={"error": str(error)})
            return
        if config.agent.listen != self._config.agent.listen:
            log.warning("a new listen address needs a restart", extra={"listen": config.agent.listen})
        self._config = config
        self._tally.reload_success = True
        self._poller.interval = config.agent.interval
        self._connection.use_deadline(config.agent.deadline)
        self._mitigator.reconfigure(config.mitigation)
        self._access = access
        self._server.use(access)
        self._lines.per_second = config.log.lines_per_second
        log.info("configuration reloaded", extra={"mode": config.mitigation.mode})
        self._warn_exposed()

    def _warn_exposed(self) -> None:
        for missing in exposed(self._host, self._access):
            log.warning("answers beyond this machine without protection", extra={"missing": missing})

    def _mode(self) -> str:
        return self._config.mitigation.mode if self._tally.reload_success else "disarmed"

    async def _housekeeping(self) -> None:
        """Say once a second which log lines were dropped: the flood itself may have ended."""
        while True:
            await asyncio.sleep(1.0)
            self._lines.tell_dropped()
