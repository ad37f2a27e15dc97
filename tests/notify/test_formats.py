"""What receivers of each format are sent, checked as the real ones do."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.notifier import Notifier
from pgdoctor.notify.settings import Format, Recipient
from pgdoctor.render.notification import make_test_notification
from pgdoctor.render.notification_formats import render_notification
from pgdoctor.render.outbound_alert import describe_event
from pgdoctor.render.slack_message import escape_slack
from tests.building import NOW, lock, session, snapshot
from tests.notify import strict_receivers
from tests.notify.strict_receivers import StrictReceiver

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "zq7hunter2"
HOSTILE = "<!channel> *x* <https://evil.example|click> :boom: @here & \x1b[31m‮" + "<" * 30
PAGE = "https://pg.example/db1/?server=shop"

INCIDENT = Incident("20260522T230900000", NOW - timedelta(seconds=60), ("idle_in_transaction",), 2, 41.0)
CRITICAL = replace(INCIDENT, peak_blocked=12)

RECEIVERS: dict[Format, Callable[[], StrictReceiver]] = {
    "alertmanager": strict_receivers.alertmanager,
    "slack": strict_receivers.slack,
    "pagerduty": strict_receivers.pagerduty,
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


def sent(wanted: Format, *events: IncidentEvent, application: str = "checkout", link: bool = True) -> list[Any]:
    """What a strict receiver takes of these events."""

    async def whole(there: StrictReceiver) -> None:
        key = KEY if wanted == "pagerduty" else None
        told = Recipient("a", there.url, format=wanted, service="checkout")
        notifier = Notifier([(told, Endpoint(there.url, None, key))], "https://pg.example/db1" if link else None)
        notifier.start()
        for each in events:
            diagnosis = diagnose(snapshot([])) if each.kind == "ended" else seen(application)
            notifier.queue_event(each, describe_event(each, diagnosis, 0 if each.kind == "ended" else 1), "shop")
        async with asyncio.timeout(20):
            while notifier.waiting.events:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        notifier.stop()
        assert there.mistakes == []
        assert notifier.outcomes["delivered"] == len(events)

    with RECEIVERS[wanted]() as there:
        asyncio.run(whole(there))
        return there.bodies


@pytest.mark.parametrize("wanted", RECEIVERS)
def test_no_format_is_refused_nor_shows_a_literal(wanted: Format) -> None:
    events = [event("started"), event("class_changed", seconds=1), event("worsened", CRITICAL, 2), event("ended")]
    for application in ("checkout", HOSTILE, "&" * 5_000, ""):
        text = str(sent(wanted, *events, application=application))
        assert SECRET not in text
        assert "\x1b" not in text


@pytest.mark.parametrize("wanted", RECEIVERS)
def test_each_format_begins_with_the_sentence(wanted: Format) -> None:
    [body] = sent(wanted, event("started"))
    sentence = {
        "alertmanager": lambda: body[0]["annotations"]["summary"],
        "slack": lambda: body["blocks"][0]["text"]["text"].removeprefix("[warning] "),
        "pagerduty": lambda: body["payload"]["summary"],
    }[wanted]()
    assert sentence == (
        "shop: 1 session blocked, longest wait 41 s, root 10 (idle_in_transaction). "
        "Best: terminate 10; this frees 1 session at once"
    )


def test_alertmanager_is_told_the_end_by_the_labels_of_the_start() -> None:
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


def test_alertmanager_is_told_the_end_of_a_warning_that_became_critical() -> None:
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
    assert "evil.example" in alert["annotations"]["application"]
    assert "evil.example" not in str(alert["labels"])


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
    assert started["links"] == [{"href": PAGE, "text": "Page of the server"}]
    assert "payload" not in ended


def test_pagerduty_alone_is_told_of_a_signal() -> None:
    async def whole(there: StrictReceiver, chat: StrictReceiver) -> None:
        pager = Recipient("a", there.url, format="pagerduty")
        young = Recipient("b", there.url, format="pagerduty", min_duration=Duration(3600))
        told = [
            (pager, Endpoint(there.url, None, KEY)),
            (young, Endpoint(there.url, None, KEY)),
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
        {"type": "mrkdwn", "text": f"<{PAGE}|Page of the server>"}
    ]
    [application] = [each["text"] for each in fields if each["text"].startswith("application: ")]
    assert application.startswith("application: &lt;!channel&gt; *x* &lt;https://evil.example|click&gt; :boom:")


def test_without_an_external_url_there_is_no_link() -> None:
    assert "mrkdwn'," not in str(sent("slack", event("started"), link=False))
    assert "generatorURL" not in sent("alertmanager", event("started"), link=False)[0][0]
    assert sent("pagerduty", event("started"), link=False)[0]["links"] == []


def test_escaping_for_slack_cuts_no_entity() -> None:
    assert escape_slack("a<b", 4) == "a"
    assert escape_slack("a<b", 5) == "a&lt;"
    assert len(escape_slack("&" * 5_000, 3_000)) == 3_000


@pytest.mark.parametrize("wanted", get_args(Format))
def test_each_format_has_a_test_notification(wanted: Format) -> None:
    body = msgspec.json.decode(render_notification(make_test_notification(NOW, "shop", None), wanted))
    if wanted == "pagerduty":
        body["routing_key"] = KEY
    checks = {
        "alertmanager": strict_receivers.check_alertmanager,
        "slack": strict_receivers.check_slack,
        "pagerduty": strict_receivers.check_pagerduty,
    }
    assert wanted == "json" or list(checks[wanted](body)) == []


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (strict_receivers.check_alertmanager, {"alertId": "1"}),
        (strict_receivers.check_pagerduty, {"alertId": "1"}),
        (strict_receivers.check_slack, {"text": "<!here>", "blocks": [{"type": "section"}]}),
    ],
)
def test_the_strict_receivers_refuse_what_real_ones_refuse(check: Any, body: Any) -> None:
    assert list(check(body))
