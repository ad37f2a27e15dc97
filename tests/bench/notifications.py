"""What receivers cost an agent in memory: at rest beside one without receivers, and after an incident was notified."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, memory_mb
from tests.bench.table import Round, Row, Stage
from tests.notify.mail_server import MailServer
from tests.notify.receiving import Receiving, answer

#: By the format: what its table says beside the name, with places for its files and address.
_TABLES = {
    "json": 'url = "{url}"',
    "template": 'url = "{url}"\ntemplate_file = "{folder}/template"',
    "apprise": 'url_file = "{folder}/mail"',
}

#: Seconds that an agent rests before it is measured.
_REST = 5.0


@contextmanager
def _open_receivers() -> Iterator[Round]:
    with ExitStack() as stack:
        server = stack.enter_context(ThrowawayServer())
        there, mail = stack.enter_context(Receiving(answer(200))), stack.enter_context(MailServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, text in (("template", '{"text": "{{ summary }}"}'), ("mail", mail.url)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)

        def measure() -> Mapping[str, float]:
            alone = _measure_agent(server.dsn, folder, "")["rest"]
            found = {"alone": alone}
            for name, table in _TABLES.items():
                given = table.format(url=there.url, folder=folder)
                used = _measure_agent(server.dsn, folder, f'[[notify]]\nname = "a"\nformat = "{name}"\n{given}\n')
                found |= {f"{name}_rest": used["rest"] - alone, f"{name}_sent": used["sent"] - alone}
            return found

        yield measure


def _measure_agent(dsn: str, folder: Path, tables: str) -> dict[str, float]:
    """MB of an agent at rest and, if it has a receiver, after it has notified it of one incident."""
    config = folder / "pgdoctor.toml"
    config.write_text(f'[journal]\npath = "{folder}/journal"\n{tables}')
    with MeasuredAgent(dsn, "--config", str(config)) as agent:
        time.sleep(_REST)
        found = {"rest": memory_mb(agent.pid)}
        if tables:
            _block_once(dsn, agent)
            time.sleep(_REST)
            found["sent"] = memory_mb(agent.pid)
        return found


def _block_once(dsn: str, agent: MeasuredAgent) -> None:
    """One session waits for another until a receiver is notified of the end."""
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn) as waiter:
        holder.execute("select pg_advisory_xact_lock(7)")
        waiter.execute("set lock_timeout = '5s'")
        waiter.commit()
        try:
            waiter.execute("select pg_advisory_xact_lock(7)")
        except psycopg.errors.LockNotAvailable:
            waiter.rollback()
    while agent.metrics()['pgdoctor_notifications_total{outcome="delivered"}'] < 2:
        time.sleep(0.1)


STAGES = (
    Stage(
        (
            Row("alone", "an agent without receivers, at rest (RSS)", "MB", 60),
            *(Row(f"{name}_rest", f"  more with a receiver of {name}", "MB", 1.5) for name in _TABLES),
            *(Row(f"{name}_sent", f"  more after a notification in {name}", "MB", 12) for name in _TABLES),
        ),
        _open_receivers,
        most_rounds=3,
    ),
)
