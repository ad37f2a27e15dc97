"""What `read_log` says of files that are no logs: nothing of what is in them."""

import asyncio
import gzip
from pathlib import Path

import pytest

from pgdoctor.cli._mcp.log_folders import LogFolders
from pgdoctor.cli._mcp.log_tool import LogTool
from pgdoctor.errors import UsageError

#: Each is a process.
pytestmark = pytest.mark.long

SECRET = "hunter2"
_STATEMENT = f"create user x password '{SECRET}'"
_GERMAN = f"2026-12-01 04:00:00.000 UTC [1] FEHLER:  Fehler\n2026-12-01 04:00:00.000 UTC [1] ANWEISUNG:  {_STATEMENT}\n"

CONTENTS = {
    "a passphrase": SECRET.encode(),
    "a connection string": f"postgresql://u:{SECRET}@db/shop\n".encode(),
    "keys and values": f"host=db password={SECRET}\n".encode() * 100,
    "JSON of another product": f'{{"password": "{SECRET}"}}\n'.encode() * 100,
    "JSON that is cut off": f'{{"timestamp": "2026-12-01 04:00:00.000 UTC", "message": "{_STATEMENT}'.encode(),
    "CSV of another product": f'"a","{SECRET}","b"\n'.encode() * 100,
    "CSV with an open quote": f'2026-12-01 04:00:00.000 UTC,"{SECRET}'.encode(),
    "a log in German": _GERMAN.encode() * 20,
    "gzip that is cut off": gzip.compress(SECRET.encode() * 10_000)[:-20],
    "gzip with more behind it": gzip.compress(_STATEMENT.encode()) + SECRET.encode(),
    "zstd that is none": b"\x28\xb5\x2f\xfd" + SECRET.encode() * 50,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_refusal_shows_nothing_of_the_file(tmp_path: Path, content: bytes) -> None:
    name = f"{SECRET}-not.log"
    (tmp_path / "a.log").write_bytes(content)
    tool = LogTool(LogFolders([str(tmp_path)])).make_tool()
    try:
        said = asyncio.run(tool.call({"file": "a.log"})).decode()
    except UsageError as error:
        said = str(error)
        assert said.startswith("read_log: ")
    assert SECRET not in said
    with pytest.raises(UsageError, match="no such file"):
        asyncio.run(tool.call({"file": name}))
