"""What each rule and protection means, in a sentence; and what of it is allowed but dangerous."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pgdoctor.formatting import format_count
from pgdoctor.mitigation.match import KEYS
from pgdoctor.mitigation.rules import Mitigation, Names, Protect, Rule, rule_conditions

#: From so many on a budget is none.
_NO_BUDGET = 1_000

_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SUBJECTS = {
    "usename": "user",
    "datname": "database",
    "application_name": "application",
    "state": "state",
    "member_of": "member of",
    "client_addr": "address",
    "relation": "relation",
    "statement": "statement",
}
#: What a sentence names also where a rule does not limit it.
_ALWAYS = ("usename", "application_name")


def describe_rule(rule: Rule) -> str:
    """One rule: `rule all: any user, any application, seven classes, terminate`."""
    given = dict(rule_conditions(rule))
    limits = [_format_limit(key, given.get(key)) for key in KEYS if key in given or key in _ALWAYS]
    classes = rule.classes[0] if len(rule.classes) == 1 else f"{_format_number(len(rule.classes))} classes"
    after = f"{rule.action} after {rule.min_wait} if it blocks {format_count(rule.min_blocked, 'session')}"
    return f"rule {rule.name}: {', '.join([*limits, f'class {classes}' if len(rule.classes) == 1 else classes, after])}"


def describe_protection(entry: Protect) -> str:
    """One protection: `protected: user billing; or member of dba`."""
    return f"protected: {'; or '.join(_format_limit(key, wanted) for key, wanted in rule_conditions(entry))}"


def find_dangers(settings: Mitigation, now: datetime) -> Iterator[str]:
    """What is allowed and dangerous, a line each; `now` says whether `armed_until` is over."""
    if settings.armed_until is not None and settings.armed_until <= now:
        yield f"mitigation.armed_until has passed ({settings.armed_until.isoformat()}): enforce is only a dry run"
    for rule in settings.rules:
        if not any(True for _ in rule_conditions(rule)):
            yield f"rule {rule.name} matches every session of its classes: any user, database and application"
    off = list(_brakes_off(settings))
    brakes = len(list(_list_brakes(settings)))
    if len(off) == brakes:
        yield f"all brakes are off: {', '.join(off)}"
    elif off:
        yield f"{format_count(len(off), 'brake')} off: {', '.join(off)}"
    for key in ("allow_superuser", "allow_short_waits", "allow_unresolved_protections"):
        if getattr(settings, key):
            yield f"mitigation.{key} = true"
    for key, name in _suspicious_names(settings):
        yield f"mitigation.{key} = {name!r} must match a whole name, but looks like a pattern or has surrounding blanks"


def _brakes_off(settings: Mitigation) -> Iterator[str]:
    return (name for name, is_off in _list_brakes(settings) if is_off)


def _list_brakes(settings: Mitigation) -> Iterator[tuple[str, bool]]:
    yield "cooldown", not settings.cooldown
    yield "startup_grace", not settings.startup_grace
    yield "min_samples", settings.min_samples == 1
    yield "max_actions_per_5m", settings.max_actions_per_5m >= _NO_BUDGET
    yield "max_actions_per_hour", settings.max_actions_per_hour >= _NO_BUDGET
    yield "max_terminates_per_hour", settings.max_terminates_per_hour >= _NO_BUDGET
    yield "max_per_fingerprint_per_hour", settings.max_per_fingerprint_per_hour >= _NO_BUDGET
    yield "max_roots", settings.max_roots >= _NO_BUDGET
    yield "max_blocked_fraction", settings.max_blocked_fraction >= 1
    yield "protect_defaults", not settings.protect_defaults
    yield "breaker.open_after_ineffective", settings.breaker.open_after_ineffective >= _NO_BUDGET
    yield "breaker.open_after_errors", settings.breaker.open_after_errors >= _NO_BUDGET
    yield "breaker.recurrence", settings.breaker.recurrence >= _NO_BUDGET
    yield "breaker.open_on_worsening", not settings.breaker.open_on_worsening


def _suspicious_names(settings: Mitigation) -> Iterator[tuple[str, str]]:
    """Names that can be meant so, and rarely are."""
    for place, entry in enumerate(settings.protect):
        for name in entry.application_name or ():
            if name != name.strip() or "%" in name or name.startswith("^") or name.endswith("$"):
                yield f"protect[{place}].application_name", name


def _format_limit(key: str, wanted: Names | None) -> str:
    return f"any {_SUBJECTS[key]}" if wanted is None else f"{_SUBJECTS[key]} {_join_values(wanted)}"


def _join_values(values: Sequence[str]) -> str:
    return " or ".join(values)


def _format_number(number: int) -> str:
    return _SMALL[number] if number < len(_SMALL) else str(number)
