"""Some evidence could not be read: the diagnosis rests on the remaining evidence.

Recognised by: the server refused one of pgdoctor's statements. Usually a session holds a lock on a system catalog, or a
privilege is missing.
Do: read the summary. A lock on a catalog is part of the incident; its holder is probably one of the blockers.
Do not: conclude from missing evidence that there is no problem.
Source: measured on 14 to 18: a lock on `pg_class`, `pg_index` or `pg_authid` blocks sessions that plan a statement.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.model.diagnosis import Finding


class MissingEvidence(FindingCheck):
    name = "evidence"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        for what in (*seen.snapshot.unread, *(around.unread if around else ())):
            yield Finding(self.name, "warning", what, "the diagnosis rests on the remaining evidence")
