"""The metrics page: all servers and the process, in the format that the client accepts."""

import asyncio
import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from prometheus_client import ProcessCollector

from pgdoctor import __version__
from pgdoctor.agent.metric_family import (
    Family,
    make_counter,
    make_counters,
    make_gauge,
    make_gauges,
    make_info,
    read_family,
)
from pgdoctor.agent.metrics import MetricsSource, metric_families
from pgdoctor.agent.metrics_text import OPEN_METRICS, TEXT, MetricsText
from pgdoctor.journal.location import MAX_SIZE
from pgdoctor.journal.store import JournalUsage
from pgdoctor.notify.notifier import QueuedNotice
from pgdoctor.render.notification import page_link

_OPEN_METRICS_VERSIONS = ("", "1.0.0")

#: Seconds for which the process is not looked at again: that costs as much as all else of an unchanged page (measured).
_PROCESS_AGE = 5.0

#: The quickest: of a page so repetitive the slowest makes it a fifth smaller, for five times the CPU (measured).
_COMPRESSION = 1

#: What holds of the process as a whole, or does not.
STATES_OF_PROCESS = {
    "config_reload_success": "Whether the last reload (SIGHUP) succeeded (1). 0: the old configuration is in use and "
    "no signals are sent.",
    "journal_up": "Whether the last write to the journal succeeded: 1, else 0.",
    "archive_up": "Whether the last write to the archive succeeded, or none is configured: 1, else 0.",
    "archive_waiting": "Records and snapshots of the journal that are not in the archive yet.",
}

#: What is counted of the process as a whole: the label, and what it is.
COUNTS_OF_PROCESS = {
    "http_refused": (
        "reason",
        "Rejected requests and connections: bad credentials, a path without a configured token, a foreign host name, "
        "not HTTP, too large, or too slow. Also: no TLS where it is required, and no file descriptor. Idle connections "
        "are closed (crowded) while other clients wait for a connection slot.",
    ),
    "webhook_received": ("kind", "Alerts received at /webhook. invalid: the body was not an alert."),
    "journal_left_out": (
        "reason",
        "Records and snapshots of incidents that were not stored: too many of the same size within an hour (frequent), "
        "or [journal] max_size reached (full).",
    ),
    "archived": (
        "outcome",
        "Records and snapshots of incidents that were written to the archive, batches that failed, and rows that were "
        "left out since the archive refuses their values (set_aside).",
    ),
    "notifications": (
        "outcome",
        "Incident events by outcome at each receiver: delivered, refused (a permanent error), failed (all attempts), "
        "expired (too old), dropped (queue full).",
    ),
}


class MetricsPage:
    """The metrics page. Asking for it never asks a database."""

    def __init__(
        self,
        watched: Callable[[], Iterable[MetricsSource]],
        counts: Mapping[str, Mapping[str, int]],
        dropped_lines: Callable[[], int],
        states: Callable[[], Mapping[str, float]],
        told: Callable[[], QueuedNotice] = QueuedNotice,
        journal: Callable[[], JournalUsage] = lambda: JournalUsage(0, MAX_SIZE, 0, 0),
        external_url: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._watched = watched
        self._counts = counts
        self._dropped_lines = dropped_lines
        self._states = states
        self._told = told
        self._journal = journal
        self._external_url = external_url
        self._shared: dict[bool, tuple[bytes, str]] = {}
        self._texts: dict[bool, MetricsText] = {}
        self._compressed: tuple[bytes, asyncio.Task[bytes]] | None = None
        self._collector = ProcessCollector(registry=None)
        self._process: tuple[float, list[Family]] = float("-inf"), []

    def fetch_page(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that the Accept header asks for, and its content type."""
        return self._render_page(prefers_open_metrics(accept))

    def page_of_this_turn(self, accept: str) -> tuple[bytes, str]:
        """The same, made once for all who ask in the same turn of the loop: in a crowd that is most of them."""
        wanted = prefers_open_metrics(accept)
        if wanted not in self._shared:
            if not self._shared:
                # From the next turn on a request needs a newer one.
                asyncio.get_running_loop().call_soon(self._shared.clear)
            self._shared[wanted] = self._render_page(wanted)
        return self._shared[wanted]

    async def compress(self, page: bytes) -> bytes:
        """A page by gzip, made once for all who get the same page."""
        if self._compressed is None or self._compressed[0] is not page:
            self._compressed = page, asyncio.create_task(asyncio.to_thread(gzip.compress, page, _COMPRESSION, mtime=0))
        return await asyncio.shield(self._compressed[1])

    def _render_page(self, open_metrics: bool) -> tuple[bytes, str]:
        text = self._texts.get(open_metrics)
        if text is None:
            text = self._texts[open_metrics] = MetricsText(OPEN_METRICS if open_metrics else TEXT)
        watched = list(self._watched())
        servers = [(each.name, metric_families(each)) for each in watched]
        of_process = [*self.process_families([each.name for each in watched]), *self._read_process()]
        return text.render([*servers, (None, of_process)]), text.content_type

    def _read_process(self) -> list[Family]:
        """CPU, memory and descriptors."""
        now = time.monotonic()
        if now - self._process[0] >= _PROCESS_AGE:
            self._process = now, [read_family(each) for each in self._collector.collect()]
        return self._process[1]

    def process_families(self, servers: Sequence[str | None]) -> Iterator[Family]:
        """All families that are not of one server."""
        yield make_counter(
            "pgdoctor_log_messages_dropped",
            "Log lines dropped by the rate limit or by write errors.",
            self._dropped_lines(),
        )
        for name, holds in self._states().items():
            yield make_gauge(f"pgdoctor_{name}", STATES_OF_PROCESS[name], holds)
        for name, (label, text) in COUNTS_OF_PROCESS.items():
            yield make_counters(f"pgdoctor_{name}", text, label, self._counts.get(name, {}))
        yield from _make_notifications(self._told())
        yield from _make_journal_gauges(self._journal())
        yield _build_links(servers, self._external_url())
        yield make_info("pgdoctor_build", "The agent's version.", ("version",), (__version__,))


def _make_notifications(waiting: QueuedNotice) -> Iterator[Family]:
    yield make_gauge("pgdoctor_notifications_queued", "Incident events that are queued for delivery.", waiting.events)
    yield make_gauges(
        "pgdoctor_notify_breaker_open",
        "Whether the circuit breaker of a receiver is open (1), because half of the latest calls failed.",
        "receiver",
        waiting.left_in_peace,
    )


def _make_journal_gauges(journal: JournalUsage) -> Iterator[Family]:
    yield make_gauge(
        "pgdoctor_journal_size_bytes", "Size of the journal on disk, with its write-ahead log.", journal.size
    )
    yield make_gauge(
        "pgdoctor_journal_lasting_bytes",
        "Part of the journal that is never deleted early: decisions, outcomes, operators' commands.",
        journal.lasting,
    )
    yield make_gauge(
        "pgdoctor_journal_max_size_bytes",
        "Maximum size of the journal's file ([journal] max_size); its log may add 16 MB.",
        journal.limit,
    )


def _build_links(servers: Sequence[str | None], external_url: str | None) -> Family:
    """Where people find each server's page and the manual; no series unless `external_url` is known."""
    labels, keys = (("server",) if any(servers) else ()), []
    if external_url is not None:
        manual = external_url.rstrip("/") + "/explain/"
        keys = [(*filter(None, [name]), page_link(external_url, name) or "", manual) for name in servers]
    return make_info(
        "pgdoctor_page",
        "Address of the server's page (url) and of the pages of pgdoctor explain (manual), from [http] external_url. "
        "No series without that key.",
        (*labels, "url", "manual"),
        *keys,
    )


class _Range(NamedTuple):
    """One of the kinds of media, or encodings, that a header names, with how much it is liked: 0 to 1."""

    kind: str
    version: str
    weight: float


@lru_cache(maxsize=16)
def prefers_open_metrics(accept: str) -> bool:
    """Whether a client likes OpenMetrics at least as much as plain text, which it gets unless it asks.

    The library's own choice knows no weights, and promises any version that it is asked for.
    """
    ranges = [_parse_range(each) for each in accept.lower().split(",")]
    liked = [each.weight for each in ranges if each.kind == OPEN_METRICS and each.version in _OPEN_METRICS_VERSIONS]
    text = [each.weight for each in ranges if each.kind == TEXT]
    return max(liked, default=0.0) > 0 and max(liked) >= max(text, default=0.0)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client names gzip among the encodings that it takes."""
    return any(
        each.kind == "gzip" and each.weight > 0 for each in map(_parse_range, accept_encoding.lower().split(","))
    )


def _parse_range(written: str) -> _Range:
    kind, *parameters = (part.strip() for part in written.split(";"))
    given = dict(parameter.partition("=")[::2] for parameter in parameters)
    try:
        weight = float(given.get("q", "1"))
    except ValueError:
        weight = 0.0
    return _Range(kind, given.get("version", ""), weight)
