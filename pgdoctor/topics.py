"""All topics that have a page: the manual, classes, findings, guards and alerts; from the texts in the package."""

import inspect
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

#: Files of Prometheus rules, in docker/ and beside the package.
ALERT_FILES = ("alerts.yml", "alerts_fast.yml")


def load_manual() -> Mapping[str, str]:
    """The pages of the manual, as Markdown, by the names of their files."""
    pages = (page for page in files("pgdoctor").joinpath("docs").iterdir() if page.name.endswith(".md"))
    found = {page.name.removesuffix(".md"): page.read_text(encoding="utf-8") for page in pages}
    return dict(sorted(found.items()))


def read_shelves() -> dict[str, Mapping[str, str]]:
    """The pages of all other topics by kind and name."""
    return {"class": _load_classes(), "finding": _load_findings(), "guard": _load_guards(), "alert": _load_alerts()}


def render_topic(name: str, width: int) -> str | None:
    """The page of a topic as text, no line longer than `width` characters; None where there is no such topic."""
    from pgdoctor.render.markdown import lay_out_markdown

    topics = load_manual()
    return lay_out_markdown(topics[name], width) if name in topics else render_shelved(name, read_shelves(), width)


def read_prevention() -> Mapping[str, str]:
    """By class, what its page says about preventing it, or else about what to do."""
    from pgdoctor.render.manual import read_parts

    found = {name: read_parts(page) for name, page in _load_classes().items()}
    return {name: said.get("Prevent") or said["Do"] for name, said in found.items()}


def render_shelved(name: str, shelves: Mapping[str, Mapping[str, str]], width: int) -> str | None:
    """All pages of that name, as text; None where there is none."""
    from pgdoctor.render.manual import render_manual_page

    # A finding and a guard may be about the same thing, and share its name.
    found = [
        render_manual_page(f"{name} ({kind})", shelf[name], width) for kind, shelf in shelves.items() if name in shelf
    ]
    return "\n\n".join(found) or None


def _load_classes() -> Mapping[str, str]:
    from pgdoctor.diagnosis.cause import all_causes

    return {cause.name: _read_docstring(cause) for cause in sorted(all_causes(), key=lambda cause: cause.name)}


def _load_findings() -> Mapping[str, str]:
    from pgdoctor.diagnosis.finding import all_finding_checks

    return {finding.name: _read_docstring(finding) for finding in all_finding_checks()}


def _read_docstring(each: object) -> str:
    """The docstring of the file of a cause or a finding."""
    module = inspect.getmodule(each)
    return (module and module.__doc__) or ""


def _load_guards() -> Mapping[str, str]:
    from pgdoctor.mitigation.guards import all_guards

    return {guard.name: guard.__doc__ or "" for guard in all_guards()}


def _load_alerts() -> Mapping[str, str]:
    from pgdoctor.render.manual import read_alerts

    package = files("pgdoctor")
    source = Path(__file__).resolve().parents[1] / "docker"
    folder = package if package.joinpath(ALERT_FILES[0]).is_file() else source
    texts = (folder.joinpath(name).read_text(encoding="utf-8") for name in ALERT_FILES)
    return {name: page for text in texts for name, page in read_alerts(text).items()}
