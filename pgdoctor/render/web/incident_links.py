"""The links between the live page, the list of recorded incidents, the page of one, and its files."""

from html import escape

import msgspec

#: Files of an incident, and what their links say.
_FILES = {
    "report.md": "Markdown",
    "report.html": "HTML",
    "report.json": "JSON",
    "export.json.gz": "export file",
}


class IncidentLinks(msgspec.Struct, frozen=True):
    """Links of the page of one incident. All are relative: a reverse proxy may serve this below a path of its own."""

    id: str
    #: The name of the server; None where it is the only one. Of letters that need no quoting.
    server: str | None

    def render_links(self) -> str:
        """Links to the list, to the live page and to the files."""
        of = f"?server={escape(self.server)}" if self.server else ""
        files = (f'<a href="{escape(self.id)}/{name}{of}" download>{said}</a>' for name, said in _FILES.items())
        return (
            f'<nav class="dim"><a href="../incidents{of}">all incidents</a> · <a href="../{of}">now</a> · '
            f"download: {', '.join(files)}</nav>"
        )


def incident_link(incident: str, server: str | None) -> str:
    """Where the page of an incident is, from the live page and from the list."""
    return f"incidents/{escape(incident)}" + (f"?server={escape(server)}" if server else "")
