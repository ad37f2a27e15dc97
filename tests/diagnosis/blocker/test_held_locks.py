"""What a blocker is said to hold."""

from tests.looking import blocker, said
from tests.scenes import Scene


def test_predicate_locks_are_not_held_against_any_session(shop: Scene) -> None:
    """SIReadLock blocks no session; what a SERIALIZABLE transaction holds is its rows."""
    isolation = "set transaction isolation level serializable"
    holder = shop.client(isolation, "select sum(v) from orders", "select from orders where id = 1 for update")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, holder.pid)
    assert "holds rows of public.orders, RowShareLock on public.orders" in said(facts)
    assert "its locks show no change" in said(facts)
    assert "SIReadLock" not in said(facts)
