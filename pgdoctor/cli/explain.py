"""`pgdoctor explain`: what a class, a finding, a guard, an alert or a metric means; and the pages of the manual."""

import inspect
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgdoctor.errors import UsageError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_WIDTH = 100

#: What the name of a scraped series has at its end, by the type of its family.
_SUFFIXES = {"counter": "_total", "info": "_info"}


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Explain a class, finding, guard, alert, metric or manual page.

    NAME may also be a page of the manual, such as mitigation. Without NAME the
    command lists all topics.
    """
    from pgdoctor.render.manual import render_index, render_page
    from pgdoctor.render.markdown import introduction, lay_out

    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
    topics = manual()
    if name is not None and name in topics:
        click.echo(lay_out(topics[name], width))
        return
    shelves = {"class": _classes(), "finding": _findings(), "guard": _guards(), "alert": _alerts()}
    if name is None:
        pages = [(topic, introduction(text)) for topic, text in topics.items()]
        click.echo(render_index("Manual: pages of the documentation", pages, width))
        click.echo("\n" + render_index("Classes: kinds of blockers", shelves["class"].items(), width))
        click.echo("\n" + render_index("Findings: problems other than lock waits", shelves["finding"].items(), width))
        click.echo("\n" + render_index("Guards: reasons not to send a signal", shelves["guard"].items(), width))
        click.echo("\n" + render_index("Alerts: rules in docker/alerts.yml", shelves["alert"].items(), width))
        click.echo("\nMetrics: give the full name, as in pgdoctor explain pgdoctor_blocked_sessions.")
        return
    if name.startswith("pgdoctor_"):
        shelves = {"metric": _metrics()}
    # A finding and a guard may be about the same thing, and share its name.
    found = [render_page(f"{name} ({kind})", shelf[name], width) for kind, shelf in shelves.items() if name in shelf]
    if found:
        click.echo("\n\n".join(found))
        return
    known = ", ".join(dict.fromkeys(each for shelf in (topics, *shelves.values()) for each in shelf))
    raise UsageError(f"there is no page for {name[:100]!r}; known pages: {known}")


def manual() -> Mapping[str, str]:
    """The pages of the manual, as Markdown, by the names of their files."""
    pages = (page for page in files("pgdoctor").joinpath("docs").iterdir() if page.name.endswith(".md"))
    found = {page.name.removesuffix(".md"): page.read_text(encoding="utf-8") for page in pages}
    return dict(sorted(found.items()))


def _classes() -> Mapping[str, str]:
    from pgdoctor.diagnosis.cause import all_causes

    return {cause.name: _docstring(cause) for cause in sorted(all_causes(), key=lambda cause: cause.name)}


def _findings() -> Mapping[str, str]:
    from pgdoctor.diagnosis.finding import all_finding_checks

    return {finding.name: _docstring(finding) for finding in all_finding_checks()}


def _docstring(each: object) -> str:
    """What stands above all in the file of a cause or a finding."""
    module = inspect.getmodule(each)
    return (module and module.__doc__) or ""


def _guards() -> Mapping[str, str]:
    from pgdoctor.mitigation.guards import all_guards

    return {guard.name: guard.__doc__ or "" for guard in all_guards()}


def _alerts() -> Mapping[str, str]:
    from pgdoctor.render.manual import read_alerts

    packaged = files("pgdoctor").joinpath("alerts.yml")
    rules = packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "docker" / "alerts.yml"
    return read_alerts(rules.read_text(encoding="utf-8"))


def _metrics() -> Mapping[str, str]:
    """The HELP texts, by the names that are scraped."""
    return {scraped_name(family): family.documentation for family in declared_metrics()}


def scraped_name(family: "Metric") -> str:
    """The name as it is scraped: with `_total` or `_info`."""
    return family.name + _SUFFIXES.get(family.type, "")


def declared_metrics() -> list["Metric"]:
    """Every family of an agent's own metrics, as declared: of one server, then of the process."""
    # Here, not above: these packages take a third of a second to import.
    from pgdoctor.agent.metrics import MetricsSource, metric_families
    from pgdoctor.agent.metrics_page import STATES_OF_PROCESS, MetricsPage
    from pgdoctor.agent.polling.counters import Counters
    from pgdoctor.agent.polling.state import ServerState
    from pgdoctor.enforcement.mitigator import Mitigator
    from pgdoctor.mitigation.rules import Mitigation

    nobody = MetricsSource(None, ServerState(), Counters(), Mitigator(Mitigation()))
    states = dict.fromkeys(STATES_OF_PROCESS, True)
    return [*metric_families(nobody), *MetricsPage(tuple, {}, lambda: 0, lambda: states).collect()]
