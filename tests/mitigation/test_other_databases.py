"""Rules and protections that name relations, and sessions that wait, in another database than the agent's."""

from collections.abc import Iterator

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgdoctor.fields import Qualified
from pgdoctor.mitigation.rules import Protect
from tests.mitigation.conftest import IDLE, Incident
from tests.scenes import Client

#: `orders` is a partition of `sales`.
TABLES = """
    create table sales (id int, v int) partition by range (id);
    create table orders partition of sales for values from (0) to (100);
    insert into sales select g, 0 from generate_series(1, 9) g;
    alter table sales owner to app;
    alter table orders owner to app;
"""

ORDERS = (Qualified("public.orders"),)
SALES = (Qualified("public.sales"),)


class There:
    """A second database, in which a session is idle in its transaction and holds another one up."""

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.name = incident.scene.database()
        with psycopg.connect(make_conninfo(incident.scene.dsn, dbname=self.name), autocommit=True) as admin:
            admin.execute(TABLES)

    def client(self, *statements: str, user: str = "app", autocommit: bool = False) -> Client:
        return self.incident.scene.client(*statements, user=user, dbname=self.name, autocommit=autocommit)

    def hold(self) -> Client:
        holder = self.client("update orders set v = 1 where id = 1")
        self.client().block("update orders set v = 2 where id = 1")
        return holder


@pytest.fixture
def there(incident: Incident) -> Iterator[There]:
    return There(incident)


def test_a_rule_means_relations_of_the_connected_database(incident: Incident, there: There) -> None:
    holder = there.hold()
    assert incident.mitigate(replace(IDLE, relation=ORDERS), patience=0.5)[0] == []
    assert incident.alive(holder)
    [action] = incident.mitigate(replace(IDLE, relation=ORDERS, datname=(there.name,)), patience=5.0)[0]
    assert (action.outcome, action.relation, action.datname) == ("released", "public.orders", there.name)


def test_a_rule_for_another_relation_of_the_other_database_does_not_match(incident: Incident, there: There) -> None:
    holder = there.hold()
    rule = replace(IDLE, relation=(Qualified("public.elsewhere"),), datname=(there.name,))
    assert incident.mitigate(rule, patience=0.5)[0] == []
    assert incident.alive(holder)


@pytest.mark.parametrize("relation", [ORDERS, SALES])
def test_a_protection_holds_in_every_database(
    incident: Incident, there: There, relation: tuple[Qualified, ...]
) -> None:
    """Also for a table that the protected one is partitioned into."""
    holder = there.hold()
    protect = (Protect(relation=relation),)
    actions, mitigator = incident.mitigate(IDLE, protect=protect, allow_unresolved_protections=True, patience=0.5)
    assert actions == []
    assert mitigator.refused["protected"] == 1
    assert incident.alive(holder)
    other = (Protect(relation=(Qualified("public.elsewhere"),)),)
    assert [each.outcome for each in incident.mitigate(IDLE, protect=other, patience=5.0)[0]] == ["released"]


def test_a_table_of_a_database_that_cannot_be_read_may_be_a_protected_one(incident: Incident, there: There) -> None:
    incident.scene.admin.execute(f"revoke connect on database {there.name} from public")
    incident.scene.admin.execute(f"grant connect on database {there.name} to app")
    holder = there.hold()
    protect = (Protect(relation=(Qualified("public.elsewhere"),)),)
    actions, mitigator = incident.mitigate(IDLE, protect=protect, patience=0.5)
    assert actions == []
    assert mitigator.refused["protected"] == 1
    rule = replace(IDLE, relation=ORDERS, datname=(there.name,))
    assert incident.mitigate(rule, patience=0.5)[0] == []
    assert incident.alive(holder)
    incident.scene.admin.execute(f"revoke connect on database {there.name} from app")


def test_a_wait_counts_by_the_privileges_in_the_other_database(incident: Incident, there: There) -> None:
    incident.scene.role("reporting")
    holder = there.client("lock table orders in access exclusive mode")
    there.client(user="reporting", autocommit=True).block("select * from orders")
    assert incident.mitigate(IDLE, patience=0.5)[0] == []
    assert incident.alive(holder)
    with psycopg.connect(make_conninfo(incident.scene.dsn, dbname=there.name), autocommit=True) as admin:
        # Not on the table, which is locked.
        admin.execute("grant pg_read_all_data to reporting")
    assert [each.outcome for each in incident.mitigate(IDLE, patience=5.0)[0]] == ["released"]
