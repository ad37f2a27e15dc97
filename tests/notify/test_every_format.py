"""What receivers of each format are sent, checked as the real ones do."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.formats import list_formats, load_format
from pgdoctor.notify.formats.slack import escape_slack
from pgdoctor.notify.notifier import Notifier
from pgdoctor.notify.settings import Recipient
from pgdoctor.render.notification import Notification, list_facts, make_test_notification
from pgdoctor.render.outbound_alert import describe_event
from tests.building import NOW, lock, session, snapshot
from tests.docs.generating import DOCS
from tests.examples import examples
from tests.notify import strict_receivers
from tests.notify.strict_receivers import KEY, TOKEN, Opsgenie, SlackBot, StrictReceiver

SECRET = "zq7hunter2"
HOSTILE = (
    "<!channel> *x* <https://evil.example|click> :boom: @here <at>all</at> [a](http://evil.example) _b_ & "
    "\x1b[31m\u202e"
)
LONG = HOSTILE + "<" * 300
PAGE = "https://pg.example/db1/incidents/20260522T230900000?server=shop"

#: Of the formats that one body is enough for.
CHECKS = {
    "alertmanager": strict_receivers.check_alertmanager,
    "slack": strict_receivers.check_slack,
    "pagerduty": strict_receivers.check_pagerduty,
    "msteams": strict_receivers.check_msteams,
}

INCIDENT = Incident("20260522T230900000", NOW - timedelta(seconds=60), ("idle_in_transaction",), 2, 41.0)
CRITICAL = replace(INCIDENT, peak_blocked=12)

SENTENCE = (
    "shop: 1 session blocked, longest wait 41 s, root 10 (idle_in_transaction). "
    "Best: terminate 10; this frees 1 session at once"
)

#: A receiver of each kind, and what its format needs.
RECEIVERS: dict[str, tuple[str, Callable[[], StrictReceiver], dict[str, str]]] = {
    "alertmanager": ("alertmanager", strict_receivers.alertmanager, {}),
    "slack": ("slack", strict_receivers.slack, {}),
    "slack bot": ("slack", SlackBot, {"token": TOKEN, "channel": "#dba"}),
    "pagerduty": ("pagerduty", strict_receivers.pagerduty, {"routing_key": KEY}),
    "opsgenie": ("opsgenie", Opsgenie, {"api_key": KEY}),
    "msteams": ("msteams", strict_receivers.msteams, {}),
}


def seen(application: str = "checkout", **facts: Any) -> Any:
    """A session that is idle in its transaction, and one that it blocks."""
    holder = session(
        10,
        state="idle in transaction",
        statement=f"update orders set v = '{SECRET}'",
        application_name=application,
        locks=(lock(10, "RowExclusiveLock", granted=True),),
        **facts,
    )
    waiter = session(
        20,
        application_name=application,
        blockers=(10,),
        wait_event_type="Lock",
        locks=(lock(20, "AccessExclusiveLock", granted=False),),
    )
    return diagnose(snapshot([holder, waiter]))


def event(kind: Any, incident: Incident = INCIDENT, seconds: float = 0) -> IncidentEvent:
    return IncidentEvent(kind, incident, NOW + timedelta(seconds=seconds))


def sent(wanted: str, *events: IncidentEvent, application: str = "checkout", link: bool = True) -> list[Any]:
    """What a strict receiver takes of these events."""
    name, make, secrets = RECEIVERS[wanted]

    async def whole(there: StrictReceiver) -> None:
        told = Recipient("a", there.url, format=name, service="checkout")
        endpoint = Endpoint(there.url, **secrets)
        notifier = Notifier([(told, endpoint)], "https://pg.example/db1" if link else None)
        notifier.start()
        for each in events:
            diagnosis = diagnose(snapshot([])) if each.kind == "ended" else seen(application)
            notifier.queue_event(each, describe_event(each, diagnosis, 0 if each.kind == "ended" else 1), "shop")
        async with asyncio.timeout(60):
            while notifier.waiting.events:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        notifier.stop()
        assert there.mistakes == []
        assert notifier.outcomes["delivered"] == len(events)

    with make() as there:
        asyncio.run(whole(there))
        return there.bodies


def whole_course() -> list[IncidentEvent]:
    return [event("started"), event("class_changed", seconds=1), event("worsened", CRITICAL, 2), event("ended")]


@pytest.mark.parametrize("wanted", RECEIVERS)
@pytest.mark.parametrize("application", ["checkout", HOSTILE, LONG, "&" * 5_000, "😀" * 500, ""])
def test_no_format_is_refused_nor_shows_a_literal(wanted: str, application: str) -> None:
    text = str(sent(wanted, *whole_course(), application=application))
    assert SECRET not in text


@pytest.mark.parametrize("wanted", RECEIVERS)
def test_text_of_clients_is_no_markup_mention_or_link(wanted: str) -> None:
    for body in sent(wanted, *whole_course(), application=HOSTILE):
        text = msgspec.json.encode(body).decode().replace(PAGE, "").replace("http://adaptivecards.io", "")
        for markup in ("<!channel>", "@here", "<at>", "*x*", "](", "_b_", "http://evil", "https://", "evil.example"):
            assert markup not in text


@pytest.mark.parametrize("wanted", RECEIVERS)
def test_each_format_begins_with_the_sentence(wanted: str) -> None:
    [body] = sent(wanted, event("started"))
    sentence = {
        "alertmanager": lambda: body[0]["annotations"]["summary"],
        "slack": lambda: body["blocks"][0]["text"]["text"].removeprefix("[warning] "),
        "slack bot": lambda: body["blocks"][0]["text"]["text"].removeprefix("[warning] "),
        "pagerduty": lambda: body["payload"]["summary"],
        "opsgenie": lambda: body["description"].split("\n")[0],
        "msteams": lambda: card(body)["body"][0]["inlines"][0]["text"].removeprefix("[warning] "),
    }[wanted]()
    assert sentence == SENTENCE


def card(body: Any) -> Any:
    return body["attachments"][0]["content"]


def test_alertmanager_is_notified_the_end_by_the_labels_of_the_start() -> None:
    [[started], [ended]] = sent("alertmanager", event("started"), event("ended", seconds=5))
    assert started["labels"] == ended["labels"]
    assert started["labels"] == {
        "alertname": "PgdoctorIncident",
        "server": "shop",
        "service": "checkout",
        "severity": "warning",
    }
    assert started["startsAt"] == ended["startsAt"] == "2026-05-22T23:09:00Z"
    assert "endsAt" not in started
    assert ended["endsAt"] == "2026-05-22T23:10:05Z"
    assert started["generatorURL"] == started["annotations"]["page"] == PAGE


def test_alertmanager_is_notified_the_end_of_a_warning_that_became_critical() -> None:
    [[_], [critical, warning], [ended]] = sent(
        "alertmanager", event("started"), event("worsened", CRITICAL, 1), event("ended", CRITICAL, 2)
    )
    assert (critical["labels"]["severity"], warning["labels"]["severity"]) == ("critical", "warning")
    assert "endsAt" not in critical
    assert warning["endsAt"] == "2026-05-22T23:10:01Z"
    assert ended["labels"] == critical["labels"]


def test_alertmanager_gets_no_end_before_the_start() -> None:
    [[ended]] = sent("alertmanager", event("ended", seconds=-3600))
    assert ended["endsAt"] == ended["startsAt"]


def test_labels_hold_no_text_of_clients() -> None:
    [[alert]] = sent("alertmanager", event("started"), application=HOSTILE)
    assert "evil" in alert["annotations"]["application"]
    assert "evil" not in str(alert["labels"])


def test_pagerduty_triggers_and_resolves_by_the_incident() -> None:
    started, worsened, ended = sent(
        "pagerduty", event("started"), event("worsened", CRITICAL, 1), event("ended", CRITICAL, 2)
    )
    assert [each["event_action"] for each in (started, worsened, ended)] == ["trigger", "trigger", "resolve"]
    assert {each["dedup_key"] for each in (started, worsened, ended)} == {"shop/20260522T230900000"}
    assert {each["routing_key"] for each in (started, worsened, ended)} == {KEY}
    assert worsened["payload"]["severity"] == "critical"
    assert started["payload"]["source"] == "shop"
    assert started["payload"]["custom_details"]["statement"] == "update orders set v = ?"
    assert started["links"] == [{"href": PAGE, "text": "Page of the incident"}]
    assert "payload" not in ended


def test_pagerduty_alone_is_notified_of_a_signal() -> None:
    async def whole(there: StrictReceiver, chat: StrictReceiver) -> None:
        pager = Recipient("a", there.url, format="pagerduty")
        young = Recipient("b", there.url, format="pagerduty", min_duration=Duration(3600))
        told = [
            (pager, Endpoint(there.url, routing_key=KEY)),
            (young, Endpoint(there.url, routing_key=KEY)),
            (Recipient("c", chat.url, format="slack"), Endpoint(chat.url)),
        ]
        notifier = Notifier(told)
        notifier.start()
        notifier.queue_event(event("started"), describe_event(event("started"), seen(), 1), "shop")
        notifier.announce_action(INCIDENT, "shop")
        async with asyncio.timeout(20):
            while notifier.waiting.events:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        notifier.stop()

    with strict_receivers.pagerduty() as there, strict_receivers.slack() as chat:
        asyncio.run(whole(there, chat))
    assert there.mistakes == []
    assert [each["event_action"] for each in there.bodies] == ["trigger", "acknowledge"]
    assert len({each["dedup_key"] for each in there.bodies}) == 1
    assert len(chat.bodies) == 1


def test_slack_shows_text_of_clients_as_plain_text() -> None:
    [body] = sent("slack", event("started"), application=HOSTILE)
    texts = [block["text"] for block in body["blocks"] if "text" in block]
    fields = [field for block in body["blocks"] for field in block.get("fields", [])]
    assert [each for each in (*texts, *fields) if each["type"] != "plain_text"] == [
        {"type": "mrkdwn", "text": f"<{PAGE}|Page of the incident>"}
    ]
    [application] = [each["text"] for each in fields if each["text"].startswith("application: ")]
    assert application.startswith(
        "application: ‹!channel› ∗x∗ ‹https:／／evil［.］example¦click› :boom: ＠here ‹at›all‹/at›"
    )


def test_without_an_external_url_there_is_no_link() -> None:
    assert "mrkdwn'," not in str(sent("slack", event("started"), link=False))
    assert "generatorURL" not in sent("alertmanager", event("started"), link=False)[0][0]
    assert sent("pagerduty", event("started"), link=False)[0]["links"] == []


def test_escaping_for_slack_cuts_no_entity() -> None:
    assert escape_slack("a<b", 4) == "a"
    assert escape_slack("a<b", 5) == "a&lt;"
    assert len(escape_slack("&" * 5_000, 3_000)) == 3_000


def test_slack_bot_replies_in_a_thread_until_the_end() -> None:
    started, changed, worsened, ended, again = sent("slack bot", *whole_course(), event("started"))
    assert "thread_ts" not in started
    assert {each["thread_ts"] for each in (changed, worsened, ended)} == {"1700000000.000100"}
    assert [each["reply_broadcast"] for each in (changed, worsened, ended)] == [False, True, True]
    assert {each["channel"] for each in (started, changed, worsened, ended)} == {"#dba"}
    assert "thread_ts" not in again


@pytest.mark.parametrize(("channel", "goes_on"), [("#dba", True), ("#other", False)])
def test_slack_thread_goes_on_after_a_restart_in_the_same_channel(channel: str, goes_on: bool) -> None:
    name, make, secrets = RECEIVERS["slack bot"]

    async def run(there: StrictReceiver, channel: str, kind: str, threads: bytes) -> bytes:
        settings = Recipient("a", there.url, format=name, service="checkout")
        notifier = Notifier([(settings, Endpoint(there.url, **{**secrets, "channel": channel}))])
        assert notifier.keeps_threads
        notifier.take_threads(threads)
        notifier.start()
        notifier.queue_event(event(kind), describe_event(event(kind), seen("checkout"), 1), "shop")
        async with asyncio.timeout(60):
            while notifier.waiting.events:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        notifier.stop()
        return notifier.threads

    with make() as there:
        for garbage in (b"", b"{", b"[1]", b'{"a": 3}', b"\xff"):
            asyncio.run(run(there, "#third", "started", garbage))
        threads = asyncio.run(run(there, "#dba", "started", b"{}"))
        asyncio.run(run(there, channel, "class_changed", threads))
        *_, started, changed = there.bodies
    assert "thread_ts" not in started
    assert ("thread_ts" in changed) is goes_on


def test_opsgenie_alert_is_raised_and_closed_by_the_incident() -> None:
    with Opsgenie() as there:
        asyncio.run(course_with_signal(there))
    assert there.mistakes == []
    changes = ["create", "acknowledge", "create", "notes", "create", "priority", "notes", "close"]
    assert there.done == {"pgdoctor-shop-20260522T230900000": changes}
    assert there.open == set()
    created, priority = there.bodies[0], there.bodies[5]
    assert created["priority"] == "P3"
    assert priority == {"priority": "P1"}
    assert created["details"]["statement"] == "update orders set v = ?"
    assert created["message"].startswith("shop: 1 session blocked")


async def course_with_signal(there: StrictReceiver) -> None:
    notifier = Notifier([(Recipient("a", there.url, format="opsgenie"), Endpoint(there.url, api_key=KEY))])
    notifier.start()
    for each in whole_course():
        diagnosis = diagnose(snapshot([])) if each.kind == "ended" else seen()
        notifier.queue_event(each, describe_event(each, diagnosis, 0 if each.kind == "ended" else 1), "shop")
        if each.kind == "started":
            notifier.announce_action(each.incident, "shop")
    async with asyncio.timeout(60):
        while notifier.waiting.events:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    notifier.stop()


NAMES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(["<!here>", "@all", "https://a.example", "www.", "*", "_", "`", "[a](b)", "{{", "${", "\n"]),
    ),
    max_size=8,
).map("".join)


@examples(60)
@given(application=NAMES)
def test_no_name_is_refused_or_is_markup(application: str) -> None:
    """The checks of the receivers, without sending."""
    diagnosis = seen(application, usename=application, datname=application)
    alert = replace(describe_event(event("started"), diagnosis, 1), service="checkout")
    said = Notification(alert, event("started"), "shop", PAGE)
    endpoint = Endpoint("https://a.example/", routing_key=KEY)
    for name, check in CHECKS.items():
        [part] = load_format(name).render_event(said)
        body = msgspec.json.decode(load_format(name).make_request(part, endpoint).body)
        assert [*check(body), *strict_receivers.find_unprintable(body)] == []
    for _, text in list_facts(said):
        assert not set("<>@*`[]|#\\") & set(text)
        assert not [each for each in ("://", "{{", "{%", "${") if each in text]


def test_teams_card_has_text_runs_alone_and_our_link() -> None:
    [body] = sent("msteams", event("started"), application=LONG)
    assert {block["type"] for block in card(body)["body"]} == {"RichTextBlock"}
    assert card(body)["actions"] == [{"type": "Action.OpenUrl", "title": "Page of the incident", "url": PAGE}]
    assert "entities" not in str(body)


def test_json_has_the_sentence_the_link_and_names_as_they_are() -> None:
    said = describe_event(event("started"), seen(HOSTILE), 1)
    [part] = load_format("json").render_event(Notification(said, event("started"), "shop", PAGE))
    body = msgspec.json.decode(part.body)
    assert (body["summary"], body["link"]) == (SENTENCE, PAGE)
    assert body["diagnosis"]["blockers"][0]["application"] == HOSTILE


@pytest.mark.parametrize("wanted", list_formats())
def test_each_format_is_in_the_manual(wanted: str) -> None:
    page = (DOCS / "notifications.md").read_text(encoding="utf-8")
    assert wanted == "json" or f'\nformat = "{wanted}"\n' in page


def test_each_format_has_a_receiver() -> None:
    """Those of the three are in files of their own."""
    assert {name for name, _, _ in RECEIVERS.values()} | {"json", "apprise", "template"} == set(list_formats())


@pytest.mark.parametrize("wanted", list_formats())
def test_each_format_has_a_test_notification(wanted: str) -> None:
    kind = load_format(wanted)
    [part] = kind.render_event(make_test_notification(NOW, "shop", None))
    endpoint = Endpoint("https://a.example/", routing_key=KEY, api_key=KEY)
    body = msgspec.json.decode(kind.make_request(part, endpoint).body)
    assert list(CHECKS.get(wanted, lambda _: iter(()))(body)) == []


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (strict_receivers.check_alertmanager, {"alertId": "1"}),
        (strict_receivers.check_pagerduty, {"alertId": "1"}),
        (strict_receivers.check_slack, {"text": "<!here>", "blocks": [{"type": "section"}]}),
        (strict_receivers.check_slack, {"text": "a", "blocks": [{"type": "section", "text": "a" * 3_001}]}),
        (strict_receivers.check_msteams, {"text": "a"}),
    ],
)
def test_the_strict_receivers_refuse_what_real_ones_refuse(check: Any, body: Any) -> None:
    assert list(check(body))


def test_limits_hold_for_the_longest_names() -> None:
    """Names of 5,000 characters of four bytes each, in everything that a client chooses."""
    for wanted in RECEIVERS:
        assert sent(wanted, event("started"), application="𝕏" * 5_000)
