"""Circles through dblink and postgres_fdw, which no deadlock detector sees."""

from tests.diagnosis.causes.conftest import shop as shop
from tests.looking import blocker
from tests.scenes import Client, Scene

_SAID = "most likely it waits for itself"

_UPDATE = "update orders set v = {} where id = {}"


def waiting(shop: Scene, number: int) -> None:
    query = "select count(*) = %s from pg_locks where not granted"
    shop.wait_until(lambda: shop.admin.execute(query, [number]).fetchone() == (True,))


def sends(shop: Scene, client: Client, statement: str) -> Client:
    return client.start(f"select dblink_exec('{shop.dsn}', '{statement}')")


def said(shop: Scene, client: Client) -> str:
    return "; ".join(blocker(shop.dsn, client.pid).evidence)


def test_remote_statement_that_ends_is_no_circle(shop: Scene) -> None:
    shop.admin.execute("create extension dblink")
    holder = sends(shop, shop.client(_UPDATE.format(1, 7)), "do ''begin perform pg_sleep(60); end''")
    shop.client().block(_UPDATE.format(2, 7))
    waiting(shop, 1)
    assert _SAID not in said(shop, holder)


def test_wait_for_another_holder_is_no_circle(shop: Scene) -> None:
    shop.admin.execute("create extension dblink")
    shop.client(_UPDATE.format(1, 8))
    holder = sends(shop, shop.client(_UPDATE.format(1, 7)), _UPDATE.format(2, 8))
    shop.client().block(_UPDATE.format(2, 7))
    waiting(shop, 2)
    assert _SAID not in said(shop, holder)


def test_session_that_waits_for_itself_through_dblink_is_said(shop: Scene) -> None:
    shop.admin.execute("create extension dblink")
    holder = sends(shop, shop.client(_UPDATE.format(1, 7)), _UPDATE.format(2, 7))
    waiting(shop, 1)
    assert _SAID in said(shop, holder)


def test_circle_of_two_connections_is_said_in_both_trees(shop: Scene) -> None:
    shop.admin.execute("create extension dblink")
    one, two = shop.client(_UPDATE.format(1, 7)), shop.client(_UPDATE.format(1, 8))
    sends(shop, one, _UPDATE.format(2, 8))
    sends(shop, two, _UPDATE.format(3, 7))
    waiting(shop, 2)
    assert [_SAID in said(shop, each) for each in (one, two)] == [True, True]


def test_session_that_waits_for_itself_through_a_foreign_table_is_said(shop: Scene) -> None:
    info = shop.admin.info
    shop.admin.execute(f"""
        create extension postgres_fdw;
        create server here foreign data wrapper postgres_fdw
            options (host '{info.host}', port '{info.port}', dbname '{info.dbname}');
        create user mapping for current_user server here options (user '{info.user}', password '{info.password}');
        create foreign table far_orders (id int, customer_id int, v int) server here options (table_name 'orders')
    """)
    holder = shop.client(_UPDATE.format(1, 7)).start("update far_orders set v = 2 where id = 7")
    waiting(shop, 1)
    assert _SAID in said(shop, holder)
