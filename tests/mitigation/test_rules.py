"""Who is allowed and who is protected, key by key; and what the loader refuses. What must not be comes first."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pgdoctor.config.config import parse_config
from pgdoctor.errors import ConfigError
from pgdoctor.fields import Network, Qualified, Window
from pgdoctor.mitigation.match import Subject
from pgdoctor.mitigation.platform_users import USERS_BY_PLATFORM
from pgdoctor.mitigation.rules import Mitigation, Protect
from pgdoctor.model.snapshot import Session
from pgdoctor.statement_pattern import StatementPattern
from tests.building import snapshot
from tests.mitigation.build import END_IDLE, IDLE, about, ddl, decide, idle, protecting, reasons, settings

#: Each key with values that fit the idle blocker, values that do not, and the fact without which it is unknown.
KEYS = {
    "usename": (("app",), ("boss",), {"usename": None}),
    "datname": (("shop",), ("ledger",), {"datname": None}),
    "application_name": (("reporting",), ("nightly",), {"application_name": None}),
    "state": (("idle in transaction",), ("active",), {"state": None}),
    "member_of": (("readers",), ("dba",), {"roles": None}),
    "client_addr": ((Network("10.1.0.0/16"),), (Network("192.168.0.0/16"),), {"client_addr": "?"}),
    "relation": ((Qualified("public.orders"),), (Qualified("public.ledger"),), {}),
    "statement": ((StatementPattern("select .*"),), (StatementPattern("delete"),), {"statement": None}),
}
FACTS = {"roles": frozenset({"app", "readers"}), "client_addr": "10.1.2.3"}
UNKNOWN = {key: facts for key, (_, _, facts) in KEYS.items() if facts}


def blocker(**facts: object) -> Session:
    return idle(**{**FACTS, **facts})


@pytest.mark.parametrize(("key", "facts"), UNKNOWN.items(), ids=UNKNOWN)
def test_h33_unknown_attribute_is_not_allowed_and_may_be_protected(key: str, facts: dict[str, object]) -> None:
    fits, other, _ = KEYS[key]
    for wanted in (fits, other):
        allowing = settings(replace(END_IDLE, **{key: wanted, "usename": wanted if key == "usename" else None}))
        assert about(decide(blocker(**facts), ddl(), by=allowing), IDLE).rule is None
        seen = snapshot([blocker(**facts)])
        assert "unknown" in str(Protect(**{key: wanted}).find_objection(Subject(seen.sessions[IDLE], seen)))


def test_h33_a_relation_without_a_known_name_may_be_a_protected_one() -> None:
    seen = snapshot([blocker()], relations=())
    subject = Subject(seen.sessions[IDLE], seen)
    assert "unknown" in str(Protect(relation=(Qualified("public.ledger"),)).find_objection(subject))
    assert END_IDLE.is_about("idle_in_transaction", subject)
    assert not replace(END_IDLE, relation=(Qualified("public.orders"),)).is_about("idle_in_transaction", subject)


def test_a_statement_that_was_cut_fits_no_pattern_and_may_fit_a_protected_one() -> None:
    seen = snapshot([blocker(truncated=True)])
    subject = Subject(seen.sessions[IDLE], seen)
    assert "unknown" in str(Protect(statement=(StatementPattern("never"),)).find_objection(subject))
    assert not replace(END_IDLE, statement=(StatementPattern(".*"),)).is_about("idle_in_transaction", subject)


@pytest.mark.parametrize("key", KEYS)
def test_a_rule_is_about_matching_sessions_only(key: str) -> None:
    fits, other, _ = KEYS[key]
    for wanted, is_about in ((fits, True), (other, False), ((*other, *fits), True)):
        made = decide(blocker(), ddl(), by=settings(replace(END_IDLE, **{key: wanted})))
        assert (about(made, IDLE).rule is not None) == is_about


@pytest.mark.parametrize("key", KEYS)
def test_protection_of_a_matching_session_beats_every_rule(key: str) -> None:
    fits, other, _ = KEYS[key]
    assert reasons(about(decide(blocker(), ddl(), by=protecting(**{key: fits})), IDLE)) == {"protected"}
    assert "protected" not in reasons(about(decide(blocker(), ddl(), by=protecting(**{key: other})), IDLE))


def test_protection_of_a_statement_does_not_show_its_text() -> None:
    by = protecting(statement=(StatementPattern("select .*"),))
    [said] = about(decide(blocker(), ddl(), by=by), IDLE).objections
    assert said.objection == "such a statement is protected"


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.255.1", "10.2.0.1"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("fd00::/8", "fd12::1", "fe80::1"),
        ("10.0.0.0/8", "::ffff:10.9.9.9", "fd12::1"),
        ("local", None, "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", None),
    ],
)
def test_a_network_has_its_addresses(network: str, inside: str | None, outside: str | None) -> None:
    assert Network.parse(network).includes_client(inside)
    assert not Network.parse(network).includes_client(outside)


def test_h10_a_superuser_under_set_role_is_judged_by_its_login() -> None:
    """The server shows who logged in; what it does since as another role is not to be seen."""
    by = settings(replace(END_IDLE, usename=("appu",)))
    assert about(decide(idle(usename="boss", is_superuser=True), ddl(), by=by), IDLE).rule is None


# What comes with pgdoctor


@pytest.mark.parametrize("name", ["pg_dump", "pg_basebackup", "pgBackRest [backup]", "barman_receive_wal"])
def test_h30_a_backup_is_protected(name: str) -> None:
    made = decide(idle(application_name=name), ddl(), by=settings(END_IDLE))
    assert about(made, IDLE).approved is False
    assert about(made, IDLE).rule is None or "protected_by_default" in reasons(about(made, IDLE))


@pytest.mark.parametrize("name", ["psql", "pgAdmin 4 - DB:shop", "DBeaver 24.1 - SQLEditor <Script.sql>", "PSQL"])
def test_h29_watching_user_is_protected(name: str) -> None:
    made = decide(idle(application_name=name), ddl(), by=settings(END_IDLE))
    assert reasons(about(made, IDLE)) == {"protected_by_default"}


@pytest.mark.parametrize("user", [user for users in USERS_BY_PLATFORM.values() for user in users])
def test_users_of_a_managed_service_are_protected(user: str) -> None:
    made = decide(idle(usename=user), ddl(), by=settings(END_IDLE))
    assert reasons(about(made, IDLE)) == {"protected_by_default"}
    off = settings(END_IDLE, protect_defaults=False)
    assert "protected_by_default" not in reasons(about(decide(idle(usename=user), ddl(), by=off), IDLE))


def test_a_member_of_the_protected_role_is_protected() -> None:
    member = idle(roles=frozenset({"app", "pgdoctor_protected"}))
    assert reasons(about(decide(member, ddl(), by=settings(END_IDLE)), IDLE)) == {"protected_by_default"}
    unknown = decide(idle(roles=None), ddl(), by=settings(END_IDLE))
    assert reasons(about(unknown, IDLE)) == {"protected_by_default"}


@pytest.mark.parametrize("facts", [{"application_name": "psql"}, {"roles": None}, {"application_name": "pg_dump 17"}])
def test_the_shipped_protections_can_be_switched_off(facts: dict[str, object]) -> None:
    off = settings(END_IDLE, protect_defaults=False)
    assert "protected_by_default" not in reasons(about(decide(idle(**facts), ddl(), by=off), IDLE))


def test_an_application_that_only_begins_like_a_tool_is_not_one() -> None:
    assert decide(idle(application_name="psqlodbc"), ddl(), by=settings(END_IDLE)).approved is not None


@pytest.mark.parametrize(
    "facts",
    [
        {"application_name": "nightly pgdoctor:protect"},
        {"statement": "/* pgdoctor:protect */ select * from orders"},
        {"statement": "-- pgdoctor:protect\nselect 1", "truncated": True},
    ],
)
def test_h41_session_with_the_marker_is_left_alone_and_counted(facts: dict[str, object]) -> None:
    assert reasons(about(decide(idle(**facts), ddl(), by=settings(END_IDLE)), IDLE)) == {"marker"}
    off = settings(END_IDLE, protect_defaults=False)
    assert reasons(about(decide(idle(**facts), ddl(), by=off), IDLE)) == {"marker"}


# What the loader refuses

RULE = '[[mitigation.rules]]\nname = "a"\nclass = "long_query"\naction = "cancel"\n'
PROTECT = "[[mitigation.protect]]\n"
EMPTY = {
    "no rule at all": "[[mitigation.rules]]",
    "no class": RULE.replace('"long_query"', "[]"),
    "an empty class": RULE.replace('"long_query"', '""'),
    "a protection of nobody": PROTECT,
    **{f"a rule for no {key}": f"{RULE}{key} = []" for key in KEYS},
    **{f"a rule for an empty {key}": f'{RULE}usename = ["x"]\n{key} = [""]' for key in KEYS if key != "usename"},
    "a rule for an empty usename": f'{RULE}usename = [""]',
    **{f"a protection of no {key}": f"{PROTECT}{key} = []" for key in KEYS},
    **{f"a protection of an empty {key}": f'{PROTECT}{key} = [""]' for key in KEYS},
    "a text for a list": f'{RULE}usename = ""',
    "a table for a list": f"{RULE}usename = {{}}",
}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_h31_empty_list_is_refused_and_never_means_every_session(text: str) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.(rules|protect)\[0\]"):
        parse_config(text, "x")


DURATIONS = [
    *("min_wait", "min_age", "max_age", "min_state_age", "min_session_age", "grace", "approval_ttl"),
]


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", ["15", '"15"', "15.0", '"15 s"', '"15min"', '""'])
def test_h32_a_duration_without_its_unit_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.rules\[0\]\.{key} = .*: a duration with a unit"):
        parse_config(f"{RULE}{key} = {value}", "x")


def two(first: str, second: str) -> str:
    later = RULE.replace('"a"', '"b"')
    return f"{RULE}{first}\n{later}{second}"


REFUSED = {
    "a wait below the floor": (RULE + 'min_wait = "4999ms"', ".min_wait", "at least 5s", "allow_short_waits"),
    "a wait shorter than an interval": (
        '[agent]\ninterval = "10s"\n' + RULE + 'min_wait = "9s"',
        ".min_wait",
        "agent.interval, which is 10s",
    ),
    "a cancel of idle states": (RULE + 'state = ["idle in transaction"]', ".action", "no effect"),
    "a state that is none": (RULE + 'state = ["sleeping"]', ".state[0]", '"idle in transaction"'),
    "a state that its class never has": (
        RULE.replace("long_query", "idle_in_transaction").replace("cancel", "terminate") + 'state = ["active"]',
        ".state",
        "a state of sessions of class idle_in_transaction",
    ),
    "nothing but a statement": (RULE + 'statement = [".*"]', ".statement", "does not authorise"),
    "a pattern that is none": (RULE + 'usename = ["a"]\nstatement = ["("]', ".statement[0]", "a regular expression"),
    "a network that is none": (RULE + 'client_addr = ["10.0.0.1/8"]', ".client_addr[0]", "10.0.0.0/8"),
    "a relation without its schema": (RULE + 'relation = ["orders"]', ".relation[0]", "public.orders"),
    "a relation that SQL takes for another": (
        RULE + 'relation = ["public.Orders"]',
        ".relation[0]",
        "in double quotes",
    ),
    "a relation of three parts": (RULE + 'relation = ["shop.public.orders"]', ".relation[0]", "with its schema"),
    "a transaction both young and old": (RULE + 'min_age = "7h"', ".max_age", "more than min_age"),
    "an approval that nobody could use": (RULE + 'approval_ttl = "1ms"', ".approval_ttl", "at least 1s"),
    "whom a protection leaves nothing": (
        PROTECT + 'usename = ["app"]\n' + RULE + 'usename = ["app"]',
        ".usename",
        "at least one that is not protected",
    ),
    "who is protected by default": (RULE + 'application_name = ["psql"]', ".application_name", "protect_defaults"),
    "a user of a managed service": (RULE + 'usename = ["rdsadmin"]', ".usename", "protect_defaults"),
    "whom it protects itself": (
        RULE + 'usename = ["app"]\nprotected_usename = ["app", "b"]',
        ".usename",
        "not protected",
    ),
    "hidden behind a wider network": (
        two('client_addr = ["10.0.0.0/8", "local"]', 'client_addr = ["10.2.0.0/16"]'),
        'rules[1] = "b"',
        "the earlier rule 'a' decides",
    ),
    "hidden behind two rules": (
        two("", 'usename = ["x"]\n').replace('"b"\nclass = "long_query"', '"b"\nclass = "maintenance"')
        + RULE.replace('"a"', '"c"').replace('"long_query"', '["maintenance", "long_query"]')
        + 'usename = ["x"]',
        'rules[2] = "c"',
        "the earlier rules 'b' and 'a' decide",
    ),
    "a network within a protected one": (
        PROTECT + 'client_addr = ["10.0.0.0/8"]\n' + RULE + 'client_addr = ["10.1.0.0/16"]',
        ".client_addr",
        "at least one that is not protected",
    ),
    "members of the protected role": (RULE + 'member_of = ["pgdoctor_protected"]', ".member_of", "protect_defaults"),
    "a state older than its transaction": (RULE + 'min_state_age = "7h"', ".min_state_age", "max_age, which is 6h"),
    "a running statement that idles": (
        RULE.replace('"cancel"', '"terminate"') + 'state = ["idle"]',
        ".state",
        "long_query",
    ),
    "hidden behind an older age": (two('max_age = "9h"', 'min_state_age = "1m"'), 'rules[1] = "b"', "earlier rule"),
}


@pytest.mark.parametrize("parts", REFUSED.values(), ids=REFUSED)
def test_impossible_setting_is_refused_by_its_key(parts: tuple[str, ...]) -> None:
    text, *words = parts
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    for word in words:
        assert word in str(caught.value)


SETTINGS_REFUSED = {
    "an end without offset": 'armed_until = "2026-05-22T23:10:00"',
    "an end that is a day": "armed_until = 2026-05-22",
    "two actions at once": "max_actions_per_interval = 2",
    "a share above all": "max_blocked_fraction = 1.1",
    "a share that is no number": "max_blocked_fraction = nan",
    "a policy that is none": 'queue_policy = "other"',
    "a switch in quotes": 'require_approval = "false"',
    "a breaker that never opens": "breaker = {open_after_ineffective = 0}",
    "a window of a month": 'breaker = {recurrence_window = "720h"}',
    "a breaker's key of another name": "breaker = {reset = true}",
}


@pytest.mark.parametrize("line", SETTINGS_REFUSED.values(), ids=SETTINGS_REFUSED)
def test_settings_that_make_no_sense_are_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.{line.split()[0]}"):
        parse_config(f"[mitigation]\n{line}", "x")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("public.orders", "public.orders"),
        ('"public"."orders"', "public.orders"),
        ('public."user"', "public.user"),
        ('"Shop"."a.b"', '"Shop"."a.b"'),
        ('public."two ""quotes"""', 'public."two ""quotes"""'),
        ("public.größe", 'public."größe"'),
    ],
)
def test_a_relation_is_the_same_however_it_is_quoted(written: str, meant: str) -> None:
    assert Qualified.parse(written) == meant
    assert Qualified.parse(meant) == meant


def test_short_waits_are_read_only_on_request() -> None:
    text = f'[mitigation]\nallow_short_waits = true\n{RULE}min_wait = "0s"'
    assert parse_config(text, "x").mitigation.rules[0].min_wait == 0


def test_later_rules_that_have_something_left_are_sound() -> None:
    for first, second in (
        ('client_addr = ["10.0.0.0/8"]', 'client_addr = ["local"]'),
        ('max_age = "1h"', ""),
        ('min_session_age = "1m"', ""),
        ('member_of = ["a"]', 'member_of = ["a", "b"]'),
    ):
        assert len(parse_config(two(first, second), "x").mitigation.rules) == 2


@pytest.mark.parametrize(
    "hours",
    ["", "8:00-9:00", "08:00-08:00", "08:00-24:01", "08:60-09:00", "08:00-09:00 Mars/Phobos", "fri", "fry 08:00-09:00",
     "08:00-09:00 ../../etc/passwd", "Fri 08:00-09:00", "mon-fri 08:00–18:00"],
)  # fmt: skip
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.rules\[0\]\.active_window\[0\] = .*hours such as"):
        parse_config(f'{RULE}active_window = ["{hours}"]', "x")


def test_hours_are_those_of_the_place_and_belong_to_the_day_they_begin_on() -> None:
    night = Window.parse("fri 22:00-06:00 Europe/Berlin")
    friday, summer = datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 7, 31, tzinfo=UTC)
    for moment, inside in (
        (friday.replace(hour=20, minute=59), False),
        (friday.replace(hour=21), True),
        (friday + timedelta(days=1, hours=4, minutes=59), True),
        (friday + timedelta(days=1, hours=5), False),
        (friday.replace(hour=3), False),
        (summer.replace(hour=20), True),
        (summer.replace(hour=19, minute=59), False),
    ):
        assert night.includes_moment(moment) is inside, moment
    over_the_week = Window.parse("sat-mon 00:00-24:00")
    assert [over_the_week.includes_moment(friday + timedelta(days=days)) for days in range(5)] == [0, 1, 1, 1, 0]


def test_a_word_that_would_be_forgotten_before_it_is_heard_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.approval_ttl = \"1m\": at least agent\.interval, which is 2m"):
        parse_config('[agent]\ninterval = "2m"\n[mitigation]\nrequire_approval = true', "x")
    parse_config('[agent]\ninterval = "2m"', "x")


@pytest.mark.parametrize("path", ["stop", "run/stop", ""])
def test_the_kill_switch_file_is_a_whole_path(path: str) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.kill_switch_file = .*/run/pgdoctor/stop"):
        parse_config(f'[mitigation]\nkill_switch_file = "{path}"', "x")


def test_the_defaults_are_those_of_a_careful_operator() -> None:
    """Changing one of them is a decision, and is made here too."""
    careful = Mitigation()
    assert (careful.mode, careful.queue_policy, careful.protect_defaults) == ("off", "self", True)
    assert (careful.max_actions_per_5m, careful.max_actions_per_hour, careful.max_terminates_per_hour) == (3, 10, 5)
    assert (careful.breaker.open_after_ineffective, careful.breaker.open_after_errors) == (2, 3)
    assert (careful.require_approval, careful.allow_short_waits, careful.armed_until) == (False, False, None)
