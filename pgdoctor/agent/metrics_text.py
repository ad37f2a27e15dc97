"""The text of metric families, which is written again only for series whose values have changed.

The client library writes each family the first time, and whenever other series come; after that only numbers are
exchanged. Of 200 servers it would take 200 ms of CPU for each page (measured).
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pgdoctor.agent.metric_family import Family, make_gauge, make_metric

#: The two formats that there are, as clients ask for them.
OPEN_METRICS, TEXT = "application/openmetrics-text", "text/plain"

#: The last line of a page of OpenMetrics.
_END = "# EOF\n"

#: A number as Prometheus writes it.
_format_number: Callable[[float], str] = floatToGoString


#: Stands for the name of a server in a template; no label can contain it.
_PLACE = "\x1fserver\x1f"


class FamilyTemplate(NamedTuple):
    """The text of a family of any server."""

    family: Family
    heading: str
    body: str


class MetricsText:
    """The page in one format. The bytes are the same object for as long as no value changes."""

    def __init__(self, media_type: str) -> None:
        self._encode, self.content_type = choose_encoder(media_type)
        self._is_open = media_type == OPEN_METRICS
        self._rendered: dict[str | None, dict[str, RenderedFamily]] = {}
        self._templates: dict[str, FamilyTemplate] = {}
        self._escaped: dict[str, str] = {}
        self._body = b""

    def render(self, servers: Iterable[tuple[str | None, Iterable[Family]]]) -> bytes:
        """The page of all servers: each family once, with the series of all of them. None is the process too."""
        before, self._rendered = self._rendered, {}
        has_changed = not self._body
        pieces: dict[str, list[str]] = {}
        for server, families in servers:
            known = before.get(server, {})
            rendered = self._rendered.setdefault(server, {})
            for family in families:
                text = rendered[family.name] = known.get(family.name) or RenderedFamily()
                if family != text.family:
                    has_changed = True
                    self._update_text(text, family, server)
                pieces.setdefault(family.name, [text.heading]).append(text.body)
        if has_changed or _count_families(before) != _count_families(self._rendered):
            self._body = "".join([*chain.from_iterable(pieces.values()), _END if self._is_open else ""]).encode()
        return self._body

    def _update_text(self, text: "RenderedFamily", family: Family, server: str | None) -> None:
        if text.family is not None and _has_same_series(text.family, family):
            text.body = _exchange_numbers(text.body, text.family.numbers, family.numbers)
        elif server is None or family.exemplars:
            text.heading, text.body = self._encode_family(family, server)
        else:
            text.heading, text.body = self._fill_template(family, server)
        text.family = family

    def _fill_template(self, family: Family, server: str) -> tuple[str, str]:
        template = self._templates.get(family.name)
        if template is None or not _has_same_series(template.family, family):
            template = self._templates[family.name] = FamilyTemplate(family, *self._encode_family(family, _PLACE))
        body = template.body.replace(_PLACE, self._escape_server(server))
        return template.heading, _exchange_numbers(body, template.family.numbers, family.numbers)

    def _escape_server(self, server: str) -> str:
        if server not in self._escaped:
            _, line = self._encode_family(make_gauge("x", "", 0.0), server)
            self._escaped[server] = line.removeprefix('x{server="').removesuffix('"} 0.0\n')
        return self._escaped[server]

    def _encode_family(self, family: Family, server: str | None) -> tuple[str, str]:
        """Heading and series, by the library."""
        text = self._encode(_OneMetric(make_metric(family, server))).decode().removesuffix(_END)
        # `splitlines` would split at separators of Unicode too.
        lines = [f"{line}\n" for line in text.split("\n")[:-1]]
        count = next((at for at, line in enumerate(lines) if not line.startswith("# ")), len(lines))
        return "".join(lines[:count]), "".join(lines[count:])


class RenderedFamily:
    """The text of one family of one server, without the heading that it shares with those of other servers."""

    __slots__ = ("body", "family", "heading")

    def __init__(self) -> None:
        self.family: Family | None = None
        self.heading = self.body = ""


class _OneMetric(Collector):
    """What the encoders of the library take."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """The one."""
        return [self._metric]


def _has_same_series(before: Family, now: Family) -> bool:
    """Only numbers differ. An exemplar stands behind its number."""
    return before.keys == now.keys and before.text == now.text and not before.exemplars and not now.exemplars


def _exchange_numbers(body: str, before: tuple[float, ...], now: tuple[float, ...]) -> str:
    """The lines of a family with other numbers, in the order of its series."""
    lines = [
        line if old == new else f"{line[: line.rindex(' ')]} {_format_number(new)}"
        for line, old, new in zip(body.split("\n")[:-1], before, now, strict=True)
    ]
    return "\n".join([*lines, ""])


def _count_families(rendered: Mapping[str | None, Mapping[str, RenderedFamily]]) -> list[tuple[str | None, int]]:
    return [(server, len(families)) for server, families in rendered.items()]
