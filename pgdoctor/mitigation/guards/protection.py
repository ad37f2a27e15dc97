"""Who is protected: by the configuration, by what comes with pgdoctor, or by asking for it."""

from collections.abc import Iterator

from pgdoctor.diagnosis.words import count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard
from pgdoctor.mitigation.marker import MARKER
from pgdoctor.mitigation.match import marked, shipped

#: When this file's guards are asked, before those of a higher one.
ORDER = 20


class Protected(Guard):
    """Sessions that the configuration protects; protection beats rules."""

    name = "protected"

    def objection(self, case: Case) -> str | None:
        return next(self._objections(case), None)

    def value(self, case: Case) -> str:
        return count(len(case.settings.protect), "protection")

    @staticmethod
    def _objections(case: Case) -> Iterator[str]:
        subject = case.candidate.subject._replace(ancestors=case.circumstances.ancestors)
        for entry in case.settings.protect:
            if said := entry.objection(subject):
                yield said
        classification = case.candidate.blocker.classification
        for rule in case.settings.rules:
            if (rule == case.rule or classification in rule.classes) and (said := rule.protects(subject)):
                yield f"{said} by rule {rule.name}"


class ProtectedByDefault(Guard):
    """Backups, tools that somebody sits in front of (psql, pgAdmin, DBeaver), members of the role pgdoctor_protected.

    Do: `GRANT pgdoctor_protected TO somebody` protects a user, at once and without a change of the configuration.
    `protect_defaults = false` switches all of it off.
    """

    name = "protected_by_default"

    def objection(self, case: Case) -> str | None:
        return shipped(case.session) if case.settings.protect_defaults else None

    def value(self, case: Case) -> str:
        return "on" if case.settings.protect_defaults else "off"


class Marker(Guard):
    """Sessions that ask to be left alone: `pgdoctor:protect` in application_name, or in a comment before a statement.

    Do: put the comment in front of the statement's first word; elsewhere, as in a literal, it says nothing. Whoever may
    connect can do this, so watch how often it counts; a role that is a member of pgdoctor_protected is harder to forge.
    """

    name = "marker"

    def objection(self, case: Case) -> str | None:
        return marked(case.session)

    def value(self, case: Case) -> str:
        return f"{MARKER} present" if marked(case.session) else f"no {MARKER}"
