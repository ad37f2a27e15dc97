"""The configuration: whatever is wrong is one line with key, value and what is allowed; nothing else gets in."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.cli import cli, main
from pgdoctor.config.config import (
    EXAMPLE,
    AgentSettings,
    Config,
    GivenOptions,
    ServerSettings,
    load_config,
    parse_config,
)
from pgdoctor.errors import ConfigError
from pgdoctor.fields import Duration
from pgdoctor.mitigation.rules import Breaker, Mitigation, Protect, Rule
from pgdoctor.notify.settings import Recipient

RULE = '[[mitigation.rules]]\nname = "a"\nclass = "migration"\naction = "cancel"\n'
IDLE = '[[mitigation.rules]]\nname = "a"\nclass = "idle_in_transaction"\n'
SHOP = '[[servers]]\nname = "shop"\n'
TOLD = '[[notify]]\nname = "a"\n'
AT = "mitigation.rules[0]."

BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "not TOML": ("mode = ", ("not valid TOML",)),
    "a table of another name": (
        "[mitigations]",
        ("mitigations: unknown key", "agent, servers, http, webhook, log, journal, archive, notify, mitigation"),
    ),
    "an unknown key": ("[agent]\nport = 9899", ("agent.port: unknown key", "interval, deadline, ")),
    "an unknown key of a rule": (RULE + "min_waits = '1s'", (AT + "min_waits: unknown key", "min_wait, min_age")),
    "a table that is none": ("mitigation = 3", ("mitigation = 3: a table",)),
    "rules that are no tables": ("[mitigation]\nrules = [3]", ("mitigation.rules[0] = 3: a table",)),
    "a mode that is none": ('[mitigation]\nmode = "on"', ('mitigation.mode = "on"', '"observe", "dry_run", "enforce"')),
    "a duration without a unit": ("[agent]\ninterval = 5", ("agent.interval = 5", "with a unit", '"500ms"')),
    "a wait without a unit": (RULE + "min_wait = 15", (AT + "min_wait = 15", '"15s"')),
    "a number in quotes": (RULE + 'min_wait = "15"', (AT + 'min_wait = "15"', '"15s"')),
    "a duration with a space": (RULE + 'min_wait = "15 s"', (AT + 'min_wait = "15 s"',)),
    "a negative duration": (RULE + 'min_wait = "-1s"', (AT + 'min_wait = "-1s"',)),
    "a duration beyond reason": (RULE + 'min_wait = "9000000h"', (AT + 'min_wait = "9000000h"', "a year")),
    "digits of another script": (RULE + 'min_wait = "１５s"', (AT + 'min_wait = "１５s"',)),
    "a poll that would never rest": ('[agent]\ninterval = "1ms"', ("agent.interval", "at least 100ms")),
    "a port that is none": ('[agent]\nlisten = "localhost:99999"', ("agent.listen", "at most 65535")),
    "an address without brackets": ('[agent]\nlisten = "::1:9899"', ("agent.listen", '"[::1]:9899"')),
    "a server of nothing": ("[[servers]]", ("servers[0].name is missing", "exactly one of dsn, dsn_file, service")),
    "a share of nothing": ("[agent]\nmax_server_share = 0", ("agent.max_server_share = 0", "above 0, at most 1")),
    "a share of more than all": ("[agent]\nmax_server_share = 1.5", ("agent.max_server_share = 1.5",)),
    "a share that is no number": ("[agent]\nmax_server_share = nan", ("agent.max_server_share = NaN",)),
    "a server without a way to it": (SHOP, ('servers[0] = "shop"', "exactly one of dsn, dsn_file, service")),
    "two ways to a server": (SHOP + 'dsn = "host=a"\nservice = "b"', ("servers[0]", "exactly one of")),
    "a server without a name": ('[[servers]]\ndsn = "host=a"', ("servers[0].name is missing", "a-z")),
    "two servers of a name": ((SHOP + 'dsn = "host=a"\n') * 2, ('servers[1].name = "shop"', "a unique name")),
    "a name that is taken": (SHOP.replace("shop", "database") + 'dsn = "host=a"', ("servers[0].name", '"database"')),
    "a server that is polled too often": (SHOP + 'dsn = "x=1"\ninterval = "1ms"', ("servers[0].interval", "100ms")),
    "a service that is none": (SHOP + 'service = "a\' b"', ("servers[0].service", "a section in libpq")),
    "an unknown key of a server": (SHOP + 'password = "hunter2"', ("servers[0].password: unknown key", "dsn_file")),
    "a DSN that does not parse": (SHOP + 'dsn = "hunter2 of"', ("servers[0].dsn: the DSN is not valid",)),
    "a password in a DSN": (SHOP + 'dsn = "host=a password=hunter2"', ("servers[0].dsn: no password", "dsn_file")),
    "a password in a URI": (SHOP + 'dsn = "postgresql://u:hunter2@a/b"', ("servers[0].dsn: no password", "service")),
    "a password in a URI's end": (SHOP + 'dsn = "postgresql://a/?password=hunter2"', ("servers[0].dsn: no pass",)),
    "a receiver without an address": (TOLD, ('notify[0] = "a"', "exactly one of url and url_file")),
    "a receiver with two": (
        TOLD + 'url = "http://a/"\nurl_file = "b"',
        ("notify[0]", "exactly one of url and url_file"),
    ),
    "a receiver without a name": ('[[notify]]\nurl = "http://a/"', ("notify[0].name is missing", "a-z")),
    "two receivers of a name": ((TOLD + 'url = "http://a/"\n') * 2, ('notify[1].name = "a"', "a unique name")),
    "a format that is none": (TOLD + 'url = "http://a/"\nformat = "slak"', ("notify[0].format", '"slack"')),
    "a pager without a routing key": (TOLD + 'format = "pagerduty"', ('notify[0] = "a"', "routing_key_file")),
    "a pager with two addresses": (
        TOLD + 'format = "pagerduty"\nrouting_key_file = "/k"\nurl = "http://a/"\nurl_file = "/u"',
        ('notify[0] = "a"', "at most one of url and url_file"),
    ),
    "a routing key for a chat": (
        TOLD + 'format = "slack"\nurl = "http://a/"\nrouting_key_file = "/k"',
        ('notify[0] = "a"', 'routing_key_file only with format = "pagerduty"'),
    ),
    "an alert without a key": (TOLD + 'format = "opsgenie"', ('notify[0] = "a"', "api_key_file, which")),
    "a key for a webhook": (
        TOLD + 'format = "msteams"\nurl = "http://a/"\napi_key_file = "b"',
        ('notify[0] = "a"', 'api_key_file only with format = "opsgenie"'),
    ),
    "a channel without a token": (
        TOLD + 'format = "slack"\nchannel = "#dba"',
        ('notify[0] = "a"', "token_file with the bot's token, which channel needs"),
    ),
    "a channel that is a mention": (
        TOLD + 'format = "slack"\nchannel = "<!here>"\ntoken_file = "b"',
        ("notify[0].channel", '"#dba"'),
    ),
    "a template without a file": (
        TOLD + 'format = "template"\nurl = "http://a/"',
        ('notify[0] = "a"', 'template_file, which format = "template" needs'),
    ),
    "a content type that is two headers": (
        TOLD + 'format = "template"\nurl = "http://a/"\ntemplate_file = "b"\ncontent_type = "text/plain\\r\\nX: y"',
        ("notify[0].content_type", '"text/plain"'),
    ),
    "a URL of Apprise in the file": (
        TOLD + 'format = "apprise"\nurl = "mailto://u:hunter2@a"',
        ('notify[0] = "a"', "url_file alone, with one URL of Apprise"),
    ),
    "an address that is none": (TOLD + 'url = "hunter2"', ("notify[0].url: http:// or https://",)),
    "an address of another kind": (TOLD + 'url = "ftp://a/hunter2"', ("notify[0].url: http:// or https://",)),
    "an address with a password": (TOLD + 'url = "https://u:hunter2@a/"', ("notify[0].url:", "url_file")),
    "an address with a space": (TOLD + 'url = "https://a/hunter2 b"', ("notify[0].url:",)),
    "an address with no port": (TOLD + 'url = "https://a:hunter2/"', ("notify[0].url:",)),
    "an address that is no text": (TOLD + 'url = ["https://a/hunter2"]', ("notify[0].url: text in quotes",)),
    "an external url with a password": (
        '[http]\nexternal_url = "https://u:hunter2@a/"',
        ("http.external_url: http://",),
    ),
    "an external url with a query": ('[http]\nexternal_url = "https://a/?x=hunter2"', ("http.external_url: http://",)),
    "no events": (TOLD + 'url = "http://a/"\nevents = []', ("notify[0].events = []", "at least one of started")),
    "an event that is none": (TOLD + 'url = "http://a/"\nevents = ["x"]', ("notify[0].events[0]", '"worsened"')),
    "no attempt": (TOLD + 'url = "http://a/"\nattempts = 0', ("notify[0].attempts = 0", "from 1 to 1000")),
    "no time for an attempt": (TOLD + 'url = "http://a/"\ntimeout = "0s"', ("notify[0].timeout", "at least 100ms")),
    "no deadline": ('[agent]\ndeadline = "0s"', ("agent.deadline", "at least 100ms")),
    "a word for a truth value": ('[agent]\nexplain = "on"', ('agent.explain = "on"', "true or false")),
    "an address without a port": ('[agent]\nlisten = "localhost"', ('agent.listen = "localhost"', "HOST:PORT")),
    "no samples": ("[mitigation]\nmin_samples = 0", ("mitigation.min_samples = 0", "from 1")),
    "a truth for a number": ("[mitigation]\nmin_samples = true", ("mitigation.min_samples = true", "whole number")),
    "a number beyond reason": ("[mitigation]\nmax_actions_per_hour = 99999999", ("to 1000000",)),
    "a rule without anything": ("[[mitigation.rules]]", (AT + "name is missing", AT + "class is", AT + "action is")),
    "a name that is no label": (RULE.replace('"a"', '"My rule"'), (AT + 'name = "My rule"', "a-z")),
    "a name that ends in a newline": (RULE.replace('"a"', '"a\\n"'), (AT + 'name = "a\\n"',)),
    "an action that is none": (RULE.replace("cancel", "kill"), (AT + 'action = "kill"', '"cancel_then_terminate"')),
    "a class that is none": (RULE.replace("migration", "ddl"), (AT + 'class = "ddl"', "long_query, maintenance")),
    "no class": (RULE.replace('"migration"', "[]"), (AT + "class = []", "idle_in_transaction")),
    "a class that is a number": (RULE.replace('"migration"', "7"), (AT + "class = 7",)),
    "one class of a list that is none": (RULE.replace('"migration"', '["migration", "x"]'), (AT + 'class = "x"',)),
    "nobody allowed": (RULE + "usename = []", (AT + "usename = []", "omit the key")),
    "no database allowed": (RULE + "datname = []", (AT + "datname = []",)),
    "no application allowed": (RULE + "application_name = []", (AT + "application_name = []",)),
    "an empty protection of a rule": (RULE + "protected_usename = []", (AT + "protected_usename = []",)),
    "a name outside of a list": (RULE + 'usename = "app"', (AT + 'usename = "app"', "a list")),
    "a number among names": (RULE + 'usename = ["app", 1]', (AT + "usename[1] = 1", "text in quotes")),
    "a protection of nobody": ("[[mitigation.protect]]", ("mitigation.protect[0] = {}", "usename, datname")),
    "an empty protection": ("[[mitigation.protect]]\ndatname = []", ("mitigation.protect[0].datname = []",)),
    "no blocked session": (RULE + "min_blocked = 0", (AT + "min_blocked = 0", "from 1")),
    "a cancel of an idle session": (IDLE + 'action = "cancel"', (AT + 'action = "cancel"', "no effect")),
    "a ladder for an idle session": (
        IDLE + 'action = "cancel_then_terminate"\ngrace = "5s"',
        (AT + 'action = "cancel_then_terminate"', "no effect"),
    ),
    "a ladder without grace": (RULE.replace("cancel", "cancel_then_terminate"), (AT + "grace is missing",)),
    "hardly any grace": (RULE.replace("cancel", "cancel_then_terminate") + 'grace = "10ms"', (AT + "grace", "1s")),
    "grace without a ladder": (RULE + 'grace = "5s"', (AT + 'grace = "5s"', "only with")),
    "the same name twice": (RULE + RULE, ('mitigation.rules[1].name = "a"', "a unique name")),
    "a rule that nothing reaches": (
        RULE + RULE.replace('"a"', '"b"') + 'usename = ["app"]\nmin_wait = "1m"',
        ('mitigation.rules[1] = "b"', "the earlier rule 'a'"),
    ),
} | {
    f"any action on {name}": (
        RULE.replace("migration", name),
        (f'{AT}class = "{name}"', "such sessions are never signalled"),
    )
    for name in ("prepared_transaction", "hot_row", "replication", "autovacuum", "backup", "unknown")
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_mistake_is_one_line_with_key_value_and_allowed_values(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "pgdoctor.toml")
    said = str(caught.value)
    assert said.startswith("pgdoctor.toml: ")
    assert "\n" not in said
    assert "hunter2" not in said
    for word in words:
        assert word in said


def test_all_mistakes_are_named_at_once() -> None:
    text = '[agent]\ninterval = 1\nport = 2\n[mitigation]\nmode = "on"\n' + RULE.replace("cancel", "kill")
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    for key in ("agent.interval", "agent.port", "mitigation.mode", AT + "action"):
        assert str(caught.value).count(f"{key}") == 1


def test_each_mistake_in_a_list_is_named() -> None:
    text = RULE + 'usename = [1, "app", true]\nclient_addr = ["10.0.0.0/8", "10.0.0.1/8", "x"]'
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    keys = re.findall(r"mitigation\.rules\[0\]\.(\S+) = ", str(caught.value))
    assert keys == ["usename[0]", "usename[2]", "client_addr[1]", "client_addr[2]"]


def test_contradictions_are_listed_beside_malformed_values() -> None:
    text = f"""
        [agent]
        interval = "1ms"
        deadline = 5
        [http]
        tls_key = "/x"
        [[servers]]
        name = "shop"
        [[servers]]
        name = "shop"
        dsn = "host=a password=hunter2"
        interval = 7
        [mitigation]
        mode = "on"
        {RULE.replace("cancel", "kill")}min_wait = "1s"
        {RULE.replace("migration", "hot_row")}
    """
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    keys = re.findall(r"(?:^x: |; )([\w.]+(?:\[\d\][\w.]*)*)(?= = | is missing|:)", str(caught.value))
    assert sorted(keys) == [
        "agent.deadline",
        "agent.interval",
        "http.tls_certificate",
        "mitigation.mode",
        "mitigation.rules[0].action",
        "mitigation.rules[0].min_wait",
        "mitigation.rules[1].class",
        "servers[0]",
        "servers[1].dsn",
        "servers[1].interval",
        "servers[1].name",
    ]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        # Whether a grace has a ladder, a statement a name beside it, a server a way to it, or a rule anything left by
        # the one before it, cannot be said while the other key is wrong.
        RULE.replace('"cancel"', "3") + 'grace = "5s"',
        RULE + 'statement = ["select .*"]\nusename = "app"',
        SHOP + "dsn = 3",
        RULE + "usename = 3\n" + RULE.replace('"a"', '"b"'),
        "[[mitigation.rules]]",
    ],
)
def test_nothing_is_said_that_another_mistake_may_be_the_reason_of(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x")
    said = str(caught.value).removeprefix("x: ").split("; ")
    assert len(said) == (3 if text == "[[mitigation.rules]]" else 1), said


def test_the_value_of_an_unknown_key_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config('[agent]\ndsn = "postgresql://app:hunter2@db/shop"', "x")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_config(str(tmp_path / "nowhere.toml"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(str(tmp_path))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"mode = '\xff\xfe'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(str(tmp_path / "x.toml"))


TEXT = st.text('ab`$.[0]"\n\x7fé', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.sampled_from(["15s", "migration", "cancel"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["agent", "mitigation", "rules", "protect", "mode", "class", "name", "action", "usename", "min_wait", "a` - at `$."]
)
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: st.dictionaries(KEYS, inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=12,
)


@given(document=st.dictionaries(KEYS, DOCUMENTS, max_size=4))
def test_no_document_brings_anything_but_a_config_or_one_line(document: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())
    assert outcome(text).isprintable()


def outcome(text: str) -> str:
    try:
        return f"sound: {parse_config(text, 'x').mitigation.mode}"
    except ConfigError as error:
        return str(error)


def toml(value: object) -> str:
    """A value in TOML, which has no null."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value is None:
        return "0.5"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(max(min(value, 2**63 - 1), -(2**63)))
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def test_without_a_file_nothing_is_allowed() -> None:
    assert load_config(None) == Config()
    assert load_config(None).mitigation.mode == "off"
    assert load_config(None).mitigation.rules == ()


def test_a_full_rule_is_read_as_written() -> None:
    text = """
        [agent]
        interval = "500ms"
        [mitigation]
        mode = "enforce"
        cooldown = "2m"
        [[mitigation.protect]]
        application_name = ["psql"]
        [[mitigation.rules]]
        name = "slow"
        class = ["long_query", "unindexed_scan"]
        action = "cancel_then_terminate"
        grace = "1.5s"
        min_wait = "6h"
        usename = ["app"]
        protected_datname = ["ledger"]
    """
    config = parse_config(text, "x")
    assert config.agent.interval == 0.5
    assert config.mitigation.cooldown == 120
    assert config.mitigation.protect == (Protect(application_name=("psql",)),)
    [rule] = config.mitigation.rules
    assert rule == Rule(
        name="slow",
        classification=("long_query", "unindexed_scan"),
        action="cancel_then_terminate",
        grace=Duration(1.5),
        min_wait=Duration(21600),
        usename=("app",),
        protected_datname=("ledger",),
    )


def test_flags_beside_the_file_hold_for_every_server(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(SHOP + 'dsn = "host=a"\ninterval = "3s"\ndeadline = "4s"')
    config = load_config(str(tmp_path / "x.toml"), {"interval": GivenOptions("--interval", "2s")})
    assert config.agent.interval == 2
    assert (config.servers[0].interval, config.servers[0].deadline) == (None, 4)


def test_every_wait_may_count_as_an_incident() -> None:
    assert parse_config('[agent]\nwait_threshold = "0s"\nmax_server_share = 1', "x").agent.wait_threshold == 0


@pytest.mark.parametrize("mode", ["observe", "dry_run", "enforce"])
def test_a_mode_without_any_rule_is_sound(mode: str) -> None:
    assert parse_config(f'[mitigation]\nmode = "{mode}"', "x").mitigation == Mitigation(mode=mode)  # type: ignore[arg-type]


def test_a_rule_that_takes_over_where_an_earlier_one_does_not_yet_apply_is_sound() -> None:
    later = RULE.replace('"a"', '"b"')
    assert len(parse_config(RULE + 'min_wait = "1m"\n' + later, "x").mitigation.rules) == 2
    assert len(parse_config(RULE + 'usename = ["app"]\n' + later, "x").mitigation.rules) == 2


@pytest.mark.parametrize("text", ["0s", "1ms", "500ms", "90s", "15s", "2m", "6h", "1.5s", "30d"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert Duration.parse(str(Duration.parse(text))) == Duration.parse(text)


def test_the_example_says_the_defaults() -> None:
    assert parse_config(EXAMPLE, "example") == Config()


def test_the_example_names_every_key() -> None:
    for table in (AgentSettings, ServerSettings, Recipient, Mitigation, Breaker, Rule, Protect):
        for field in msgspec.structs.fields(table):
            if field.encode_name not in ("rules", "protect", "breaker"):
                assert re.search(rf"^(# )?{field.encode_name} = ", EXAMPLE, re.MULTILINE), field.encode_name


def test_the_rules_of_the_example_are_sound_and_say_the_defaults() -> None:
    uncommented = re.sub(r"^# (?=\[\[|\w+ = )", "", EXAMPLE, flags=re.MULTILINE)
    config = parse_config(uncommented, "example")
    assert [server.name for server in config.servers] == ["shop", "ledger", "crm"]
    assert len(config.mitigation.rules) == 3
    chosen = {"name", "url", "url_file", "token_file", "events", "service", "k8s_namespace", "format"}
    chosen |= {"routing_key_file", "api_key_file", "channel", "template_file", "content_type"}
    formats = ["json", "json", "pagerduty", "opsgenie", "slack", "template"]
    assert [told.format for told in config.notify] == formats
    for told in config.notify:
        for field in msgspec.structs.fields(Recipient):
            if field.name not in chosen:
                assert getattr(told, field.name) == field.default, field.name
    idle = config.mitigation.rules[0]
    for field in msgspec.structs.fields(Rule):
        if field.name.startswith(("min_", "max_")):
            assert getattr(idle, field.name) == field.default


def test_config_init_prints_the_example() -> None:
    assert CliRunner().invoke(cli, ["config", "init"]).output == EXAMPLE


def test_config_check_says_what_a_file_allows(tmp_path: Path) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(RULE)
    result = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert "is valid: mitigation is off, with 1 rule and 0 protections" in result.output


def test_config_check_counts_the_servers(tmp_path: Path) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(SHOP + 'dsn_file = "/of/another/machine"')
    result = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert "is valid: mitigation is off, with 0 rules and 0 protections; 1 server" in result.output


def test_config_check_says_each_mistake_on_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text("[agent]\ninterval = 3\nport = 4")
    with pytest.raises(SystemExit, match="2"):
        main(["config", "check", str(file)])
    said = capsys.readouterr()
    assert said.out == ""
    interval, unknown = said.err.splitlines()
    assert unknown.startswith(f"pgdoctor: {file}: agent.port: unknown key; ")
    assert interval.startswith(f"pgdoctor: {file}: agent.interval = 3: ")


def test_config_check_says_what_keeps_an_agent_from_starting_here(tmp_path: Path) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'[http]\ntoken_file = "{tmp_path}/no"\n[[notify]]\nname = "a"\nurl_file = "{tmp_path}/no"')
    result = CliRunner().invoke(cli, ["config", "check", str(file)], standalone_mode=False)
    assert (result.exit_code, result.return_value) == (0, 0)
    assert "is valid" in result.output
    for key in ("http.token_file", "notify[0].url_file"):
        assert f"could not start with it: {key}: {tmp_path}/no: cannot be read: No such file" in result.output


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text('[agent]\ninterval = "3s"', encoding="utf-8-sig")
    assert load_config(str(file)).agent.interval == 3
