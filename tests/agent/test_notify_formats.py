"""One real incident, from its start to its end, at a receiver of each format."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgdoctor.notify.formats import list_formats
from tests.notify import strict_receivers
from tests.notify.mail_server import MailServer
from tests.notify.receiving import Receiving, answer
from tests.notify.strict_receivers import KEY, TOKEN, Opsgenie, SlackBot, StrictReceiver
from tests.scenes.client import wait_until

SECRET = "zq7hunter2"
HOSTILE = "<!channel> *x* https://evil.example <at>a</at> @here"

TEMPLATE = '{"text": "{{ summary }}", "kind": "{{ kind }}", "link": "{{ link }}", "by": "{{ facts.application }}"}'


class Receivers:
    """One of each, and what the configuration says of it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.strict: dict[str, StrictReceiver] = {
            "alertmanager": strict_receivers.alertmanager(),
            "slack": strict_receivers.slack(),
            "slack-bot": SlackBot(),
            "pagerduty": strict_receivers.pagerduty(),
            "opsgenie": Opsgenie(),
            "msteams": strict_receivers.msteams(),
        }
        self.plain = {"json": Receiving(answer(200)), "template": Receiving(answer(200))}
        self.mail = MailServer()
        for each in (*self.strict.values(), *self.plain.values(), self.mail):
            stack.enter_context(each)

    def _keep(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    @property
    def config(self) -> str:
        given: Mapping[str, str] = {
            "slack-bot": f'format = "slack"\nchannel = "#dba"\ntoken_file = "{self._keep("bot", TOKEN)}"',
            "pagerduty": f'routing_key_file = "{self._keep("pager", KEY)}"',
            "opsgenie": f'api_key_file = "{self._keep("opsgenie", KEY)}"',
            "template": f'template_file = "{self._keep("template", TEMPLATE)}"',
        }
        tables = [
            f'[[notify]]\nname = "{name}"\nurl = "{each.url}"\n'
            + given.get(name, "")
            + ("" if name == "slack-bot" else f'\nformat = "{name}"')
            for name, each in {**self.strict, **self.plain}.items()
        ]
        mail = f'[[notify]]\nname = "mail"\nformat = "apprise"\nurl_file = "{self._keep("mail", self.mail.url)}"'
        return "\n".join(['[http]\nexternal_url = "https://pg.example/x"', *tables, mail, ""]).replace(
            '\nurl = "', '\ntimeout = "60s"\nurl = "'
        )

    def have_each(self, number: int) -> bool:
        """Each has at least so many messages."""
        return len(self.mail.mails) >= number and all(
            len(each.bodies) >= number for each in (*self.strict.values(), *self.plain.values())
        )


@pytest.mark.deadline(240)
def test_incident_arrives_in_each_format(scene, agent, tmp_path):
    scene.admin.execute("create table orders (id int primary key, v text)")
    scene.admin.execute("insert into orders values (1, 'x')")
    with ExitStack() as stack:
        receivers = Receivers(stack, tmp_path)
        config = receivers.config
        assert all(f'"{name}"' in config for name in list_formats())
        watching = agent(scene.dsn, more=config)
        watching.wait_for("up", 1)
        holder = scene.client()
        holder.run(f"set application_name = '{HOSTILE}'")
        holder.run("begin")
        holder.run(f"update orders set v = '{SECRET}' where id = 1")
        waiter = scene.client().block(f"update orders set v = '{SECRET}' where id = 1")
        wait_until(lambda: receivers.have_each(1), 120)
        holder.run("commit")
        waiter.finish()
        wait_until(lambda: receivers.have_each(2), 120)
        watching.wait_for("notifications_queued", 0)
        mails = [str(each["Subject"]) for each in receivers.mail.mails]
        lines = watching.lines

    incident = next(line["incident"] for line in lines if line["event"] == "incident started")
    root = f"root {holder.pid} (idle_in_transaction)"
    for name, each in receivers.strict.items():
        assert each.mistakes == [], name
        assert root in json.dumps(each.bodies[0]), name
        check_text(name, each.bodies, incident)
    check_text("template", receivers.plain["template"].bodies, incident)
    assert [each["kind"] for each in receivers.plain["template"].bodies] == ["started", "ended"]
    assert root in receivers.plain["template"].bodies[0]["text"]
    assert root in receivers.plain["json"].bodies[0]["summary"]
    assert root in mails[0]
    assert mails[-1].startswith("[resolved] ")
    check_text("mail", [each.as_string() for each in receivers.mail.mails], incident)
    bot = receivers.strict["slack-bot"]
    assert bot.bodies[-1]["thread_ts"] in bot.messages
    opsgenie = receivers.strict["opsgenie"]
    assert opsgenie.done == {f"pgdoctor-postgres-{incident}": ["create", "close"]}
    assert not [line for line in lines if any(secret in str(line) for secret in (SECRET, TOKEN, KEY))]


def check_text(name: str, bodies: list[Any], incident: str) -> None:
    """Neither a literal nor markup of clients; the link to the incident."""
    text = json.dumps(bodies, ensure_ascii=False).replace("=\\n", "")
    assert SECRET not in text, name
    assert not [each for each in ("<!channel>", "*x*", "https://evil", "<at>", "@here") if each in text], name
    assert f"https://pg.example/x/incidents/{incident}" in text, name


def test_extras_are_loaded_by_no_agent_not_even_with_their_formats(tmp_path):
    """Each runs in a process of its own, when there is something to send."""
    (tmp_path / "t.j2").write_text("{{ summary }}")
    url = tmp_path / "url"
    url.write_text("mailto://127.0.0.1")
    url.chmod(0o600)
    code = f"""
import sys
import pgdoctor.agent.process
from pgdoctor.notify import transports
from pgdoctor.notify.notifier import Notifier, resolve_recipients
from pgdoctor.notify.settings import Recipient
told = resolve_recipients([
    Recipient("a", format="apprise", url_file={str(url)!r}),
    Recipient("b", "https://a.example/", format="template", template_file={str(tmp_path / "t.j2")!r}),
])
Notifier(told)
print(sorted({{"apprise", "jinja2", "markupsafe", "requests", "markdown", "yaml"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
