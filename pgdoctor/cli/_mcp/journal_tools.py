"""Tools that read recorded incidents from the agent's journal."""

import asyncio
from typing import Annotated

import msgspec

from pgdoctor.cli._incident_journal import open_journal, read_all, read_stored
from pgdoctor.cli._mcp.tool import Most, ShortText, Tool
from pgdoctor.cli._options import parse_since
from pgdoctor.incidents.incident_log import latest_entries
from pgdoctor.render.brief.incidents import (
    BriefIncidentReport,
    BriefIncidents,
    make_brief_incident_report,
    make_brief_incidents,
)
from pgdoctor.render.incident_report import make_incident_report
from pgdoctor.render.incident_story import make_story
from pgdoctor.topics import read_prevention


class IncidentQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which incidents to list."""

    since: Annotated[
        str, msgspec.Meta(max_length=20, description="Oldest incident, as a duration: 24h, 30d. The default is 30d.")
    ] = "720h"
    limit: Most = 10


class ReportQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which incident to report on."""

    id: Annotated[ShortText, msgspec.Meta(description="ID from `incidents`. The default is the last one.")] | None = (
        None
    )


class JournalTools:
    """Reads one journal: that of `path`, or of the configuration."""

    def __init__(self, config: str | None, journal: str | None) -> None:
        self._config = config
        self._journal = journal

    def list_tools(self) -> tuple[Tool[IncidentQuestion] | Tool[ReportQuestion], ...]:
        """The tools, in the order of their use."""
        return (
            Tool(
                "incidents",
                "Recorded incidents",
                "Incidents that the agent has recorded, the latest first: when, how long, how many were blocked.",
                IncidentQuestion,
                BriefIncidents,
                self._list_incidents,
            ),
            Tool(
                "incident_report",
                "Report on one incident",
                "The post-mortem of one recorded incident: impact, times, timeline, cause, and what prevents it.",
                ReportQuestion,
                BriefIncidentReport,
                self._report,
            ),
        )

    async def _list_incidents(self, question: IncidentQuestion) -> BriefIncidents:
        return await asyncio.to_thread(self._read_incidents, question)

    async def _report(self, question: ReportQuestion) -> BriefIncidentReport:
        return await asyncio.to_thread(self._read_report, question.id)

    def _read_incidents(self, question: IncidentQuestion) -> BriefIncidents:
        began = parse_since(question.since)
        with open_journal(self._config, self._journal, since=began) as opened:
            found = latest_entries(read_all(opened, since=began))
        return make_brief_incidents(found, question.limit)

    def _read_report(self, incident: str | None) -> BriefIncidentReport:
        with open_journal(self._config, self._journal, incident=incident, details="named") as opened:
            # Two servers may each have one of that id: the later one is meant.
            stored = read_stored(opened, incident)[-1]
        return make_brief_incident_report(make_incident_report(make_story(stored), read_prevention()))
