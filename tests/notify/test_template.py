"""Templates: values stay values, and a template that loops, grows or reads what it should not is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pgdoctor.errors import ConfigError
from pgdoctor.notify.children.messages import TemplateResult, TemplateTask
from pgdoctor.notify.children.render_template import render_template
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.endpoint_files import read_endpoint
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.formats.template import list_variables
from pgdoctor.notify.settings import Recipient
from pgdoctor.notify.transports import render_body
from pgdoctor.render.notification import FACT_NAMES, Notification, list_facts
from pgdoctor.render.outbound_alert import describe_event
from tests.notify.test_every_format import HOSTILE, event, seen

BREAKING = '"},"evil":1,"x":{"\\ \' }}{% raw %} %26 +&'


def make_said(application: str = "checkout") -> Notification:
    return Notification(describe_event(event("started"), seen(application), 1), event("started"), "shop", "https://p/")


def render(template: str, application: str = "checkout", content_type: str = "application/json") -> str:
    """What a template makes; what is wrong with it begins with an exclamation mark."""
    [part] = load_format("template").render_event(make_said(application))
    endpoint = Endpoint("https://a.example/", template=template, content_type=content_type)
    return say(asyncio.run(render_body(load_format("template"), part, endpoint)))


def say(made: TemplateResult) -> str:
    return made.body if made.mistake is None else f"!{made.mistake}"


def render_here(template: str, application: str = "checkout", content_type: str = "application/json") -> str:
    """The same without a process of its own and its limits."""
    [part] = load_format("template").render_event(make_said(application))
    return say(render_template(TemplateTask(template, msgspec.Raw(part.body), content_type)))


@pytest.mark.parametrize(
    "template",
    [
        '{"a": "{{ facts.application }}"}',
        '{"a": {{ facts.application | tojson }}}',
        '{"a": "{{ facts.application | upper | lower }}"}',
        '{"a": "{% for each in facts.application %}{{ each }}{% endfor %}"}',
        '{"a": "{{ facts.application ~ "" }}"}',
        '{"a": "{{ "%s" | format(facts.application) }}"}',
        '{"a": "{{ facts.application | e }}"}',
        '{"a": "{{ [facts.application] | join }}"}',
    ],
)
@pytest.mark.parametrize("application", [HOSTILE, BREAKING, "\\", '"', "\n\r\t", "ü😀"])
def test_value_stays_a_value_in_json(template: str, application: str) -> None:
    body = json.loads(render_here(template, application))
    assert list(body) == ["a"]
    assert isinstance(body["a"], str)


def test_value_stays_a_value_in_a_form_and_in_html() -> None:
    form = render_here("a={{ facts.application }}&b=1", BREAKING, "application/x-www-form-urlencoded")
    assert form.count("&") == 1
    assert form.count("=") == 2
    html = render_here("<p>{{ facts.application }}</p>", '"><script>x</script>', "text/html; charset=utf-8")
    assert html.count("<") == 2
    assert '"' not in html.removeprefix("<p>")


def test_each_variable_is_always_there() -> None:
    assert list(dict.fromkeys(FACT_NAMES)) == list(FACT_NAMES)
    assert {name for name, _ in list_facts(make_said())} <= set(FACT_NAMES)
    variables = list_variables(make_said())
    assert set(variables["facts"]) == set(FACT_NAMES)
    assert None not in variables.values()
    template = '{"a": [' + ",".join(f"{{{{ {name} | tojson }}}}" for name in variables) + "]}"
    assert len(json.loads(render(template))["a"]) == len(variables)


def test_plain_text_is_not_escaped() -> None:
    assert render("{{ facts.statement }}", content_type="text/plain") == "update orders set v = ?"


@pytest.mark.deadline(180)
@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ summary", "line 1:"),
        ("{% include '/etc/passwd' %}", "the template: "),
        ("{% import 'os' as os %}", "the template: "),
        ("{{ summary.__class__.__mro__ }}", "not allowed: "),
        ("{{ ''['__class__'] }}", "not allowed: "),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "not allowed: "),
        ("{{ lipsum.__globals__ }}", "not allowed: "),
        ("{{ self.__init__ }}", "not allowed: "),
        ("{{ facts.update(a=1) }}", "not allowed: "),
        ("{{ '{0.__class__}'.format(summary) }}", "not allowed: "),
        ("{{ summary | safe }}", "line 1: No filter named 'safe'"),
        ("{{ summary | attr('__class__') }}", "not allowed: "),
        ("{% for a in range(100001) %}{% endfor %}", "the template: OverflowError"),
        ("{{ summary }}", "did not make valid JSON"),
        ('{% for a in range(99999) %}{{ "aaaaaaaaaa" }}{% endfor %}', "more than 256 kB"),
        ("{{ 'a' * 10 ** 10 }}", "too much memory"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "5 s of the processor"),
        ("{{ 9 ** (9 ** 9) }}", "the template: "),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "the template: RecursionError"),
    ],
)
def test_template_that_does_what_it_should_not_is_refused(template: str, why: str) -> None:
    made = render(template)
    assert made.startswith("!")
    assert why in made
    assert "\n" not in made


def test_environment_of_the_agent_is_not_in_that_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    from pgdoctor.notify import child

    monkeypatch.setenv("PGPASSWORD", "zq7hunter2")
    monkeypatch.setenv("PGDOCTOR_DSN", "host=zq7hunter2")
    assert "zq7hunter2" not in str(child._make_environment())


def test_template_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.j2"
    recipient = Recipient("a", "https://a.example/", format="template", template_file=str(file))

    def problem() -> str:
        with pytest.raises(ConfigError) as caught:
            read_endpoint(recipient, 0)
        return str(caught.value)

    assert "notify[0].template_file: " in problem()
    assert "cannot be read" in problem()
    file.write_text("a")
    file.chmod(0o666)
    assert "chmod o-w" in problem()
    file.chmod(0o644)
    file.write_bytes(b"\xff")
    assert "not UTF-8" in problem()
    file.write_bytes(b"a" * 300_000)
    assert "longer than 256 kB" in problem()


def make_file(tmp_path: Path, template: str) -> tuple[Path, Any]:
    file = tmp_path / "t.j2"
    file.write_text(template)
    config = tmp_path / "pgdoctor.toml"
    config.write_text(
        f'[[notify]]\nname = "oncall"\nformat = "template"\nurl = "http://127.0.0.1:1/"\ntemplate_file = "{file}"\n'
    )
    return config, file


def test_config_check_tries_each_template(tmp_path: Path) -> None:
    from tests.forked import pgdoctor

    config, file = make_file(tmp_path, "{{ sumary }}")
    done = pgdoctor("config", "check", str(config))
    assert done.returncode == 0
    assert "notify[0].template_file: the template: 'sumary' is undefined" in done.stderr
    file.write_text('{"a": "{{ summary }}"}')
    assert pgdoctor("config", "check", str(config)).stderr == ""


def test_body_is_shown_and_not_sent(tmp_path: Path) -> None:
    from tests.forked import pgdoctor

    config, _ = make_file(tmp_path, '{"a": "{{ summary }}"}')
    done = pgdoctor("config", "test-notify", "oncall", str(config), "--show")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"a": "Test notification of pgdoctor for postgres: no incident"}
