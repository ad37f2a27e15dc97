"""Real lock waits on a real server, staged in milliseconds.

    def test_an_update_waits_for_the_row(scene):
        scene.admin.execute("create table orders (id int primary key, v int)")
        scene.admin.execute("insert into orders values (1, 0)")
        holder = scene.client("update orders set v = 1 where id = 1")
        waiter = scene.client().block("update orders set v = 2 where id = 1")
        ...
        holder.run("commit")
        waiter.finish()

Every wait has a deadline, and the end of a scene clears away whatever the test has left lying about.
"""

from tests.scenes.client import Client
from tests.scenes.scene import Scene

__all__ = ["Client", "Scene"]
