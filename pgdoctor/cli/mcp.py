"""`pgdoctor mcp`: a Model Context Protocol server, so that an assistant can ask what pgdoctor knows."""

import asyncio
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._operator import by_option
from pgdoctor.cli._server_choice import read_dsn
from pgdoctor.config.config import Address, Config, load_config
from pgdoctor.errors import UsageError

if TYPE_CHECKING:
    from pgdoctor.cli._mcp.tool import Tool

_HIGHEST_PORT = 65_535


@click.command()
@click.option("--config", metavar="FILE", envvar="PGDOCTOR_CONFIG", help="Configuration file of the agent.")
@click.option(
    "--journal", metavar="FILE", envvar="PGDOCTOR_JOURNAL", help="Journal file. Default: from the configuration."
)
@dsn_option
@database_argument
@click.option("--server", metavar="NAME", help="Server of several in the configuration ([[servers]]).")
@click.option("--logs", metavar="DIR", multiple=True, help="Folder with server logs that may be read. Repeatable.")
@click.option(
    "--allow-proposals",
    is_flag=True,
    help="Offer the tool propose_signal. A person approves each proposal (pgdoctor mitigate approve).",
)
@click.option("--http", "address", metavar="HOST:PORT", help="Serve streamable HTTP at /mcp instead of stdio.")
@click.option("--token-file", metavar="FILE", help="File with the bearer token for --http. Default: from [http].")
@by_option
def command(
    config: str | None,
    journal: str | None,
    dsn: str,
    server: str | None,
    logs: tuple[str, ...],
    allow_proposals: bool,
    address: str | None,
    token_file: str | None,
    by: str,
) -> None:
    """Serve the Model Context Protocol for assistants, read-only.

    The assistant may ask for diagnosis, triage, lock holders, recorded incidents, the plan of the rules and the manual.
    No tool signals a session. Text of database clients is marked as untrusted, and has no literals. Needs the extra
    mcp: pip install 'pgdoctor[mcp]'.
    """
    _check_address(address, token_file)
    settings = load_config(config)
    if journal is not None:
        settings = msgspec.structs.replace(settings, journal=msgspec.structs.replace(settings.journal, path=journal))
    dsn = _choose_dsn(settings, dsn, server)
    try:
        import mcp.server  # noqa: F401
    except ImportError:
        raise UsageError("the extra mcp is not installed: pip install 'pgdoctor[mcp]'") from None
    tools = _make_tools(settings, config, journal, dsn, logs, by if allow_proposals else None)
    _serve(tools, settings, address, token_file)


def _check_address(address: str | None, token_file: str | None) -> None:
    if address is None and token_file is not None:
        raise UsageError("--token-file belongs to --http")
    try:
        msgspec.convert(address, Address | None)
        is_port = address is None or int(address.rpartition(":")[2]) <= _HIGHEST_PORT
    except msgspec.ValidationError:
        is_port = False
    if not is_port:
        raise UsageError("--http: expected HOST:PORT, such as 127.0.0.1:9898 or [::1]:9898")


def _choose_dsn(settings: Config, dsn: str, name: str | None) -> str:
    """Where to connect to: what was typed, else the named server of the configuration, or its only one."""
    if dsn or not settings.servers:
        if name is not None:
            raise UsageError("--server needs a configuration with [[servers]], and no --dsn")
        return dsn
    found = [each for each in settings.servers if name in (None, each.name)]
    if len(found) != 1:
        raise UsageError(f"--server: choose one of {', '.join(each.name for each in settings.servers)}")
    return read_dsn(found[0])


def _make_tools(
    settings: Config, config: str | None, journal: str | None, dsn: str, logs: tuple[str, ...], by: str | None
) -> "list[Tool[Any]]":
    """The tools; that for proposals only where `by`, who answers for them, is given."""
    from pgdoctor.cli._mcp.journal_tools import JournalTools
    from pgdoctor.cli._mcp.live_tools import LiveTools
    from pgdoctor.cli._mcp.log_folders import LogFolders
    from pgdoctor.cli._mcp.log_tool import LogTool
    from pgdoctor.cli._mcp.manual import EXPLAIN

    found: list[Tool[Any]] = []
    found += [*LiveTools(dsn, settings).list_tools(), *JournalTools(config, journal).list_tools(), EXPLAIN]
    if logs:
        found.append(LogTool(LogFolders(logs)).make_tool())
    if by is not None:
        from pgdoctor.cli._mcp.proposal_tool import ProposalTool

        found.append(ProposalTool(dsn, settings, f"an assistant of {by}").make_tool())
    return found


def _serve(tools: "list[Tool[Any]]", settings: Config, address: str | None, token_file: str | None) -> None:
    from pgdoctor.agent.log import install_logging
    from pgdoctor.cli._mcp.server import ToolServer

    install_logging("text")
    if address is None:
        from pgdoctor.cli._mcp.stdio import serve_stdio

        asyncio.run(serve_stdio(ToolServer(tools).make_server()))
        return
    from pgdoctor.cli._mcp.http import open_access, serve_http

    http = settings.http
    if token_file is not None:
        http = msgspec.structs.replace(http, token_file=token_file)
    access, listener = open_access(http, address)
    asyncio.run(serve_http(ToolServer(tools).make_server(), access, listener))
