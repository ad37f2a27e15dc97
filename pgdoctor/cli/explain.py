"""`pgdoctor explain`: what a class, a finding, a guard, an alert or a metric means; and the pages of the manual."""

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pgdoctor.errors import UsageError
from pgdoctor.topics import load_manual, read_shelves, render_shelved

if TYPE_CHECKING:
    from pgdoctor.agent.metric_family import Family

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
    from pgdoctor.render.manual import render_index
    from pgdoctor.render.markdown import lay_out_markdown, read_introduction

    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
    topics = load_manual()
    if name is not None and name in topics:
        click.echo(lay_out_markdown(topics[name], width))
        return
    shelves = read_shelves()
    if name is None:
        pages = [(topic, read_introduction(text)) for topic, text in topics.items()]
        click.echo(render_index("Manual: pages of the documentation", pages, width))
        click.echo("\n" + render_index("Classes: kinds of blockers", shelves["class"].items(), width))
        click.echo("\n" + render_index("Findings: problems other than lock waits", shelves["finding"].items(), width))
        click.echo("\n" + render_index("Guards: reasons not to send a signal", shelves["guard"].items(), width))
        click.echo(
            "\n"
            + render_index("Alerts: rules in docker/alerts.yml and alerts_fast.yml", shelves["alert"].items(), width)
        )
        click.echo("\nMetrics: give the full name, as in pgdoctor explain pgdoctor_blocked_sessions.")
        return
    if name.startswith("pgdoctor_"):
        shelves = {"metric": read_metrics()}
    if (page := render_shelved(name, shelves, width)) is not None:
        click.echo(page)
        return
    known = ", ".join(dict.fromkeys(each for shelf in (topics, *shelves.values()) for each in shelf))
    raise UsageError(f"there is no page for {name[:100]!r}; known pages: {known}")


def read_metrics() -> Mapping[str, str]:
    """The HELP texts, by the names that are scraped."""
    return {scraped_name(family): family.text for family in declared_metrics()}


def scraped_name(family: "Family") -> str:
    """The name as it is scraped: with `_total` or `_info`."""
    return family.name + _SUFFIXES.get(family.kind, "")


def declared_metrics() -> list["Family"]:
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
    return [*metric_families(nobody), *MetricsPage(tuple, {}, lambda: 0, lambda: states).process_families([])]
