"""A session whose parallel worker waits, while it only waits for its worker."""

from tests.scenes import Scene


def block_in_a_worker(scene: Scene) -> None:
    """A parallel query of the table `orders`, which has to be there, and a lock that its worker waits for."""
    scene.admin.execute("create table side (id int)")
    scene.admin.execute(
        "create function peek(int) returns int language plpgsql parallel safe "
        "as 'begin perform from side; return $1; end'"
    )
    scene.client("lock table side")
    name = "force_parallel_mode" if scene.admin.info.server_version < 160000 else "debug_parallel_query"
    scene.client(f"set {name} = on", "set parallel_leader_participation = off", autocommit=True).block(
        "select peek(id) from orders"
    )
