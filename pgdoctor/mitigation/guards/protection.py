"""Protected sessions: by the configuration, by default, or by a marker."""

from collections.abc import Iterator

from pgdoctor.formatting import format_count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard
from pgdoctor.mitigation.marker import MARKER
from pgdoctor.mitigation.match import find_default_protection, find_marker

#: When this file's guards are asked, before those of a higher one.
ORDER = 20


class Protected(Guard):
    """The configuration protects the session; protections take precedence over rules."""

    name = "protected"

    def find_objection(self, case: Case) -> str | None:
        return next(self._find_objections(case), None)

    def format_value(self, case: Case) -> str:
        return format_count(len(case.settings.protect), "protection")

    @staticmethod
    def _find_objections(case: Case) -> Iterator[str]:
        subject = case.candidate.subject._replace(ancestors=case.circumstances.ancestors)
        for entry in case.settings.protect:
            if said := entry.find_objection(subject):
                yield said
        classification = case.candidate.classification
        for rule in case.settings.rules:
            if (rule == case.rule or classification in rule.classes) and (said := rule.find_protection(subject)):
                yield f"{said} by rule {rule.name}"


class ProtectedByDefault(Guard):
    """Protected by default: backups, tools like psql, users of managed services, members of pgdoctor_protected.

    Do: to protect a user, run `GRANT pgdoctor_protected TO name`; it takes effect at once, without a new configuration.
    `protect_defaults = false` switches all of this off.
    """

    name = "protected_by_default"

    def find_objection(self, case: Case) -> str | None:
        return find_default_protection(case.session) if case.settings.protect_defaults else None

    def format_value(self, case: Case) -> str:
        return "on" if case.settings.protect_defaults else "off"


class Marker(Guard):
    """The session asks for protection by `pgdoctor:protect` in application_name, or in a comment before a statement.

    Do: put the comment before the first keyword of the statement; elsewhere, as in a literal, it has no effect. Any
    client can use the marker, so watch how often this guard counts. Membership in pgdoctor_protected is harder to
    forge.
    """

    name = "marker"

    def find_objection(self, case: Case) -> str | None:
        return find_marker(case.session)

    def format_value(self, case: Case) -> str:
        return f"{MARKER} present" if find_marker(case.session) else f"no {MARKER}"
