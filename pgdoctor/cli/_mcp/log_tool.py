"""The tool `read_log`: `pgdoctor read` on a file of an allowed folder, in a process of its own.

A file may be huge, or compressed to a thousandth. The process has a time limit, and what it takes ends with it.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Annotated

import msgspec

from pgdoctor.cli._mcp.log_folders import LogFolders
from pgdoctor.cli._mcp.tool import Most, ShortText, Tool
from pgdoctor.errors import UsageError
from pgdoctor.render.brief.log import BriefLog, make_brief_log
from pgdoctor.render.brief.text import NOTICE, keep_first
from pgdoctor.render.log_report import LogReport

#: Seconds that reading may take, and bytes of the report that it writes.
_DEADLINE = 15.0
_MOST_BYTES = 64 * 1024 * 1024

#: Files that are listed.
_MOST_FILES = 20

_decode = msgspec.json.Decoder(LogReport).decode


class LogQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file to read."""

    file: (
        Annotated[ShortText, msgspec.Meta(description="File below a folder of --logs. The default lists the files.")]
        | None
    ) = None
    limit: Most = 3


class LogTool:
    """Reads only what the operator has allowed."""

    def __init__(self, folders: LogFolders) -> None:
        self._folders = folders

    def make_tool(self) -> Tool[LogQuestion]:
        """The tool."""
        return Tool(
            "read_log",
            "Lock incidents of a server log",
            "Lock waits and deadlocks from a PostgreSQL log file (stderr, csvlog, jsonlog) in a folder that the "
            "operator has allowed. Without a file it lists the files.",
            LogQuestion,
            BriefLog,
            self._read,
        )

    async def _read(self, question: LogQuestion) -> BriefLog:
        if question.file is None:
            files, left = keep_first(await asyncio.to_thread(self._folders.list_files), _MOST_FILES)
            return BriefLog(NOTICE, files, left)
        with self._folders.open_file(question.file) as descriptor:
            report = await _read_report(descriptor)
        return make_brief_log(report, question.file, question.limit)


async def _read_report(descriptor: int) -> LogReport:
    """What `pgdoctor read` makes of an open file. Raises UsageError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pgdoctor", "read", "--format", "json", "-"),
        stdin=descriptor,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_DEADLINE):
            written, said, status = await asyncio.gather(
                _read_bounded(process.stdout), _read_bounded(process.stderr), process.wait()
            )
    except TimeoutError:
        raise UsageError(f"read_log: reading the file took more than {_DEADLINE:g} s: split it") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if status:
        first = said.decode(errors="replace").strip().partition("\n")[0]
        raise UsageError(f"read_log: {first.removeprefix('pgdoctor: ')[:300]}")
    return _decode(written)


async def _read_bounded(stream: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while block := await stream.read(1 << 16):
        found += block
        if len(found) > _MOST_BYTES:
            raise UsageError("read_log: the file has too many incidents: split it")
    return bytes(found)
