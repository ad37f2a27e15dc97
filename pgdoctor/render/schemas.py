"""JSON Schemas of what pgdoctor prints and sends as JSON, made of the types that are encoded.

A later version of the same `schema_version` may add fields, values of `class` and `kind`, and null where the schema has
it already. It removes and renames nothing. A reader ignores fields that it does not know.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.render.blocking_patterns import PatternReport
from pgdoctor.render.brief.diagnosis import BriefDiagnosis
from pgdoctor.render.brief.holders import BriefHolders
from pgdoctor.render.brief.incidents import BriefIncidentReport, BriefIncidents
from pgdoctor.render.brief.log import BriefLog
from pgdoctor.render.brief.manual import BriefTopic
from pgdoctor.render.brief.plan import BriefPlan
from pgdoctor.render.brief.proposal import BriefProposal
from pgdoctor.render.brief.triage import BriefTriage
from pgdoctor.render.health import DeepHealth, Health
from pgdoctor.render.holders import HolderReport
from pgdoctor.render.incident_report import IncidentReport
from pgdoctor.render.lock_table import LockTableReport
from pgdoctor.render.log_report import LogReport
from pgdoctor.render.manual_action import ManualReport
from pgdoctor.render.outbound_alert import OutboundAlert
from pgdoctor.render.plan import PlanFacts
from pgdoctor.render.preflight import PreflightReport
from pgdoctor.render.replay_summary import ReplaySummary
from pgdoctor.render.replay_view import ReplayedSnapshot
from pgdoctor.render.report import Report
from pgdoctor.render.score import ScoreReport
from pgdoctor.render.session_facts import SessionFacts
from pgdoctor.render.triage import TriageFacts

_CLASS_INDENTATION = " " * 4
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class JsonOutput(NamedTuple):
    """A kind of output: its type, and what writes it."""

    encoded: Any
    written_by: str


#: By name; the name is that of the schema's file, too.
OUTPUTS: Mapping[str, JsonOutput] = {
    "diagnose": JsonOutput(Report, "pgdoctor diagnose --format json, GET /diagnosis"),
    "triage": JsonOutput(TriageFacts, "pgdoctor triage --format json"),
    "holders": JsonOutput(HolderReport, "pgdoctor holders RELATION --format json"),
    "lock_table": JsonOutput(LockTableReport, "pgdoctor holders --format json"),
    "preflight": JsonOutput(PreflightReport, "pgdoctor preflight --format json"),
    "signal": JsonOutput(ManualReport, "pgdoctor cancel PID --format json, pgdoctor terminate PID --format json"),
    "mitigate": JsonOutput(PlanFacts, "pgdoctor mitigate --format json"),
    "mitigate_pid": JsonOutput(SessionFacts, "pgdoctor mitigate --pid PID --format json"),
    "score": JsonOutput(ScoreReport, "pgdoctor mitigate score --format json"),
    "incidents": JsonOutput(list[IncidentRecord], "pgdoctor incidents list --format json"),
    "incident_report": JsonOutput(IncidentReport, "pgdoctor incidents report --format json"),
    "replay": JsonOutput(list[ReplayedSnapshot], "pgdoctor incidents replay --format json"),
    "replay_summary": JsonOutput(ReplaySummary, "pgdoctor incidents replay --summary --format json"),
    "patterns": JsonOutput(PatternReport, "pgdoctor incidents patterns --format json"),
    "log": JsonOutput(LogReport, "pgdoctor read --format json"),
    "mcp_triage": JsonOutput(BriefTriage, "the tool triage of pgdoctor mcp"),
    "mcp_diagnose": JsonOutput(BriefDiagnosis, "the tool diagnose of pgdoctor mcp"),
    "mcp_holders": JsonOutput(BriefHolders, "the tool holders of pgdoctor mcp"),
    "mcp_plan": JsonOutput(BriefPlan, "the tool plan of pgdoctor mcp"),
    "mcp_incidents": JsonOutput(BriefIncidents, "the tool incidents of pgdoctor mcp"),
    "mcp_incident_report": JsonOutput(BriefIncidentReport, "the tool incident_report of pgdoctor mcp"),
    "mcp_explain": JsonOutput(BriefTopic, "the tool explain of pgdoctor mcp"),
    "mcp_read_log": JsonOutput(BriefLog, "the tool read_log of pgdoctor mcp"),
    "mcp_propose_signal": JsonOutput(BriefProposal, "the tool propose_signal of pgdoctor mcp"),
    "health": JsonOutput(Health, "GET /health"),
    "health_deep": JsonOutput(DeepHealth, "GET /health/deep"),
    "notification": JsonOutput(OutboundAlert, 'a receiver of [[notify]] with format = "json"'),
}


def schema_to_json(name: str) -> str:
    """The schema as indented JSON text with a line end; raises KeyError."""
    output = OUTPUTS[name]
    about = {"$schema": _DIALECT, "$id": f"urn:pgdoctor:schema:{name}:1", "$comment": f"By {output.written_by}."}
    schema = msgspec.json.encode(about | dedent_descriptions(msgspec.json.schema(output.encoded)))
    return msgspec.json.format(schema, indent=2).decode() + "\n"


def make_object_schema(struct: type[Any]) -> dict[str, Any]:
    """The schema of a Struct with the object itself at the root, as the Model Context Protocol asks for."""
    made: dict[str, Any] = dedent_descriptions(msgspec.json.schema(struct))
    rest: dict[str, Any] = made["$defs"]
    root: dict[str, Any] = rest.pop(made["$ref"].removeprefix("#/$defs/"))
    return root | ({"$defs": rest} if rest else {})


def dedent_descriptions(schema: Any) -> Any:
    """The schema with its descriptions as Python 3.13 has docstrings: without the indentation of the code."""
    if isinstance(schema, dict):
        return {
            key: _dedent(value) if key == "description" else dedent_descriptions(value) for key, value in schema.items()
        }
    return [dedent_descriptions(each) for each in schema] if isinstance(schema, list) else schema


def _dedent(description: Any) -> Any:
    """A property may have the name, too, and its value is a schema."""
    if not isinstance(description, str):
        return dedent_descriptions(description)
    return "\n".join(line.removeprefix(_CLASS_INDENTATION) for line in description.splitlines())
