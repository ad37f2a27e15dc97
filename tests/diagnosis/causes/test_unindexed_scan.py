import pytest

from tests.looking import blocker, said
from tests.scenes import Scene

WHERE_NOT = {
    "an indexed column": "id between 1 and 50",
    "an indexed column and another": "id < 50 and customer_id < 40",
    "no condition": "true",
    "an inequality": "customer_id <> 1",
    "an expression nobody can judge": "slow(customer_id) = 7",
}

WHERE = {
    "an unindexed column": "customer_id = 7",
    "an unindexed column in a list": "customer_id in (7, 8)",
    "an arm of OR that no index serves": "id = 7 or customer_id = 7",
    "an unindexed column and noise": "customer_id = 7 and pg_sleep(0) is not null",
}


def updates(shop: Scene, where: str, table: str = "orders") -> str:
    """The class of an update that is under way, has changed the row 7, and holds it."""
    worker = shop.client().start(f"update {table} set v = slow(id) where {where}")
    row = f"select from {table} where id = 7 for update nowait"

    def holds() -> bool:
        try:
            shop.admin.execute(row)
        except Exception:
            return True
        return False

    shop.wait_until(holds)
    shop.client().block(f"update {table} set v = 2 where id = 7")
    return blocker(shop.dsn, worker.pid).classification


@pytest.mark.parametrize("where", WHERE_NOT.values(), ids=WHERE_NOT)
def test_it_is_not_a_scan_for_want_of_an_index(shop: Scene, where: str) -> None:
    shop.admin.execute("delete from orders where id < 7")
    assert updates(shop, where) == "long_query"


def test_a_small_table_may_be_read_as_a_whole(shop: Scene) -> None:
    assert updates(shop, "v = 0 and id >= 7", "other") == "long_query"


def test_an_index_that_is_not_valid_does_not_serve(shop: Scene) -> None:
    shop.admin.execute("create index half on orders (customer_id)")
    shop.admin.execute("update pg_index set indisvalid = false where indexrelid = 'half'::regclass")
    assert updates(shop, "customer_id = 7") == "unindexed_scan"


def test_an_index_on_the_column_serves(shop: Scene) -> None:
    shop.admin.execute("create index on orders (customer_id, v)")
    assert updates(shop, "customer_id = 7") == "long_query"


def test_an_index_with_the_column_in_second_place_does_not(shop: Scene) -> None:
    shop.admin.execute("create index on orders (v, customer_id)")
    assert updates(shop, "customer_id = 7") == "unindexed_scan"


def test_an_expression_index_that_may_serve_is_given_the_benefit_of_the_doubt(shop: Scene) -> None:
    shop.admin.execute("create index on orders (abs(customer_id))")
    assert updates(shop, "abs(customer_id) = 7") == "long_query"


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
def test_it_reads_everything_to_find_its_rows(shop: Scene, where: str) -> None:
    assert updates(shop, where) == "unindexed_scan"


def test_it_says_the_table_its_size_and_the_index_to_create(shop: Scene) -> None:
    worker = shop.client().start("update orders set v = slow(id) where customer_id = 7")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, worker.pid)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert "about 20,000 rows: no index on public.orders (customer_id)" in said(facts)
    assert facts.recommendation.action == "cancel"
    assert "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)" in facts.recommendation.reason


def test_a_table_that_was_never_analysed_is_known_by_its_counters(shop: Scene) -> None:
    shop.admin.execute("create table fresh (id int primary key, customer_id int, v int)")
    shop.admin.execute("insert into fresh select g, g % 1000, 0 from generate_series(1, 20000) g")
    shop.wait_until(
        lambda: (
            shop.admin.execute("select n_live_tup > 0 from pg_stat_user_tables where relname = 'fresh'").fetchone()
            == (True,)
        )
    )
    assert updates(shop, "customer_id = 7", "fresh") == "unindexed_scan"
