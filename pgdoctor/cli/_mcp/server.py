"""Tools and manual as the SDK's server: schemas from types, bounded time and number of calls, errors in one line."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import mcp_types as types
import msgspec
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError

from pgdoctor import __version__
from pgdoctor.agent.log import kinds_and_places
from pgdoctor.cli._mcp.manual import SCHEME, list_topics, read_topic
from pgdoctor.cli._mcp.tool import Tool
from pgdoctor.cli._output import format_error
from pgdoctor.errors import PgdoctorError, UsageError
from pgdoctor.render.brief.text import NOTICE
from pgdoctor.render.schemas import make_object_schema

#: Seconds that a call may take, calls that run at once (each has a connection), and calls that may wait for that.
DEADLINE = 20.0
_MOST_RUNNING = 4
_MOST_WAITING = 32

_INSTRUCTIONS = (
    "pgdoctor diagnoses lock waits of a PostgreSQL server. Use triage or diagnose first, and explain for a class, "
    f"finding or guard. {NOTICE} No tool cancels or terminates a session; only a person does."
)

Context: TypeAlias = ServerRequestContext[Any, Any]


class ToolServer:
    """Answers the protocol's requests with these tools."""

    def __init__(self, tools: Sequence[Tool[Any]]) -> None:
        self._tools = {each.name: each for each in tools}
        self._slots = asyncio.Semaphore(_MOST_RUNNING)
        self._calls = 0

    def make_server(self) -> Server[Any]:
        """The server of the SDK."""
        return Server(
            "pgdoctor",
            version=__version__,
            title="pgdoctor",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_describe_tool(each) for each in self._tools.values()])

    async def _call_tool(self, _: Context, asked: types.CallToolRequestParams) -> types.CallToolResult:
        tool = self._tools.get(asked.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"no tool {asked.name[:50]!r}; tools: {', '.join(self._tools)}")
        try:
            answer = await self._call_within_limits(tool, asked.arguments or {})
        except PgdoctorError as error:
            return _make_error(format_error(error))
        except Exception as error:  # noqa: BLE001
            # Its text may quote anything.
            return _make_error(f"internal error, please report it: {'; then '.join(kinds_and_places(error))}")
        return types.CallToolResult(
            content=[types.TextContent(text=answer.decode())], structured_content=msgspec.json.decode(answer)
        )

    async def _call_within_limits(self, tool: Tool[Any], arguments: dict[str, Any]) -> bytes:
        if self._calls >= _MOST_RUNNING + _MOST_WAITING:
            raise UsageError(f"{tool.name}: too many calls at once; try again later")
        self._calls += 1
        try:
            async with asyncio.timeout(DEADLINE), self._slots:
                return await tool.call(arguments)
        except TimeoutError:
            raise UsageError(f"{tool.name}: no answer within {DEADLINE:g} s") from None
        finally:
            self._calls -= 1

    async def _list_resources(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        resources = [
            types.Resource(uri=f"{SCHEME}{topic}", name=topic, description=f"{kind}: {topic}", mime_type="text/plain")
            for kind, topics in list_topics().items()
            for topic in topics
        ]
        return types.ListResourcesResult(resources=resources)

    async def _read_resource(self, _: Context, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(asked.uri)
        try:
            text = read_topic(uri.removeprefix(SCHEME))
        except PgdoctorError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)]
        )


def _describe_tool(tool: Tool[Any]) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=make_object_schema(tool.arguments),
        output_schema=make_object_schema(tool.answer),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.only_reads, destructive_hint=False, open_world_hint=False
        ),
    )


def _make_error(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=" ".join(text.split()))], is_error=True)
