"""Something that could not be read this time: the diagnosis rests on the evidence that is left.

Recognised by: a statement of pgdoctor's that the server refused, mostly because somebody holds a lock on a catalog,
or because a privilege is missing.
Do: read what is said; a lock on a catalog is part of the incident, and its holder is likely among the blockers.
Do not: take what is not said for what is not there.
Source: measured on 14 to 18: a lock on `pg_class`, `pg_index` or `pg_authid` stops whoever plans a statement anew.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen


class Evidence(Finding):
    name = "evidence"

    def notes(self, seen: Seen) -> Iterator[Note]:
        around = seen.snapshot.surroundings
        for what in (*seen.snapshot.unread, *(around.unread if around else ())):
            yield Note(self.name, "warning", what, "the diagnosis rests on the evidence that is left")
