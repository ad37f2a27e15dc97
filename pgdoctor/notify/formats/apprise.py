"""An incident as title and text, for the services that the library Apprise knows: mail, SMS, a hundred chats."""

from collections.abc import Collection, Iterator

from pgdoctor.escape import encode_json
from pgdoctor.notify.format import Format, Outgoing
from pgdoctor.render.notification import Notification, format_lines, prefix_status, summarize_notification
from pgdoctor.render.plain import format_one_line

#: Characters of a title; the subject of a mail.
_MOST_TITLE = 250


class Apprise(Format):
    """Plain text. Its address is an URL of Apprise, which holds secrets; so it is read from a file alone."""

    takes = ()
    transport = "apprise"
    package = "apprise"

    def find_mistakes(self, given: Collection[str]) -> Iterator[str]:
        if "url" in given or "url_file" not in given:
            yield f'url_file alone, with one URL of Apprise, which format = "{self.name}" needs'

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        title = format_one_line(f"{prefix_status(said)}{summarize_notification(said)}", _MOST_TITLE)
        kind = "info" if said.is_test else "success" if said.is_over else _KINDS[said.alert.severity]
        return (Outgoing(encode_json({"title": title, "body": "\n".join(format_lines(said)), "type": kind})),)


#: Apprise's own words.
_KINDS = {"critical": "failure", "warning": "warning"}
