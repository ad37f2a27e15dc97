"""What a row lock excludes without need, and what becomes of its waiter; on a real server."""

import psycopg
import pytest

from tests.looking import blocker, said
from tests.scenes import Scene

FAMILY = """
    create table parent (id int primary key, children int not null default 0);
    create table child (id int primary key, parent int references parent);
    create table tag (id int primary key, parent int, name text);
    insert into parent values (1), (2); insert into tag values (1, 1), (2, 1), (3, 2);
    create function count_child() returns trigger language plpgsql as
    'begin update parent set children = children + 1 where id = new.parent; return new; end';
    create trigger counts after insert on tag for each row execute function count_child()
"""
WEAKER = ": FOR UPDATE excludes it, FOR NO KEY UPDATE would not"
NEXT = "select from parent order by id limit 1 for update"
JOIN = "select from tag join parent on parent.id = tag.parent where tag.id = {} for update"


@pytest.fixture
def family(scene: Scene) -> Scene:
    scene.admin.execute(FAMILY)
    return scene


def evidence(family: Scene, held: str, *wanted: str) -> str:
    """What is said of a session that holds a row, and of which others want one."""
    holder = family.client(held)
    for statement in wanted:
        family.client().block(statement)
    return said(blocker(family.dsn, holder.pid))


@pytest.mark.parametrize(
    "held",
    ["select from parent where id = 1 for update", "delete from parent where id = 1"],
)
def test_wait_of_its_own_statement_gets_no_advice(family: Scene, held: str) -> None:
    told = evidence(family, held, "update parent set children = 5 where id = 1")
    assert not any(word in told for word in ("foreign key", "trigger", "SKIP LOCKED", "FOR UPDATE OF", "if it commits"))


@pytest.mark.parametrize(
    ("held", "weaker"),
    [("select from parent where id = 1 for update", WEAKER), ("delete from parent where id = 1", "")],
)
def test_check_of_a_foreign_key_is_named(family: Scene, held: str, weaker: str) -> None:
    told = evidence(family, held, "insert into child values (1, 1)")
    assert f"waits in the check of a foreign key that references public.parent{weaker}" in told
    assert (WEAKER in told) == bool(weaker)


def test_write_of_a_trigger_is_named(family: Scene) -> None:
    told = evidence(family, "update parent set children = 5 where id = 1", "insert into tag values (4, 1)")
    assert "does not name public.parent: a trigger or function of it writes there" in told


@pytest.mark.parametrize(
    "wanted",
    [
        # The rows of the parent are those of a partition, a view, a table that inherits, and a part of the statement.
        "update parted set v = 1 where id = 1",
        "update viewed set v = 1 where id = 1",
        "update base set v = 1 where id = 1",
        "with gone as (delete from part_1 where id = 1 returning id) insert into child select id from gone",
    ],
)
def test_other_names_of_a_table_are_no_trigger(family: Scene, wanted: str) -> None:
    family.admin.execute(
        "create table parted (id int, v int) partition by list (id); create table base (id int, v int);"
        "create table part_1 partition of parted for values in (1); create table heir () inherits (base);"
        "insert into parted values (1, 0); insert into heir values (1, 0);"
        "create view viewed as select * from part_1"
    )
    held = "update heir set v = 5" if "base" in wanted else "update part_1 set v = 5"
    told = evidence(family, held, wanted)
    assert "trigger" not in told
    assert "foreign key" not in told


def test_workers_of_one_queue_read_of_skip_locked(family: Scene) -> None:
    assert "FOR UPDATE SKIP LOCKED takes another one" in evidence(family, NEXT, NEXT, NEXT)


@pytest.mark.parametrize("statement", ["select from parent where id = 1 for update", "update parent set children = 1"])
def test_waiters_for_one_row_do_not_read_of_skip_locked(family: Scene, statement: str) -> None:
    assert "SKIP LOCKED" not in evidence(family, NEXT, statement, statement)


def test_for_update_of_a_join_names_the_table_behind_it(family: Scene) -> None:
    told = evidence(family, JOIN.format(1), JOIN.format(2))
    assert "FOR UPDATE of a join locks rows of each of its tables, public.parent too" in told


@pytest.mark.parametrize("held", ["select from parent where id = 1 for update", f"{JOIN.format(1)} of parent"])
def test_for_update_of_one_table_is_no_join(family: Scene, held: str) -> None:
    assert "of a join" not in evidence(family, held, "update parent set children = 5 where id = 1")


@pytest.mark.parametrize(
    ("held", "wanted", "expected", "error"),
    [
        (
            "grant select on parent to public",
            "grant insert on parent to public",
            'fails with "tuple concurrently updated"',
            psycopg.errors.InternalError_,
        ),
        (
            "create schema if not exists app",
            "create schema if not exists app",
            "fails with a duplicate key of the catalog, even with IF NOT EXISTS",
            psycopg.errors.UniqueViolation,
        ),
    ],
)
def test_waiter_for_a_row_of_the_catalogs_fails_as_foretold(
    family: Scene, held: str, wanted: str, expected: str, error: type[psycopg.Error]
) -> None:
    holder, waiter = family.client(held), family.client().block(wanted)
    assert f"if it commits, {waiter.pid} {expected}" in said(blocker(family.dsn, holder.pid))
    holder.run("commit")
    with pytest.raises(error):
        waiter.finish()


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("select from databasechangeloglock for update", "select from databasechangeloglock for update"),
        ("lock table databasechangeloglock in share update exclusive mode", "vacuum databasechangeloglock"),
    ],
)
def test_lock_table_of_a_migration_tool_is_left_alone(family: Scene, held: str, wanted: str) -> None:
    family.admin.execute("create table databasechangeloglock (id int); insert into databasechangeloglock values (1)")
    holder = family.client(held)
    family.client(autocommit=True).block(wanted)
    facts = blocker(family.dsn, holder.pid)
    assert facts.classification == "idle_in_transaction"
    assert facts.recommendation.action == "none"
    assert "Liquibase keeps its lock in this table" in facts.recommendation.reason
