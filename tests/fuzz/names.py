"""Names that clients choose, through every output: application, user, database, relation, prepared transaction."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from tests.building import ORDERS
from tests.diagnosis.test_labelled import AE, IDLE, OTHER, on_row, on_table, prepared
from tests.fuzz.mutating import HOSTILE, mutated, random_text
from tests.fuzz.outputs import KEPT, OUTPUTS, fresh, kept
from tests.fuzz.trial import Trial

NAME = "names"

_PIECES = (
    *("<script>alert(1)</script>", '"', "'", "&lt;", "`", "|", "\\", "{{", "${x}", "\n# HELP a b\n", '"} 1\n'),
    *("](http://a)",),
    *("=cmd|'x'!A1", "../", "%00", "a" * 63, "pgdoctor:protect", "pg_dump", "psql", ":", "@", "/", "\u3000", "\u200b"),
)
_SEEDS = ("checkout", "app", "shop", "public.orders", 'public."Orders"', "order 7", "Zürich", "")

#: Bytes of a name, and of what a prepared transaction or a qualified relation is called.
_MOST = 200


def name(rng: random.Random) -> str:
    """A name, without NUL, as the server may hand it over."""
    is_random = rng.random() < 0.2
    text = random_text(rng, 63) if is_random else mutated(rng, rng.choice(_SEEDS), (*_PIECES, *HOSTILE), _MOST)
    return text.replace("\x00", "").encode(errors="replace")[:_MOST].decode(errors="replace")


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one name in every place."""

    def attempt(trial: Trial, rng: random.Random, number: int) -> None:
        text = name(rng)
        trial.begin(number, text)
        relation = replace(ORDERS, name=text) if rng.random() < 0.5 else ORDERS
        named = {"usename": text, "application_name": text, "datname": text, "client_addr": "10.0.0.1"}
        match rng.randrange(3):
            case 0:
                snapshot = on_row(relations=(relation, OTHER), **IDLE, **named)
            case 1:
                snapshot = on_table(AE, relations=(relation, OTHER), **named)
            case _:
                snapshot = replace(prepared(gid=text, owner=text, datname=text), relations={relation.oid: relation})
        waiters = {pid: replace(each, **named) for pid, each in snapshot.sessions.items()}
        snapshot = replace(snapshot, sessions=waiters, server=replace(snapshot.server, database=text))
        seen = trial.timed("diagnose", lambda: diagnose(snapshot))
        if seen is None:
            return
        for output in rng.sample(list(OUTPUTS), 6):
            shown = trial.timed(output, fresh(lambda output=output: OUTPUTS[output](seen)))  # type: ignore[misc]
            trial.check_output(output, shown or "")
        trial.timed(KEPT, lambda: kept(seen))

    yield attempt
