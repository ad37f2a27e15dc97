"""What Apprise delivers: mail through a real mail server, and services that answer as they should not."""

import asyncio
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme

from pgdoctor.errors import ConfigError
from pgdoctor.fields import Duration
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.endpoint_files import read_endpoint
from pgdoctor.notify.format import Reply
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.settings import Recipient
from pgdoctor.notify.transports import Way, send_part
from pgdoctor.render.notification import Notification
from pgdoctor.render.outbound_alert import describe_event
from tests.forked import pgdoctor
from tests.notify.mail_server import MailServer
from tests.notify.receiving import Receiving, answer, hang, redirect
from tests.notify.test_every_format import HOSTILE, PAGE, SENTENCE, event, seen

SECRET = "zq7-secret-of-apprise"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def send(url: str, seconds: float = 60, application: str = "checkout") -> Reply:
    said = Notification(describe_event(event("started"), seen(application), 1), event("started"), "shop", PAGE)
    kind = load_format("apprise")
    [part] = kind.render_event(said)
    return asyncio.run(send_part(kind, part, Way(Endpoint(url), Duration(seconds), None)))


def text_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body(preferencelist=(kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content


def test_mail_arrives_with_the_sentence_the_facts_and_the_link(mail_server: MailServer) -> None:
    assert send(mail_server.url).is_delivered
    [mail], [envelope] = mail_server.mails, mail_server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("pgdoctor@db.example", ["dba@shop.example"])
    assert mail["Subject"] == f"[warning] {SENTENCE}"
    text = text_of(mail, "plain")
    assert text.startswith(SENTENCE)
    assert "statement: update orders set v = ?" in text
    assert PAGE in text


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_text_of_clients_is_neither_html_nor_a_header(mail_server: MailServer, kind: str) -> None:
    hostile = f'<script>x</script><a href="https://evil.example">\r\nBcc: all@evil.example\r\n\r\n{HOSTILE}'
    as_html = "&format=html" if kind == "html" else ""
    assert send(mail_server.url + as_html, application=hostile).is_delivered
    [mail] = mail_server.mails
    assert mail["Bcc"] is None
    whole = mail.as_string()
    for markup in ("<script", "<a href", "https://evil", "evil.example", "<!channel>", "@evil"):
        assert markup not in whole
        assert markup not in text_of(mail, kind)


def test_mail_server_that_refuses_is_tried_again(mail_server: MailServer) -> None:
    mail_server.refusal = "451 later"
    reply = send(mail_server.url)
    assert (reply.is_delivered, reply.may_work_later) == (False, True)
    assert mail_server.mails == []


def test_mail_server_that_is_down_is_tried_again() -> None:
    with MailServer() as server:
        url = server.url
    reply = send(url)
    assert (reply.is_delivered, reply.may_work_later) == (False, True)


@pytest.mark.parametrize(
    ("status", "is_later"), [(400, False), (401, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_status_of_a_service_decides_what_is_tried_again(status: int, is_later: bool) -> None:
    with Receiving(answer(status)) as there:
        reply = send(f"json://127.0.0.1:{there.port}/{SECRET}")
    assert (reply.is_delivered, reply.why) == (False, f"the receiver answered {status}")
    assert reply.may_work_later == is_later


def test_redirect_is_not_followed_and_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiving(answer(200)) as elsewhere, Receiving(redirect(elsewhere.url)) as there:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{elsewhere.port}")
        reply = send(f"json://user:{SECRET}@127.0.0.1:{there.port}/")
        assert not reply.is_delivered
        assert len(there.heads) == 1
        assert elsewhere.heads == []


@pytest.mark.parametrize("is_trusted", [True, False])
def test_certificate_is_checked_against_that_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (authority if is_trusted else trustme.CA()).issue_cert("127.0.0.1").configure_cert(context)
    with Receiving(answer(200), tls=context) as there:
        assert send(f"jsons://127.0.0.1:{there.port}/").is_delivered == is_trusted
        assert len(there.bodies) == is_trusted


def test_service_that_hangs_is_ended_with_its_process() -> None:
    with Receiving(hang) as there:
        # Apprise's own patience is longer: rto is its timeout of a read.
        reply = send(f"json://127.0.0.1:{there.port}/?rto=300&cto=300", seconds=2)
    assert (reply.is_delivered, reply.may_work_later) == (False, True)
    assert reply.why == "Apprise: not done within 2 s"


def test_url_that_apprise_does_not_know_is_refused() -> None:
    reply = send(f"nosuchthing://{SECRET}/")
    assert (reply.is_delivered, reply.may_work_later) == (False, False)
    assert reply.why == "Apprise cannot use the URL in url_file"


def test_long_text_is_cut_to_what_the_service_takes() -> None:
    with Receiving(answer(204)) as there:
        assert send(f"json://127.0.0.1:{there.port}/", application="𝕏" * 5_000).is_delivered
    [body] = there.bodies
    assert len(body["title"]) <= 250


@pytest.mark.parametrize("text", ["", "x", "https://a b/", "://a/", "slack://a\nslack://b", "é://a"])
def test_file_without_one_url_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "url"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=r"notify\[0\]\.url_file: .*expected one line: one URL of Apprise"):
        read_endpoint(Recipient("a", format="apprise", url_file=str(file)), 0)


def make_config(tmp_path: Path, url: str) -> str:
    file, config = tmp_path / "url", tmp_path / "pgdoctor.toml"
    file.write_text(url)
    file.chmod(0o600)
    config.write_text(
        f'[[notify]]\nname = "mail"\nformat = "apprise"\nurl_file = "{file}"\ntimeout = "60s"\n', encoding="utf-8"
    )
    return str(config)


def test_test_notification_arrives_as_mail(tmp_path: Path, mail_server: MailServer) -> None:
    done = pgdoctor("config", "test-notify", "mail", make_config(tmp_path, mail_server.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mail (apprise, mailto): delivered: Apprise has delivered it\n"
    [mail] = mail_server.mails
    assert mail["Subject"] == "Test notification of pgdoctor for postgres: no incident"


def test_error_names_no_part_of_the_url(tmp_path: Path) -> None:
    with Receiving(answer(401)) as there:
        url = f"json://{SECRET}:{SECRET}@127.0.0.1:{there.port}/{SECRET}"
        done = pgdoctor("config", "test-notify", "mail", make_config(tmp_path, url))
    assert done.returncode == 3
    assert done.stderr.startswith("pgdoctor: mail (apprise, json): not delivered: the receiver answered 401")
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("package", ["apprise", "jinja2"])
def test_missing_extra_says_what_to_install(tmp_path: Path, package: str, monkeypatch: Any) -> None:
    from pgdoctor.notify import endpoint_files

    monkeypatch.setattr(endpoint_files, "find_spec", lambda _: None)
    wanted = {"apprise": "apprise", "jinja2": "template"}[package]
    with pytest.raises(ConfigError) as caught:
        read_endpoint(Recipient("a", "https://a/", format=wanted), 0)
    said = f'notify[0].format: {wanted} needs the package {package}: pip install "pgdoctor[{wanted}]"'
    assert str(caught.value) == said
