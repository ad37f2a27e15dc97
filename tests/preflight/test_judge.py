"""Transactions of a script: locks are held to their end, limits are known, and what was made is new."""

import pytest

from pgdoctor.model.preflight import Catalog, RelationFacts
from pgdoctor.preflight.judge import Verdict
from tests.preflight.judging import judge, said_locks
from tests.scenes import Scene

BRIEF = "alter table orders add column x int"
VALIDATE = "alter table lines validate constraint c"


def verdicts(script: str, **settings: object) -> list[str]:
    return [each.verdict.value for each in judge(script, **settings)]


def test_locks_are_held_to_the_end_of_the_transaction() -> None:
    assert verdicts(f"{BRIEF}; {VALIDATE}") == ["brief", "harmless"]
    assert verdicts(f"begin; {BRIEF}; {VALIDATE}; commit") == ["harmless", "brief", "dangerous", "harmless"]
    assert verdicts(f"begin; {BRIEF}; commit; {VALIDATE}")[-1] == "harmless"
    assert verdicts(f"{BRIEF}; {VALIDATE}", is_single_transaction=True) == ["brief", "dangerous"]
    assert verdicts(f"start transaction; {BRIEF}; savepoint a; rollback to a; {VALIDATE}; end")[4] == "dangerous"


@pytest.mark.parametrize("ends", ["commit and chain", "rollback work and chain", "end transaction and chain"])
def test_chained_transaction_begins_where_the_one_before_ends(ends: str) -> None:
    assert verdicts(f"begin; {BRIEF}; {ends}; {BRIEF}; {VALIDATE}; commit")[2:] == [
        *("harmless", "brief", "dangerous", "harmless")
    ]
    assert verdicts(f"begin; {ends}; create index concurrently on orders (id)")[-1] == "fails"
    assert verdicts(f"begin; {BRIEF}; {ends.replace('and', 'and no')}; {VALIDATE}")[-1] == "harmless"


def test_statement_says_after_which_ones_it_runs() -> None:
    *_, judged = judge(f"begin; {BRIEF}; {VALIDATE}")
    assert [held.number for held in judged.held] == [2]
    assert judged.reasons == ("the locks of statement 2 are held meanwhile: commit first",)
    assert judged.transaction == 1
    assert judged.is_left_open


@pytest.mark.parametrize(
    ("script", "has"),
    [
        (BRIEF, False),
        (f"set lock_timeout = '3s'; {BRIEF}", True),
        (f"set lock_timeout to 3000; {BRIEF}", True),
        (f"set session lock_timeout = 3000; {BRIEF}", True),
        (f"begin; set local lock_timeout = '3s'; {BRIEF}", True),
        (f"set local lock_timeout = '3s'; {BRIEF}", False),
        (f"begin; set local lock_timeout = '3s'; commit; {BRIEF}", False),
        (f"set lock_timeout = '3s'; set lock_timeout = 0; {BRIEF}", False),
        (f"set lock_timeout = '3s'; set lock_timeout to default; {BRIEF}", False),
        (f"set lock_timeout = '3s'; reset lock_timeout; {BRIEF}", False),
        (f"set lock_timeout = '3s'; reset all; {BRIEF}", False),
        (f"set statement_timeout = '3s'; {BRIEF}", False),
        (f"set lock_timeout = '3s'; begin; set local lock_timeout = 0; {BRIEF}", False),
        (f"set lock_timeout = '3s'; begin; set local lock_timeout = 0; commit; {BRIEF}", True),
        (f"begin; set local lock_timeout = '3s'; set lock_timeout = 0; {BRIEF}", False),
        (f"begin; savepoint a; set local lock_timeout = '3s'; rollback to a; {BRIEF}", False),
        (f"begin; set lock_timeout = '3s'; rollback; {BRIEF}", False),
        (f"select set_config('lock_timeout', '3s', false); {BRIEF}", True),
        (f"select pg_catalog.set_config('lock_timeout', '3s', true); {BRIEF}", False),
        (f"begin; select pg_catalog.set_config('lock_timeout', '3s', true); {BRIEF}", True),
        (f"begin; select set_config('lock_timeout', '3s', true); commit; {BRIEF}", False),
        (f"set lock_timeout = '3s'; discard all; {BRIEF}", False),
        (f"set lock_timeout = :timeout; {BRIEF}", False),
        (f"set lock_timeout = 'soon'; {BRIEF}", False),
    ],
)
def test_lock_timeout_of_the_script_is_known(script: str, has: bool) -> None:
    assert (judge(script)[-1].timeouts.find("lock_timeout") is not None) is has


def test_new_tables_are_blocked_by_of_no_session() -> None:
    script = """
        create table app.fresh (id int primary key, v int);
        create index on app.fresh (v);
        alter table app.fresh alter column v type bigint;
        alter table app.fresh rename to renamed;
        alter table app.renamed add check (v > 0);
        alter table other add check (v > 0);
    """
    assert verdicts(script) == ["harmless"] * 5 + ["dangerous"]


def test_table_that_may_be_there_already_is_not_new() -> None:
    assert verdicts("create table if not exists a (id int); create index on a (id)") == ["harmless", "dangerous"]


def test_catalog_that_is_too_large_makes_no_statement_harmless() -> None:
    table = RelationFacts(1, "public", "a", "public.a", "r", rows=1.0)
    for is_cut, wanted in ((False, "brief"), (True, "unknown")):
        catalog = Catalog(named={"a": (1,)}, relations={1: table}, is_cut=is_cut)
        assert [each.verdict.value for each in judge("alter table a add x int", catalog)] == [wanted]


def test_foreign_key_of_a_new_table_locks_the_other_one() -> None:
    _, judged = judge("create table a (id int); alter table a add foreign key (id) references b")
    assert said_locks(judged) == {("b", "ShareRowExclusiveLock")}


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("update orders set v = 1", "dangerous"),
        ("update orders set v = 1 where id < 1000", "harmless"),
        ("update orders set v = 1 where current of c", "harmless"),
        ("update orders set v = 1 where 1 = 1", "dangerous"),
        ("update orders set v = 1 where not false returning id", "dangerous"),
        ("update orders set v = (select max(v) from a where id = 1)", "dangerous"),
        ("delete from orders", "dangerous"),
        ("delete from orders using lines", "dangerous"),
        ("with x as (update orders set v = 1 returning 1) select 1", "dangerous"),
        ("with x as materialized (select 1 from a where id = 1) delete from orders", "dangerous"),
        ("insert into orders (id) values (1) on conflict (id) do update set v = 1", "harmless"),
        ("select * from orders for no key update", "dangerous"),
        ("select * from orders for update limit 10", "harmless"),
        ("select * from orders where id = 1 for update", "harmless"),
        ("select * from orders where id in (select id from a for update)", "dangerous"),
        ("explain update orders set v = 1", "harmless"),
        ("explain (analyze, buffers) update orders set v = 1", "dangerous"),
        ("merge into orders o using a on o.id = a.id when not matched by source then delete", "dangerous"),
        ("merge into orders o using a on o.id = a.id when matched then update set v = 1", "harmless"),
    ],
)
def test_change_or_lock_of_all_rows_is_dangerous(statement: str, verdict: str) -> None:
    assert verdicts(statement) == [verdict]


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("begin; create table a (id int); rollback; create index on a (id)", "dangerous"),
        ("begin; create table a (id int); commit; create index on a (id)", "harmless"),
        ("create table a (id int); rollback; create index on a (id)", "harmless"),
        ("begin; savepoint s; create table a (i int); rollback to savepoint s; create index on a (i)", "dangerous"),
        ("begin; create table a (id int); savepoint s; rollback to s; create index on a (id)", "harmless"),
        ("begin; lock table a; rollback; alter table b validate constraint c", "harmless"),
        ("begin; savepoint s; lock table a; rollback to s; alter table b validate constraint c", "harmless"),
        ("begin; lock table a; savepoint s; rollback to s; alter table b validate constraint c", "dangerous"),
        ("begin; lock table a; commit and chain; create table a (i int); rollback and chain; create index on a (i)",
         "dangerous"),
    ],
)  # fmt: skip
def test_rollback_undoes_what_the_script_has_made_and_locked(script: str, last: str) -> None:
    assert verdicts(script)[-1] == last


def test_rolled_back_lock_timeout_is_not_set() -> None:
    script = "begin; set lock_timeout = '1s'; rollback; alter table a add x int"
    assert judge(script)[-1].timeouts.find("lock_timeout") is None


def test_concurrent_rebuild_is_known_by_its_options() -> None:
    assert verdicts("reindex (concurrently) table a; reindex (verbose, concurrently on) index i") == ["harmless"] * 2
    assert verdicts("reindex (concurrently false) table a; reindex (verbose) table a") == ["dangerous"] * 2


#: What tools write, as they write it.
TOOLS = {
    "django": (
        "BEGIN;\n--\n-- Add field price to meal\n--\n"
        'ALTER TABLE "menu_meal" ADD COLUMN "price" integer DEFAULT 0 NOT NULL;\n'
        'ALTER TABLE "menu_meal" ALTER COLUMN "price" DROP DEFAULT;\n'
        'CREATE INDEX "menu_meal_price_1f2e" ON "menu_meal" ("price");\nCOMMIT;\n',
        ["harmless", "brief", "brief", "dangerous", "harmless"],
    ),
    "django foreign key": (
        'ALTER TABLE "menu_meal" ADD COLUMN "cook_id" bigint NULL CONSTRAINT "menu_fk" REFERENCES "menu_cook"("id") '
        'DEFERRABLE INITIALLY DEFERRED; SET CONSTRAINTS "menu_fk" IMMEDIATE;',
        ["brief", "harmless"],
    ),
    "alembic": (
        "BEGIN;\n\n-- Running upgrade 1a -> 2b\n\nALTER TABLE meal ADD COLUMN price NUMERIC(10, 2);\n\n"
        "UPDATE alembic_version SET version_num='2b' WHERE alembic_version.version_num = '1a';\n\nCOMMIT;\n\n",
        ["harmless", "brief", "harmless", "harmless"],
    ),
    "rails": (
        "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET client_encoding = 'UTF8';\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n"
        'ALTER TABLE "meals" ADD "price" integer;\nCREATE INDEX CONCURRENTLY "i" ON "meals" ("price");\n'
        "INSERT INTO \"schema_migrations\" (version) VALUES\n('20261130000000');\n",
        ["harmless"] * 4 + ["brief", "harmless", "harmless"],
    ),
    "flyway": (
        "-- V2__price.sql\nALTER TABLE ONLY public.meal ALTER COLUMN price SET NOT NULL;\n"
        "COMMENT ON COLUMN public.meal.price IS 'in cents';\n",
        ["dangerous", "harmless"],
    ),
    "pg_dump": (
        "\\restrict abc\nSET default_table_access_method = heap;\n"
        "CREATE TABLE public.meal (\n    id bigint NOT NULL,\n    name character varying(20) DEFAULT 'x'::character "
        "varying NOT NULL\n);\nALTER TABLE public.meal OWNER TO app;\n"
        "CREATE SEQUENCE public.meal_id_seq\n    START WITH 1\n    INCREMENT BY 1\n    NO MINVALUE\n    NO MAXVALUE\n"
        "    CACHE 1;\nALTER SEQUENCE public.meal_id_seq OWNED BY public.meal.id;\n"
        "ALTER TABLE ONLY public.meal ALTER COLUMN id SET DEFAULT nextval('public.meal_id_seq'::regclass);\n"
        "ALTER TABLE ONLY public.meal\n    ADD CONSTRAINT meal_pkey PRIMARY KEY (id);\n\\unrestrict abc\n",
        ["skipped", "harmless", "harmless", "harmless", "harmless", "harmless", "harmless", "harmless", "skipped"],
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_scripts_of_tools_are_known(tool: str) -> None:
    script, wanted = TOOLS[tool]
    assert verdicts(script) == wanted


def test_verdicts_are_ordered_from_the_worst() -> None:
    assert [each.value for each in Verdict][:4] == ["unknown", "fails", "blocked", "dangerous"]


@pytest.mark.parametrize("name", ["userId", "order", 'a"b', "a.b", "x; drop table victim --", "plain"])
def test_safe_form_is_sql_for_any_name(scene: Scene, name: str) -> None:
    """It is what a person pastes: a name that needs quotes has them, around all of what is made of it."""
    quoted = '"' + name.replace('"', '""') + '"'
    scene.admin.execute(f"create table victim (id int); create table t ({quoted} int)".encode())
    [judged] = judge(f"alter table t alter column {quoted} set not null")
    scene.admin.execute(judged.safe[0].encode())
    found = scene.admin.execute(
        "select attnotnull, to_regclass('victim')::text from pg_attribute where attrelid = 't'::regclass and attnum = 1"
    ).fetchone()
    assert found == (True, "victim")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("'3s'", 3), ("3000", 3), ("'1min'", 60), ("'250ms'", 0.25), ("'1.5h'", 5400), ("'1 d'", 86400)],
)
def test_timeouts_are_read_with_their_units(written: str, seconds: float) -> None:
    timeouts = judge(f"set statement_timeout to {written}; {BRIEF}")[-1].timeouts
    assert timeouts.find("statement_timeout") == pytest.approx(seconds)
