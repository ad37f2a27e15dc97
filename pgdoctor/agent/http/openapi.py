"""The OpenAPI description of the endpoints, made of the types of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pgdoctor import __version__
from pgdoctor.agent.http.auth import DISARM, WEBHOOK
from pgdoctor.agent.http.inbound_alert import Contract, InboundAlertmanager
from pgdoctor.render.health import DeepHealth, DisarmAnswer, Health, HttpError, WebhookAnswer
from pgdoctor.render.incident_report import IncidentReport
from pgdoctor.render.report import Report
from pgdoctor.render.schemas import dedent_descriptions

_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"


class _Answer(NamedTuple):
    """An answer with status 200, or another that is not an error: its media type, and the type of its JSON."""

    about: str
    media: str = _JSON
    encoded: Any = None
    status: int = 200


class _Endpoint(NamedTuple):
    """A method of a path. `schemes`: the ways to be let in; none: no credentials are needed."""

    method: str
    path: str
    about: str
    answers: Sequence[_Answer]
    parameters: Sequence[Mapping[str, object]] = ()
    #: The types of which one is asked for.
    bodies: Sequence[type[Any]] = ()
    schemes: Sequence[str] = ("token", "password")


_SERVER = {
    "name": "server",
    "in": "query",
    "description": "The name of one of several servers; required if the agent watches several.",
    "schema": {"type": "string"},
}
_INCIDENT = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9A-Za-z]{1,40}$"},
}
_TOPIC = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_REASON = {
    "name": "reason",
    "in": "query",
    "description": "For the audit: one line.",
    "schema": {"type": "string", "maxLength": 500},
}

_REPORT_FILES = (
    ("report.md", "text/markdown", None),
    ("report.html", "text/html", None),
    ("report.json", _JSON, IncidentReport),
    ("export.json.gz", "application/gzip", None),
)

ENDPOINTS: Sequence[_Endpoint] = (
    _Endpoint(
        "get",
        "/health",
        "Whether the process is alive.",
        [_Answer("The process is alive.", encoded=Health)],
        schemes=(),
    ),
    _Endpoint(
        "get",
        "/health/deep",
        "Whether the database answers.",
        [
            _Answer("The status is UP.", encoded=DeepHealth),
            _Answer("The status is DEGRADED or DOWN.", encoded=DeepHealth, status=503),
        ],
    ),
    _Endpoint(
        "get",
        "/metrics",
        "The metrics of the last poll.",
        [
            _Answer("The metrics as Prometheus text.", "text/plain"),
            _Answer("The metrics as OpenMetrics.", "application/openmetrics-text"),
        ],
    ),
    _Endpoint(
        "get",
        "/diagnosis",
        "The diagnosis of the last poll.",
        [
            _Answer("The diagnosis.", encoded=Report),
            _Answer("There is no diagnosis yet.", encoded=HttpError, status=503),
        ],
        [_SERVER],
    ),
    _Endpoint("get", "/", "The page of the server.", [_Answer("The page.", "text/html")], [_SERVER]),
    _Endpoint("get", "/explain/{name}", "A page of the manual.", [_Answer("The page.", "text/plain")], [_TOPIC]),
    _Endpoint("get", "/openapi.json", "This description.", [_Answer("The description.")]),
    _Endpoint("get", "/incidents", "The recorded incidents.", [_Answer("The list.", "text/html")], [_SERVER]),
    _Endpoint(
        "get",
        "/incidents/{id}",
        "The report on an incident.",
        [_Answer("The report.", "text/html")],
        [_INCIDENT, _SERVER],
    ),
    *(
        _Endpoint(
            "get",
            f"/incidents/{{id}}/{name}",
            f"The report on an incident as a file, {name}.",
            [_Answer("The file.", media, encoded)],
            [_INCIDENT, _SERVER],
        )
        for name, media, encoded in _REPORT_FILES
    ),
    _Endpoint(
        "post",
        WEBHOOK,
        "An alert asks for a poll.",
        [_Answer("It is accepted.", encoded=WebhookAnswer, status=202)],
        bodies=(InboundAlertmanager, Contract),
        schemes=("webhook_token",),
    ),
    _Endpoint(
        "post",
        DISARM,
        "Stops mitigation.",
        [_Answer("It is stopped.", encoded=DisarmAnswer)],
        [_REASON],
        schemes=("token",),
    ),
)


def describe_endpoints() -> dict[str, Any]:
    """The OpenAPI document, as JSON has it."""
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path, {})[each.method] = _describe_endpoint(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pgdoctor agent", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {"schemas": _list_schemas(), "securitySchemes": _SCHEMES},
    }


def openapi_to_json() -> str:
    """The document as indented JSON text with a line end."""
    return msgspec.json.format(msgspec.json.encode(describe_endpoints()), indent=2).decode() + "\n"


_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "`token_file` under [http]."},
    "password": {"type": "http", "scheme": "basic", "description": "`basic_auth_file` under [http]."},
    "webhook_token": {"type": "http", "scheme": "bearer", "description": "`token_file` under [webhook]."},
}


def _describe_endpoint(endpoint: _Endpoint) -> dict[str, Any]:
    refused = {"description": "Refused.", "content": {_JSON: {"schema": _refer_to(HttpError)}}}
    described = {
        "summary": endpoint.about,
        "parameters": list(endpoint.parameters),
        "responses": _describe_answers(endpoint.answers) | {"default": refused},
        "security": [{scheme: []} for scheme in endpoint.schemes],
    }
    if endpoint.bodies:
        one_of = {"anyOf": [_refer_to(each) for each in endpoint.bodies]}
        described["requestBody"] = {"required": True, "content": {_JSON: {"schema": one_of}}}
    return described


def _describe_answers(answers: Sequence[_Answer]) -> dict[str, Any]:
    """By status; two answers of one status differ in their media type."""
    described: dict[str, Any] = {}
    for each in answers:
        schema = {"schema": _refer_to(each.encoded)} if each.encoded is not None else {}
        told = described.setdefault(str(each.status), {"description": each.about, "content": {}})
        told["content"][each.media] = schema
    return described


def _refer_to(encoded: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([encoded], ref_template=_REFERENCE)
    return dict(schema)


def _list_schemas() -> dict[str, Any]:
    encoded = [answer.encoded for each in ENDPOINTS for answer in each.answers if answer.encoded is not None]
    bodies = [body for each in ENDPOINTS for body in each.bodies]
    _, schemas = msgspec.json.schema_components([*encoded, *bodies, HttpError], ref_template=_REFERENCE)
    return {name: dedent_descriptions(schema) for name, schema in schemas.items()}
