"""`pgdoctor config test-notify`: one notification, one line, and an exit status."""

from pathlib import Path

import pytest

from tests.forked import pgdoctor
from tests.notify import strict_receivers
from tests.notify.receiving import Receiving, answer, nobody

KEY = "0123456789abcdef0123456789abcdef"


def notify(tmp_path: Path, receiver: str, name: str = "oncall") -> tuple[int, str, str]:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'[[notify]]\nname = "oncall"\n{receiver}\n', encoding="utf-8")
    done = pgdoctor("config", "test-notify", name, str(file))
    return done.returncode, done.stdout, done.stderr


def secret(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("wanted", ["alertmanager", "slack"])
def test_each_format_is_delivered(tmp_path: Path, wanted: str) -> None:
    with getattr(strict_receivers, wanted)() as there:
        status, out, err = notify(tmp_path, f'format = "{wanted}"\nurl = "{there.url}"')
    assert (status, out, err) == (0, f"oncall ({wanted}, 127.0.0.1): delivered: the receiver answered 200\n", "")
    assert there.mistakes == []
    assert len(there.bodies) == 1


def test_pager_is_sent_the_routing_key_that_is_never_shown(tmp_path: Path) -> None:
    key = secret(tmp_path, KEY)
    with strict_receivers.pagerduty() as there:
        status, out, err = notify(
            tmp_path, f'format = "pagerduty"\nurl = "{there.url}"\nrouting_key_file = "{key}"\nservice = "shop"'
        )
    assert (status, err) == (0, "")
    assert KEY not in out
    [body] = there.bodies
    assert (body["routing_key"], body["event_action"], body["payload"]["severity"]) == (KEY, "trigger", "info")
    assert body["payload"]["source"] == "shop"


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500])
def test_refused_notification_is_an_error_of_one_line(tmp_path: Path, status: int) -> None:
    with Receiving(answer(status)) as there:
        code, out, err = notify(tmp_path, f'url = "{there.url}"')
    assert (code, out) == (3, "")
    assert err.startswith(f"pgdoctor: oncall (json, 127.0.0.1): not delivered: the receiver answered {status}")
    assert err.count("\n") == 1
    assert "very-secret-path" not in err
    assert len(there.bodies) == 1


def test_json_for_a_receiver_of_another_format_is_refused_with_a_hint(tmp_path: Path) -> None:
    with strict_receivers.alertmanager() as there:
        assert "see format in [[notify]]" in notify(tmp_path, f'url = "{there.url}"')[2]


def test_receiver_that_is_down_is_an_error_of_one_line(tmp_path: Path) -> None:
    code, _, err = notify(tmp_path, f'url = "{nobody()}"')
    assert (code, err) == (3, "pgdoctor: oncall (json, 127.0.0.1): not delivered: the receiver cannot be reached\n")


def test_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    code, _, err = notify(tmp_path, 'url = "http://a.example/"', "chat")
    assert code == 2
    assert "no receiver chat" in err
    assert "oncall" in err
