"""The parts of the manual that are written from the code, between `<!-- generated: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pgdoctor
from pgdoctor.agent.http.openapi import openapi_to_json
from pgdoctor.cli.explain import declared_metrics, scraped_name
from pgdoctor.config.config import EXAMPLE
from pgdoctor.diagnosis.cause import all_causes
from pgdoctor.diagnosis.finding import all_finding_checks
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.render.manual import first_sentence
from pgdoctor.render.schemas import OUTPUTS, schema_to_json
from pgdoctor.topics import ALERT_FILES

DOCS = Path(pgdoctor.__file__).parent / "docs"
CHECKOUT = DOCS.parents[1]

_PART = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

#: The sentence that ends the HELP of what a poll finds; the page says it once.
_AGE = re.compile(r"\. Value of the last poll; 0 while .*$")


def _items(pages: Iterable[tuple[str, str]]) -> str:
    return "".join(f"- `{name}`: {text.rstrip('.')}.\n" for name, text in pages)


def _metrics() -> str:
    lines = []
    for family in declared_metrics():
        labels = ",".join(family.labels)
        name = scraped_name(family) + (f"{{{labels}}}" if labels else "")
        lines.append(f"- `{name}` ({family.kind}): {_AGE.sub(' (last poll).', family.text)}\n")
    return "".join(lines)


def _docstring(each: object) -> str:
    """What stands above all in the file of a cause or a finding."""
    module = __import__(type(each).__module__, fromlist=["__doc__"])
    return module.__doc__ or ""


def _code(commands: str) -> str:
    """Commands and requests as code, other words as they are."""
    parts = commands.split(", ")
    return ", ".join(f"`{each}`" if each.startswith(("pgdoctor", "GET")) else each for each in parts)


GENERATORS: dict[str, Callable[[], str]] = {
    "classes": lambda: _items(sorted((cause.name, first_sentence(_docstring(cause))) for cause in all_causes())),
    "findings": lambda: _items((each.name, first_sentence(_docstring(each))) for each in all_finding_checks()),
    "guards": lambda: _items((guard.name, first_sentence(guard.__doc__ or "")) for guard in all_guards()),
    "metrics": _metrics,
    "schemas": lambda: "".join(f"- `{name}`: {_code(output.written_by)}\n" for name, output in OUTPUTS.items()),
    "configuration": lambda: f"```toml\n{EXAMPLE.strip()}\n```\n",
}


def generated(page: str) -> str:
    """The page with every generated part as the code has it now."""
    return _PART.sub(lambda part: f"{part[1]}\n{GENERATORS[part[2]]()}\n{part[4]}", page)


def parts_of(page: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [part[2] for part in _PART.finditer(page)]


def schema_files() -> dict[Path, str]:
    """The JSON Schemas beside the manual, as the code has them now."""
    schemas = {DOCS / "schemas" / f"{name}.json": schema_to_json(name) for name in OUTPUTS}
    return schemas | {DOCS / "schemas" / "openapi.json": openapi_to_json()}


def chart_files() -> dict[Path, str]:
    """The alerts in the Helm chart, which can read no file outside of its folder."""
    files = CHECKOUT / "docker" / "helm" / "pgdoctor" / "files"
    return {files / name: (CHECKOUT / "docker" / name).read_text(encoding="utf-8") for name in ALERT_FILES}


def write() -> None:
    """Bring all pages, schemas and the chart's alerts up to date."""
    for path, text in (schema_files() | chart_files()).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for file in DOCS.glob("*.md"):
        file.write_text(generated(file.read_text(encoding="utf-8")), encoding="utf-8")
