"""The text of metrics is byte for byte what the client library writes, whatever changes from page to page."""

import asyncio
import gzip
import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.registry import Collector

from pgdoctor.agent import metrics_page
from pgdoctor.agent.metric_family import (
    Family,
    make_counter,
    make_counters,
    make_gauge,
    make_gauges,
    make_histogram,
    make_info,
    make_metric,
)
from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.metrics_page import MetricsPage, accepts_gzip
from pgdoctor.agent.metrics_text import OPEN_METRICS, TEXT, MetricsText
from pgdoctor.agent.polling.counters import Counters, Durations, Example
from pgdoctor.agent.polling.state import ServerState

Page = Sequence[tuple[str | None, Sequence[Family]]]

#: Label values and names of servers that are hard to write.
HARD = ("", 'a"b', "a\\b", "a\nb", "a b", "ä\u2028\x85", "} 1", "# EOF", '"} 0.0', "a # {b} 1")
NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, 1e6, 123456789.5, 1e16, 1e300, 5e-324])


class Joined(Collector):
    """Each family once, with the series of all servers, as the library would be given them."""

    def __init__(self, page: Page) -> None:
        self._metrics: dict[str, Metric] = {}
        for server, families in page:
            for family in families:
                metric = make_metric(family, server)
                self._metrics.setdefault(family.name, Metric(metric.name, metric.documentation, metric.type))
                self._metrics[family.name].samples += metric.samples

    def collect(self) -> Iterable[Metric]:
        return self._metrics.values()


@st.composite
def histograms(draw: st.DrawFn) -> Durations:
    durations = Durations()
    for seconds in draw(st.lists(st.floats(0, 20), max_size=4)):
        durations.add(seconds, draw(st.none() | st.just(Example("2026", seconds, 1e9))))
    return durations


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    """Some of the families of a server, in the order in which they always come."""
    keys = draw(st.sampled_from([HARD, HARD[:2], ()]))
    made = [
        make_gauge("up", "Is up.", draw(NUMBERS)),
        make_gauges("blockers", "By class \\ and\nline.", "class", {key: draw(NUMBERS) for key in keys}),
        make_counter("polls", "Polls.", draw(NUMBERS)),
        make_counters("refused", "Refused.", "reason", {key: draw(NUMBERS) for key in keys}),
        Family("counter", "actions", "Actions.", ("rule", "outcome"), (("a", HARD[3]),), (draw(NUMBERS),)),
        make_histogram("seconds", "Seconds.", draw(histograms())),
        make_info("page", "Page.", ("url",), (draw(st.sampled_from(HARD)),)),
    ]
    return [each for each in made if draw(st.integers(0, 9))]


@st.composite
def pages(draw: st.DrawFn) -> Page:
    if draw(st.booleans()):
        return [(None, draw(families()))]
    servers = draw(st.lists(st.sampled_from(HARD[1:]), max_size=4, unique=True))
    return [*((name, draw(families())) for name in servers), (None, [make_gauge("rss", "Bytes.", draw(NUMBERS))])]


@pytest.mark.parametrize("media_type", [TEXT, OPEN_METRICS])
@given(made=st.lists(pages(), min_size=1, max_size=4))
def test_each_page_is_what_the_library_writes(media_type: str, made: list[Page]) -> None:
    text, (encode, content_type) = MetricsText(media_type), choose_encoder(media_type)
    assert text.content_type == content_type
    for page in made:
        assert text.render(page).decode() == encode(Joined(page)).decode()
        assert text.render(page) is text.render(page)


def observed(up: bool, statements: int) -> list[MetricsSource]:
    counters = Counters()
    counters.statements = statements
    counters.durations.add(0.003)
    return [MetricsSource(name, ServerState(last_success=1e9 * up), counters, None) for name in ("a", 'b"c')]


def without_process(page: str) -> str:
    return re.sub(r"(?m)^process_.*$", "", page)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", parser.text_string_to_metric_families), (OPEN_METRICS, openmetrics.text_string_to_metric_families)],
)
def test_page_parses_after_changes(accept: str, parse) -> None:
    watched = observed(up=False, statements=1)
    page = MetricsPage(lambda: watched, {}, lambda: 0, dict)
    first = page.fetch_page(accept)[0].decode()
    watched = observed(up=True, statements=7)
    second = page.fetch_page(accept)[0].decode()
    fresh = MetricsPage(lambda: watched, {}, lambda: 0, dict).fetch_page(accept)[0].decode()
    assert without_process(fresh) == without_process(second) != without_process(first)
    samples = {(each.name, each.labels.get("server")): each.value for it in parse(second) for each in it.samples}
    assert samples["pgdoctor_statements_total", 'b"c'] == 7
    watched = watched[:1]
    assert 'b\\"c' not in page.fetch_page(accept)[0].decode()


def test_unchanged_page_is_the_same_bytes_and_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, calls = observed(up=True, statements=7), []
    compress = gzip.compress
    monkeypatch.setattr(metrics_page, "_PROCESS_AGE", float("inf"))
    monkeypatch.setattr(gzip, "compress", lambda *given, **named: calls.append(1) or compress(*given, **named))

    async def ask() -> None:
        page = MetricsPage(lambda: watched, {}, lambda: 0, dict)
        first, _ = page.page_of_this_turn("")
        second, _ = page.page_of_this_turn("")
        assert first is second
        packed = await asyncio.gather(*(page.compress(each) for each in (first, second, first)))
        assert {gzip.decompress(each) for each in packed} == {first}

    asyncio.run(ask())
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=nonsense", False),
        ("", False),
        ("*", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_used_where_the_client_names_it(accept_encoding: str, accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is accepted


def test_rendered_names_hold_no_place_of_a_template() -> None:
    page = MetricsPage(lambda: observed(up=True, statements=1), {}, lambda: 0, dict).fetch_page("")[0].decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", page)
