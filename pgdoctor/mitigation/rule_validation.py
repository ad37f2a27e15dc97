"""Settings of the `[mitigation]` table that are well formed, and contradictory or surely not meant."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from pgdoctor.diagnosis.cause import class_names, untouchable_classes
from pgdoctor.fields import Duration, Network, Qualified, ValidationError
from pgdoctor.mitigation.match import KEYS, SHIPPED_ROLE, is_shipped
from pgdoctor.mitigation.platform_users import find_platform
from pgdoctor.mitigation.rules import STATES, WHO, Mitigation, Names, Protect, Rule, rule_conditions
from pgdoctor.mitigation.stored_names import MOST_BYTES, find_reason_against

#: No action before the server itself has checked for deadlocks, and a migration with a lock_timeout has given up.
SHORTEST_WAIT = Duration(5)

_SHORTEST_GRACE = 1.0
_SHORTEST_TTL = 1.0
_LONGEST_WINDOW = Duration(24 * 3600)
_IDLE = frozenset({"idle", "idle in transaction", "idle in transaction (aborted)"})
_OTHERS = ("active_window", "waiter_usename", "waiter_member_of")
_ONLY_IDLE = frozenset({"idle_in_transaction"})
_RUNNING = frozenset(STATES) - _IDLE
_ONLY_RUNNING = frozenset({"long_query", "unindexed_scan"})
#: Keys whose values are names as the server stores them.
_NAMING = ("usename", "datname", "member_of", "application_name", "relation")
_NO_EFFECT = "a cancel has no effect on an idle session"


def find_mistakes(settings: Mitigation, interval: Duration) -> Iterator[ValidationError]:
    """The mistakes, for an agent that polls every `interval` seconds. Keys are those below `mitigation`."""
    window = settings.breaker.recurrence_window
    if not 0 < window <= _LONGEST_WINDOW:
        yield ValidationError("breaker.recurrence_window", str(window), f"more than 0s, at most {_LONGEST_WINDOW}")
    if settings.approval_ttl < _SHORTEST_TTL:
        yield ValidationError("approval_ttl", str(settings.approval_ttl), "at least 1s")
    elif settings.approval_ttl < interval and (settings.require_approval or any(map(_asks_approval, settings.rules))):
        why = "otherwise an approval expires before the next poll"
        yield ValidationError(
            "approval_ttl", str(settings.approval_ttl), f"at least agent.interval, which is {interval}: {why}"
        )
    if settings.kill_switch_file is not None and not settings.kill_switch_file.startswith("/"):
        yield ValidationError(
            "kill_switch_file", settings.kill_switch_file, 'an absolute path, such as "/run/pgdoctor/stop"'
        )
    for place, entry in enumerate(settings.protect):
        yield from _mistaken_protection(f"protect[{place}]", entry)
    for place, rule in enumerate(settings.rules):
        where = f"rules[{place}]"
        found = [*_mistaken_rule(where, rule), *_short_wait(where, rule, settings, interval)]
        yield from found or _find_unreachable(where, rule, settings, settings.rules[:place])


def _asks_approval(rule: Rule) -> bool:
    return rule.require_approval is True and rule.approval_ttl is None


def is_hidden_by(earlier: Rule, later: Rule) -> bool:
    """Whether nothing that the later rule matches is left for it after the earlier one."""
    theirs = dict(rule_conditions(later))
    return (
        set(later.classes) <= set(earlier.classes)
        and all(key in theirs and _covers_names(key, mine, theirs[key]) for key, mine in rule_conditions(earlier))
        and earlier.waiter_usename in (None, later.waiter_usename)
        and earlier.waiter_member_of in (None, later.waiter_member_of)
        and earlier.active_window in (None, later.active_window)
        and earlier.min_blocked <= later.min_blocked
        and earlier.min_blocked_share <= later.min_blocked_share
        and earlier.min_wait <= later.min_wait
        and earlier.min_age <= later.min_age
        and earlier.max_age >= later.max_age
        and earlier.min_state_age <= later.min_state_age
        and earlier.min_session_age <= later.min_session_age
    )


def _covers_names(key: str, more: Names, less: Names) -> bool:
    """Whether all that the second list allows is allowed by the first."""
    if key == "client_addr":
        return all(any(Network(wide).includes_network(Network(narrow)) for wide in more) for narrow in less)
    return set(less) <= set(more)


def _mistaken_protection(where: str, entry: Protect) -> Iterator[ValidationError]:
    if not any(True for _ in rule_conditions(entry)):
        yield ValidationError(
            where, {}, f"at least one of {', '.join(KEYS)}: an entry without any would protect no session"
        )
    yield from _find_empty(where, entry, KEYS)
    yield from _find_unstorable(where, entry, KEYS)


def _mistaken_rule(where: str, rule: Rule) -> Iterator[ValidationError]:
    yield from _find_empty(where, rule, [*KEYS, *(f"protected_{column}" for column in WHO), *_OTHERS])
    yield from _find_unstorable(where, rule, [*KEYS, *(f"protected_{column}" for column in WHO), *_OTHERS])
    yield from _mistaken_class(where, rule)
    yield from _mistaken_action(where, rule)
    if rule.statement is not None and [key for key, _ in rule_conditions(rule)] == ["statement"]:
        yield ValidationError(
            f"{where}.statement",
            list(rule.statement),
            f"only together with {', '.join(KEYS[:-1])}: the text of a statement alone does not authorise a signal",
        )
    if rule.max_age <= rule.min_age:
        yield ValidationError(f"{where}.max_age", str(rule.max_age), f"more than min_age, which is {rule.min_age}")
    if rule.approval_ttl is not None and rule.approval_ttl < _SHORTEST_TTL:
        yield ValidationError(f"{where}.approval_ttl", str(rule.approval_ttl), "at least 1s")


def _mistaken_class(where: str, rule: Rule) -> Iterator[ValidationError]:
    known = class_names()
    if not rule.classes:
        yield ValidationError(f"{where}.class", [], f"one or more of {', '.join(known)}")
    for name in rule.classes:
        if name not in known:
            yield ValidationError(f"{where}.class", name, f"one of {', '.join(known)}")
        elif name in untouchable_classes():
            yield ValidationError(
                f"{where}.class", name, f"such sessions are never signalled: {untouchable_classes()[name]}"
            )


def _mistaken_action(where: str, rule: Rule) -> Iterator[ValidationError]:
    if rule.action != "terminate" and "idle_in_transaction" in rule.classes:
        yield ValidationError(
            f"{where}.action", rule.action, f'for class idle_in_transaction only "terminate": {_NO_EFFECT}'
        )
    elif rule.action != "terminate" and rule.state and _IDLE.issuperset(rule.state):
        yield ValidationError(f"{where}.action", rule.action, f'for these states only "terminate": {_NO_EFFECT}')
    if rule.action == "cancel_then_terminate" and rule.grace is None:
        yield ValidationError(
            f"{where}.grace", None, 'required by action "cancel_then_terminate", such as grace = "10s"'
        )
    elif rule.grace is not None and rule.grace < _SHORTEST_GRACE:
        yield ValidationError(f"{where}.grace", str(rule.grace), "at least 1s: a rollback needs time")
    if rule.action != "cancel_then_terminate" and rule.grace is not None:
        yield ValidationError(f"{where}.grace", str(rule.grace), 'only with action "cancel_then_terminate"')


def _short_wait(where: str, rule: Rule, settings: Mitigation, interval: Duration) -> Iterator[ValidationError]:
    if settings.allow_short_waits:
        return
    if rule.min_wait < SHORTEST_WAIT:
        why = "the server looks for deadlocks first; for tests, set allow_short_waits = true under [mitigation]"
        yield ValidationError(f"{where}.min_wait", str(rule.min_wait), f"at least {SHORTEST_WAIT}: {why}")
    elif rule.min_wait < interval:
        yield ValidationError(f"{where}.min_wait", str(rule.min_wait), f"at least agent.interval, which is {interval}")


def _find_empty(where: str, entry: Protect | Rule, keys: Sequence[str]) -> Iterator[ValidationError]:
    for key in keys:
        listed = getattr(entry, key)
        if listed == ():
            yield ValidationError(f"{where}.{key}", [], "at least one name; omit the key for no condition")
        for place, value in enumerate(listed or ()):
            if not value:
                yield ValidationError(
                    f"{where}.{key}[{place}]", "", "a name; an empty one matches sessions without one"
                )


def _find_unstorable(where: str, entry: Protect | Rule, keys: Sequence[str]) -> Iterator[ValidationError]:
    """Names that the server stores in another way, so that they never fit."""
    for key in keys:
        kind = key.removeprefix("protected_").removeprefix("waiter_")
        for place, name in enumerate(getattr(entry, key) or () if kind in _NAMING else ()):
            if name and (reason := _find_reason(kind, name)):
                yield ValidationError(f"{where}.{key}[{place}]", name, reason)


def _find_reason(kind: str, name: str) -> str | None:
    if kind != "relation":
        return find_reason_against(kind, name)
    is_long = any(len(part.encode(errors="replace")) > MOST_BYTES for part in Qualified(name).parts)
    return f"names of at most {MOST_BYTES} bytes: the server truncates longer ones" if is_long else None


def _find_unreachable(
    where: str, rule: Rule, settings: Mitigation, earlier: Sequence[Rule]
) -> Iterator[ValidationError]:
    if rule.name in (other.name for other in earlier):
        yield ValidationError(f"{where}.name", rule.name, "a unique name")
    elif hiding := _find_hiding(rule, earlier):
        names = " and ".join(map(repr, hiding))
        decide = f"rule {names} decides" if len(hiding) == 1 else f"rules {names} decide"
        yield ValidationError(where, rule.name, f"it can never apply: the earlier {decide} all of its sessions")
    for states, having in ((_IDLE, _ONLY_IDLE), (_RUNNING, _ONLY_RUNNING)):
        if having.issuperset(rule.classes) and rule.state and states.isdisjoint(rule.state):
            why = f"a state of sessions of class {', '.join(rule.classes)}"
            yield ValidationError(f"{where}.state", list(rule.state), why)
    if rule.min_state_age > rule.max_age and "advisory_lock" not in rule.classes:
        why = f"at most max_age, which is {rule.max_age}: no transaction is younger than its state"
        yield ValidationError(f"{where}.min_state_age", str(rule.min_state_age), why)
    if settings.protect_defaults:
        yield from _find_shipped(where, rule)
    for key, allowed in rule_conditions(rule):
        own = getattr(rule, f"protected_{key}", None) or ()
        listed = [entry for each in settings.protect for entry in getattr(each, key) or ()]
        if _covers_names(key, (*listed, *own), allowed):
            yield ValidationError(f"{where}.{key}", list(allowed), "at least one that is not protected")


def _find_hiding(rule: Rule, earlier: Sequence[Rule]) -> list[str]:
    """The earlier rules that between them decide whatever this one matches; none where something is left for it."""
    alone = [replace(rule, classification=name) for name in rule.classes]
    found = [next((other.name for other in earlier if is_hidden_by(other, each)), None) for each in alone]
    return list(dict.fromkeys(name for name in found if name)) if all(found) else []


def _find_shipped(where: str, rule: Rule) -> Iterator[ValidationError]:
    why = "one that is not protected by default; or protect_defaults = false under [mitigation]"
    if rule.application_name and all(map(is_shipped, rule.application_name)):
        yield ValidationError(f"{where}.application_name", list(rule.application_name), why)
    if rule.usename and all(map(find_platform, rule.usename)):
        yield ValidationError(f"{where}.usename", list(rule.usename), why)
    if rule.member_of and set(rule.member_of) == {SHIPPED_ROLE}:
        yield ValidationError(f"{where}.member_of", list(rule.member_of), why)
