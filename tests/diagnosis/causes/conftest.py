"""Two tables that every cause can be staged on."""

import pytest

from tests.scenes import Scene

TABLES = """
    create table orders (id int primary key, customer_id int not null, v int not null default 0);
    insert into orders select g, g % 1000 from generate_series(1, 20000) g;
    create table other (id int primary key, v int);
    insert into other select g, 0 from generate_series(1, 9) g;
    create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';
    analyze orders, other
"""


@pytest.fixture
def shop(scene: Scene) -> Scene:
    """A scene with `orders` (20,000 rows, indexed by id alone), `other` (9 rows) and `slow(int)`."""
    scene.admin.execute(TABLES)
    return scene
