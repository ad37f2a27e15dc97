"""What the agent answers about its own health and about a request, as types: for the JSON Schemas."""

from typing import Literal

import msgspec

Status = Literal["UP", "DEGRADED", "DOWN"]


class Health(msgspec.Struct, frozen=True):
    """GET /health: the process is alive."""

    status: Literal["UP"]
    service: Literal["pgdoctor"]
    version: str


class ComponentHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """One database."""

    status: Status
    #: Connections in use and the most that there may be; null: not known.
    active_connections: int | None
    max_connections: int | None
    #: Unless it is UP: why.
    error: str | msgspec.UnsetType = msgspec.UNSET
    #: While it is connected: of the last answer.
    latency_ms: float | msgspec.UnsetType = msgspec.UNSET


class DeepHealth(msgspec.Struct, frozen=True):
    """GET /health/deep: `database` is the worst server; each of several is a component of its own, too."""

    status: Status
    #: UTC, ISO 8601 with seconds.
    timestamp: str
    service: Literal["pgdoctor"]
    version: str
    components: dict[str, ComponentHealth]


class WebhookAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """POST /webhook: whether the alert began a poll."""

    evaluated: bool
    #: Why it did not.
    reason: str | msgspec.UnsetType = msgspec.UNSET


class DisarmAnswer(msgspec.Struct, frozen=True):
    """POST /mitigation/disarm."""

    disarmed: Literal[True]
    #: Whether the journal has it, so that a restart keeps it.
    recorded: bool
    #: The command that permits signals again.
    until: str


class HttpError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was refused, in one line."""

    #: Null: GET /diagnosis before the first poll.
    error: str | None
    #: GET /diagnosis without a diagnosis: the state of the connection; null before the first attempt.
    state: str | msgspec.UnsetType | None = msgspec.UNSET
