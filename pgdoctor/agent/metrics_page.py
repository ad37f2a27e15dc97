"""The metrics page: all servers and the process, in the format that the client accepts."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pgdoctor import __version__
from pgdoctor.agent.metrics import MetricsSource, gauge, gauges, metric_families
from pgdoctor.journal.location import MAX_SIZE
from pgdoctor.journal.store import JournalUsage
from pgdoctor.notify.notifier import QueuedNotice
from pgdoctor.render.notification import page_link

#: The two formats that there are, as clients ask for them.
_OPEN_METRICS, _TEXT = "application/openmetrics-text", "text/plain"
_OPEN_METRICS_VERSIONS = ("", "1.0.0")

#: What holds of the process as a whole, or does not.
STATES_OF_PROCESS = {
    "config_reload_success": "1 if the last reload (SIGHUP) succeeded. 0: the old configuration is in use and no "
    "signals are sent.",
    "journal_up": "1 if the last write to the journal succeeded, else 0.",
    "archive_up": "1 if the last write to the archive succeeded, or none is configured, else 0.",
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
        "Records and snapshots of incidents that were written to the archive, and batches that failed.",
    ),
    "notifications": (
        "outcome",
        "Incident events by outcome at each receiver: delivered, refused (a permanent error), failed (all attempts), "
        "expired (too old), dropped (queue full).",
    ),
}


class MetricsPage(Collector):
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
        self._coming: dict[bool, asyncio.Task[tuple[bytes, str]]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._registry.register(ProcessCollector(registry=None))

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that the Accept header asks for, and its content type."""
        return self._encode_page(prefers_open_metrics(accept))

    async def page_of_this_turn(self, accept: str) -> tuple[bytes, str]:
        """The same, made once for all who ask in the same turn of the loop: in a crowd that is most of them."""
        wanted = prefers_open_metrics(accept)
        if wanted not in self._coming:
            self._coming[wanted] = asyncio.create_task(self._write_page(wanted))
        return await asyncio.shield(self._coming[wanted])

    async def _write_page(self, open_metrics: bool) -> tuple[bytes, str]:
        # Requests from now on need a newer one.
        del self._coming[open_metrics]
        return self._encode_page(open_metrics)

    def _encode_page(self, open_metrics: bool) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(_OPEN_METRICS if open_metrics else _TEXT)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All families, of one moment."""
        watched = list(self._watched())
        yield from _join_families((each.name, metric_families(each)) for each in watched)
        yield CounterMetricFamily(
            "pgdoctor_log_messages_dropped",
            "Log lines dropped by the rate limit or by write errors.",
            self._dropped_lines(),
        )
        for name, holds in self._states().items():
            yield gauge(f"pgdoctor_{name}", STATES_OF_PROCESS[name], holds)
        for name, (label, text) in COUNTS_OF_PROCESS.items():
            counted = CounterMetricFamily(f"pgdoctor_{name}", text, labels=[label])
            for value, number in self._counts.get(name, {}).items():
                counted.add_metric([value], number)
            yield counted
        yield from _make_notifications(self._told())
        yield from _make_journal_gauges(self._journal())
        yield _links([each.name for each in watched], self._external_url())
        yield InfoMetricFamily("pgdoctor_build", "The agent's version.", {"version": __version__})


def _make_notifications(waiting: QueuedNotice) -> Iterator[Metric]:
    yield gauge("pgdoctor_notifications_queued", "Incident events that are queued for delivery.", waiting.events)
    yield gauges(
        "pgdoctor_notify_breaker_open",
        "1 while the circuit breaker of a receiver is open because half of the latest calls failed.",
        ["receiver"],
        waiting.left_in_peace,
    )


def _make_journal_gauges(journal: JournalUsage) -> Iterator[Metric]:
    yield gauge("pgdoctor_journal_size_bytes", "Size of the journal on disk, with its write-ahead log.", journal.size)
    yield gauge(
        "pgdoctor_journal_lasting_bytes",
        "Part of the journal that is never deleted early: decisions, outcomes, operators' commands.",
        journal.lasting,
    )
    yield gauge(
        "pgdoctor_journal_max_size_bytes",
        "Maximum size of the journal's file ([journal] max_size); its log may add 16 MB.",
        journal.limit,
    )


def _links(servers: Sequence[str | None], external_url: str | None) -> Metric:
    """Where people find each server's page and the manual; no series unless `external_url` is known."""
    family = InfoMetricFamily(
        "pgdoctor_page",
        "Address of the server's page (url) and of the pages of pgdoctor explain (manual), from [http] external_url. "
        "No series without that key.",
        labels=["server"] if any(servers) else [],
    )
    if external_url is not None:
        manual = external_url.rstrip("/") + "/explain/"
        for name in servers:
            url = page_link(external_url, name) or ""
            family.add_metric([name] if name else [], {"url": url, "manual": manual})
    return family


class _Range(NamedTuple):
    """One of the kinds of media that an Accept header names, with how much it is liked: 0 to 1."""

    kind: str
    version: str
    weight: float


def prefers_open_metrics(accept: str) -> bool:
    """Whether a client likes OpenMetrics at least as much as plain text, which it gets unless it asks.

    The library's own choice knows no weights, and promises any version that it is asked for.
    """
    ranges = [_parse_range(each) for each in accept.lower().split(",")]
    liked = [each.weight for each in ranges if each.kind == _OPEN_METRICS and each.version in _OPEN_METRICS_VERSIONS]
    text = [each.weight for each in ranges if each.kind == _TEXT]
    return max(liked, default=0.0) > 0 and max(liked) >= max(text, default=0.0)


def _parse_range(written: str) -> _Range:
    kind, *parameters = (part.strip() for part in written.split(";"))
    given = dict(parameter.partition("=")[::2] for parameter in parameters)
    try:
        weight = float(given.get("q", "1"))
    except ValueError:
        weight = 0.0
    return _Range(kind, given.get("version", ""), weight)


def _join_families(servers: Iterable[tuple[str | None, Iterator[Metric]]]) -> Iterator[Metric]:
    """Each family once, with the series of all servers, told apart by their label."""
    joined: dict[str, Metric] = {}
    for server, all_families in servers:
        label = {} if server is None else {"server": server}
        for family in all_families:
            whole = joined.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [sample._replace(labels=label | sample.labels) for sample in family.samples]
    return iter(joined.values())
