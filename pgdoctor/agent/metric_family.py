"""A metric family as plain values, which cost little to make and to compare, and as the client library's Metric."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from pgdoctor.agent.polling.counters import Durations, Example


class Family(NamedTuple):
    """One family of one server or of the process, with the values of its series."""

    kind: Literal["gauge", "counter", "histogram", "info"]
    #: Without `_total` or `_info`.
    name: str
    text: str
    labels: tuple[str, ...]
    #: The value of the label, or the values of several, for each series; of a histogram the bound of each bucket.
    keys: tuple[str, ...] | tuple[tuple[str, ...], ...]
    #: For each series; of a histogram for each bucket, then the count and the sum.
    numbers: tuple[float, ...]
    #: For each bucket; empty without any.
    exemplars: tuple[Exemplar | None, ...] = ()


def make_gauge(name: str, text: str, value: float) -> Family:
    """A gauge with one series."""
    return Family("gauge", name, text, (), _ONE, (float(value),))


def make_gauges(name: str, text: str, label: str, values: Mapping[Any, float]) -> Family:
    """A gauge with one series for each value of its label."""
    return Family("gauge", name, text, (label,), tuple(values), tuple(map(float, values.values())))


def make_counter(name: str, text: str, value: float) -> Family:
    """A counter with one series."""
    return Family("counter", name, text, (), _ONE, (float(value),))


def make_counters(name: str, text: str, label: str, values: Mapping[Any, float]) -> Family:
    """A counter with one series for each value of its label."""
    return Family("counter", name, text, (label,), tuple(values), tuple(map(float, values.values())))


def make_histogram(name: str, text: str, durations: Durations) -> Family:
    """A histogram of seconds."""
    counts = durations.sum_buckets()
    exemplars = tuple([_make_exemplar(each) for each in durations.examples])
    return Family("histogram", name, text, (), durations.bounds, (*counts, counts[-1], durations.total), exemplars)


def _make_exemplar(example: Example | None) -> Exemplar | None:
    return example and Exemplar({"incident": example.incident}, example.seconds, example.at)


def make_info(name: str, text: str, labels: tuple[str, ...], *keys: tuple[str, ...]) -> Family:
    """Facts that stand in labels, for each series."""
    return Family("info", name, text, labels, keys, (1.0,) * len(keys))


def read_family(metric: Metric) -> Family:
    """The same of a Metric of the library: gauges and counters without labels. Raises ValueError for others."""
    if metric.type not in ("gauge", "counter") or any(sample.labels for sample in metric.samples):
        raise ValueError(metric.name)
    make = make_gauge if metric.type == "gauge" else make_counter
    return make(metric.name, metric.documentation, metric.samples[0].value)


def make_metric(family: Family, server: str | None) -> Metric:
    """The library's Metric, whose series have the label `server` where there are several servers."""
    metric = Metric(family.name, family.text, family.kind)
    of_server = {} if server is None else {"server": server}
    for suffix, labels, number, exemplar in _list_samples(family):
        metric.add_sample(family.name + suffix, of_server | labels, number, exemplar=exemplar)
    return metric


_ONE: tuple[tuple[str, ...], ...] = ((),)

_SUFFIXES = {"gauge": "", "counter": "_total", "info": "_info"}


def _list_samples(family: Family) -> Iterator[tuple[str, dict[str, str], float, Exemplar | None]]:
    """Suffix, labels, number and exemplar of each sample."""
    if family.kind != "histogram":
        for key, number in zip(family.keys, family.numbers, strict=True):
            values = (key,) if isinstance(key, str) else key
            yield _SUFFIXES[family.kind], dict(zip(family.labels, values, strict=True)), number, None
        return
    *buckets, count, total = family.numbers
    exemplars = family.exemplars or (None,) * len(buckets)
    for bound, number, exemplar in zip(family.keys, buckets, exemplars, strict=True):
        yield "_bucket", {"le": str(bound)}, number, exemplar
    yield "_count", {}, count, None
    yield "_sum", {}, total, None
