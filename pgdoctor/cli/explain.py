"""`pgdoctor explain`: what a class of blockers, a finding, a guard, an alert or a metric means, and what to do."""

import inspect
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from pgdoctor.errors import UsageError

_WIDTH = 100


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Explain a class, finding, guard, alert or metric.

    Without NAME the command lists all topics.
    """
    from pgdoctor.render.manual import index, page

    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
    shelves = {"class": _classes(), "finding": _findings(), "guard": _guards(), "alert": _alerts()}
    if name is None:
        click.echo(index("Classes: kinds of blockers", shelves["class"].items(), width))
        click.echo("\n" + index("Findings: problems other than lock waits", shelves["finding"].items(), width))
        click.echo("\n" + index("Guards: reasons not to send a signal", shelves["guard"].items(), width))
        click.echo("\n" + index("Alerts: rules in docker/alerts.yml", shelves["alert"].items(), width))
        click.echo("\nMetrics: give the full name, as in pgdoctor explain pgdoctor_blocked_sessions.")
        return
    if name.startswith("pgdoctor_"):
        shelves = {"metric": _metrics()}
    # A finding and a guard may be about the same thing, and share its name.
    pages = [page(f"{name} ({kind})", shelf[name], width) for kind, shelf in shelves.items() if name in shelf]
    if pages:
        click.echo("\n\n".join(pages))
        return
    known = ", ".join(dict.fromkeys(each for shelf in shelves.values() for each in shelf))
    raise UsageError(f"there is no page for {name[:100]!r}; there is one for {known}")


def _classes() -> Mapping[str, str]:
    from pgdoctor.diagnosis.cause import causes

    return {cause.name: _docstring(cause) for cause in sorted(causes(), key=lambda cause: cause.name)}


def _findings() -> Mapping[str, str]:
    from pgdoctor.diagnosis.finding import findings

    return {finding.name: _docstring(finding) for finding in findings()}


def _docstring(each: object) -> str:
    """What stands above all in the file of a cause or a finding."""
    module = inspect.getmodule(each)
    return (module and module.__doc__) or ""


def _guards() -> Mapping[str, str]:
    from pgdoctor.mitigation.guards import guards

    return {guard.name: guard.__doc__ or "" for guard in guards()}


def _alerts() -> Mapping[str, str]:
    from pgdoctor.render.manual import alerts

    packaged = files("pgdoctor").joinpath("alerts.yml")
    rules = packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "docker" / "alerts.yml"
    return alerts(rules.read_text(encoding="utf-8"))


def _metrics() -> Mapping[str, str]:
    """The HELP texts, by the names that are scraped."""
    # Here, not above: these packages take a third of a second to import.
    from pgdoctor.agent.exposition import STATES_OF_PROCESS, Exposition
    from pgdoctor.agent.metrics import Watched
    from pgdoctor.agent.state import State
    from pgdoctor.agent.tally import Tally

    nobody = Watched(None, State(), Tally(), None)
    states = dict.fromkeys(STATES_OF_PROCESS, True)
    families = Exposition(lambda: [nobody], {}, lambda: 0, lambda: states).collect()
    return {family.name + ("_total" if family.type == "counter" else ""): family.documentation for family in families}
