"""Recorded incidents over HTTP: the list, a page for each, and the same as files. All of it comes from the journal.

It is read over a connection of its own, one request at a time: neither polls nor decisions wait for a reader.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgdoctor import __version__
from pgdoctor.agent.http.responses import HEADERS, Pieces
from pgdoctor.agent.polling.server_monitor import ServerMonitor, ServerMonitors
from pgdoctor.agent.stored_incidents import IMPORTED, read_incident
from pgdoctor.errors import JournalError
from pgdoctor.incidents.blocking_patterns import IncidentHistory, add_up_shares, share_out
from pgdoctor.incidents.export_file import StoredIncident, encode_export
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, latest_entries, read_entries
from pgdoctor.incidents.snapshot_archive import StoredSnapshot, unpack_snapshot
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.topics import read_prevention

# The pages are made seldom, and in a thread: what makes them is loaded by the first one, and takes 3 MB (measured).
if TYPE_CHECKING:
    from pgdoctor.render.blocking_patterns import PatternReport

P = ParamSpec("P")
T = TypeVar("T")

#: How far back the list goes, how many incidents it has, and how many records are looked through for them.
_LISTED = timedelta(days=30)
_MOST_LISTED = 200
_MOST_READ = 2_000

#: Incidents whose snapshots are read for patterns, and patterns that are shown.
_MOST_COMPARED = 40
_MOST_PATTERNS = 10

#: Requests that wait for their turn.
_MOST_WAITING = 8

_ID = re.compile(r"[0-9A-Za-z]{1,40}")

#: By the name of a file: its type.
_FILES = {
    "report.md": "text/markdown",
    "report.html": "text/html",
    "report.json": "application/json",
    "export.json.gz": "application/gzip",
}


class _WatchedServer(NamedTuple):
    """By what the records of a server are known: its name, and its identity, None: not known yet."""

    name: str | None
    identifier: str | None


class IncidentEndpoints:
    """What answers the requests. `choose` is the server that a request is about."""

    def __init__(self, monitors: ServerMonitors, choose: Callable[[Request], ServerMonitor]) -> None:
        self._monitors = monitors
        self._choose = choose
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def serve_list(self, request: Request) -> Response:
        """The incidents of one server, or of all that the agent watches."""
        is_one = "server" in request.query_params
        monitors = [self._choose(request)] if is_one else list(self._monitors)
        servers = [_WatchedServer(each.name, each.system_identifier) for each in monitors]
        name = monitors[0].name if is_one else None
        several = len(self._monitors) > 1
        page = await self._run_in_thread(_render_list, monitors[0].keeper.path, servers, name, several)
        return Pieces(page, headers=HEADERS, media_type="text/html")

    async def serve_page(self, request: Request) -> Response:
        """One incident."""
        page = await self._run_in_thread(_render_page, *self._find_incident(request))
        return Pieces(page, headers=HEADERS, media_type="text/html")

    async def serve_file(self, request: Request) -> Response:
        """One incident as a file to be saved."""
        name = request.path_params["file"]
        if name not in _FILES:
            raise HTTPException(404, f"no such file; there is {', '.join(_FILES)}")
        path, server, incident = self._find_incident(request)
        body = await self._run_in_thread(_render_file, path, server, incident, name)
        saved = {"Content-Disposition": f'attachment; filename="incident-{incident}-{name}"'}
        return Pieces(body, headers=HEADERS | saved, media_type=_FILES[name])

    def _find_incident(self, request: Request) -> tuple[Path, _WatchedServer, str]:
        """The journal, the server and the incident that a request is about. Raises HTTPException."""
        monitor, incident = self._choose(request), request.path_params["id"]
        if not _ID.fullmatch(incident):
            raise HTTPException(404, _NO_SUCH)
        return monitor.keeper.path, _WatchedServer(monitor.name, monitor.system_identifier), incident

    async def _run_in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, in a thread; one at a time, for the polls need the processor too."""
        if self._waiting >= _MOST_WAITING:
            raise HTTPException(503, "too many incidents are read at the same time: try again")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work, *args, **kwargs)
        except JournalError as error:
            raise HTTPException(503, str(error)) from None
        finally:
            self._waiting -= 1


_NO_SUCH = "no such incident; /incidents lists all"


def _render_list(path: Path, servers: list[_WatchedServer], name: str | None, several: bool) -> str:
    from pgdoctor.render.web.incidents_page import render_incidents_page

    since = datetime.now(UTC) - _LISTED
    if not path.exists():
        return render_incidents_page([], None, name, several=several)
    with _open_journal(path) as journal:
        records = journal.latest_records(KIND, since=since, most=_MOST_READ)
        own = [each for server in servers for each in _choose_own(records, server)]
        listed = latest_entries(entry for _, entry in own)[-_MOST_LISTED:]
        identifiers = {(entry.server, entry.id): identifier for identifier, entry in own}
        patterns = _find_patterns(journal, listed, identifiers, since)
    return render_incidents_page(listed, patterns, name, several=several)


def _find_patterns(
    journal: Journal,
    listed: Sequence[IncidentRecord],
    identifiers: Mapping[tuple[str | None, str], str],
    since: datetime,
) -> "PatternReport":
    """What blocks again and again in the incidents with the most session time, by the biggest snapshot of each."""
    from pgdoctor.render.blocking_patterns import make_pattern_report

    chosen = nlargest(_MOST_COMPARED, listed, key=lambda each: each.blocked_seconds)
    shares = []
    for last in chosen:
        kept = journal.fetch_kept(last.id, identifiers[last.server, last.id])
        biggest = max(kept, key=lambda each: len(each.body), default=None)
        snapshots = list[StoredSnapshot]()
        # A damaged one must not hide the list.
        with suppress(JournalError):
            snapshots += [unpack_snapshot(biggest.body)] if biggest is not None else []
        shares += [(last, share) for share in share_out(IncidentHistory(last, tuple(snapshots)))]
    return make_pattern_report(
        add_up_shares(shares), incidents=len(chosen), since=since, most=_MOST_PATTERNS, prevention=_read_pages()
    )


def _render_page(path: Path, server: _WatchedServer, incident: str) -> str:
    from pgdoctor.render.incident_story import make_story
    from pgdoctor.render.web.incident_links import IncidentLinks
    from pgdoctor.render.web.incident_report_page import render_incident_report

    stored = _read_one(path, server, incident)
    links = IncidentLinks(incident, server.name).render_links()
    return render_incident_report(make_story(stored, only_peak=True), _read_pages(), links)


def _render_file(path: Path, server: _WatchedServer, incident: str, name: str) -> bytes:
    stored = _read_one(path, server, incident)
    if name == "export.json.gz":
        return encode_export([stored], __version__, datetime.now(UTC))
    from pgdoctor.render.incident_story import make_story

    story = make_story(stored)
    match name:
        case "report.md":
            from pgdoctor.render.postmortem import render_postmortem

            return render_postmortem(story, _read_pages()).encode()
        case "report.html":
            from pgdoctor.render.web.incident_report_page import render_incident_report

            return render_incident_report(story, _read_pages()).encode()
    from pgdoctor.render.incident_report import incident_report_json, make_incident_report

    return incident_report_json(make_incident_report(story, _read_pages()))


def _read_one(path: Path, server: _WatchedServer, incident: str) -> StoredIncident:
    """The incident of that id; where the server's identity has changed, the latest. Raises HTTPException."""
    if path.exists():
        with _open_journal(path) as journal:
            found = _choose_own(journal.fetch_records(kinds=(KIND,), subject=incident), server)
            if found:
                identifier = found[-1][0]
                return read_incident(journal, identifier, [entry for name, entry in found if name == identifier])
    raise HTTPException(404, _NO_SUCH)


@contextmanager
def _open_journal(path: Path) -> Iterator[Journal]:
    journal = Journal.open_existing(path)
    try:
        yield journal
    finally:
        journal.close()


def _choose_own(records: Iterable[JournalRecord], server: _WatchedServer) -> list[tuple[str, IncidentRecord]]:
    """Entries of a server, each with its identity at that time."""
    found = []
    for record in records:
        entries, _ = read_entries([record.body])
        found += [(record.server, entry) for entry in entries if _is_own(server, record, entry)]
    return found


def _is_own(server: _WatchedServer, record: JournalRecord, entry: IncidentRecord) -> bool:
    """Of this server by its name in the configuration; without one, by its identity, if that is known."""
    if record.server.startswith(IMPORTED) or entry.server != server.name:
        return False
    return server.name is not None or server.identifier in (None, record.server)


@cache
def _read_pages() -> Mapping[str, str]:
    return read_prevention()
