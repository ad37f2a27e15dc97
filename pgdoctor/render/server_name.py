"""Which server: where it was connected to and as whom, and what runs there."""

from pgdoctor.formatting import format_address, format_name
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.render.report import ServerFacts


def describe_server(server: ServerFacts) -> str:
    """`shop on 10.0.0.5:5432 as pgdoctor, cluster shop-1, PostgreSQL 16.4, primary`."""
    place = describe_place(server.database, server.host, server.port)
    known = f"{_format_user(server.user)}{_format_cluster(server.cluster_name)}"
    return f"{place}{known}, {_format_version(server.version_num)}, {_name_role(server)}"


def describe_server_then(entry: IncidentRecord) -> str | None:
    """The same of an incident that was recorded; None where that says nothing of it."""
    if entry.database is None:
        return None
    place = describe_place(entry.database, entry.host, entry.port)
    version = f", {_format_version(entry.version_num)}, {_name_role(entry)}" if entry.version_num else ""
    return f"{place}{_format_user(entry.user)}{_format_cluster(entry.cluster_name)}{version}"


def describe_place(database: str | None, host: str | None, port: int | None) -> str:
    """`shop on 10.0.0.5:5432`; without the place where that is not known."""
    place = f" on {format_address(host, port)}" if host else ""
    return f"{format_name(database)}{place}"


def _format_user(user: str | None) -> str:
    return f" as {format_name(user)}" if user else ""


def _format_cluster(cluster_name: str | None) -> str:
    return f", cluster {format_name(cluster_name)}" if cluster_name else ""


def _format_version(version_num: int) -> str:
    major, minor = divmod(version_num, 10_000)
    return f"PostgreSQL {major}.{minor}"


def _name_role(server: ServerFacts | IncidentRecord) -> str:
    return "standby" if server.in_recovery else "primary"
