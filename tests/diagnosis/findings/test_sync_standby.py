"""Commits that wait for a synchronous standby: none while it answers, a finding when it is gone."""

import psycopg
import pytest

from tests.diagnosis.findings.observing import kinds, observer
from tests.scenes import Scene
from tests.standby import standby_of


def wait_for_nobody(primary, names):
    with psycopg.connect(primary.dsn, autocommit=True) as admin:
        admin.execute(f"alter system set synchronous_standby_names = '{names}'")
        admin.execute("select pg_reload_conf()")


@pytest.mark.long
@pytest.mark.deadline(120)
def test_commits_hang_when_the_synchronous_standby_is_gone(own_server):
    primary = own_server(settings={"wal_level": "replica"})
    with Scene(primary.dsn) as scene, observer(scene.dsn) as seen:
        scene.admin.execute("create table orders (id int)")
        client = scene.client(autocommit=True, application_name="checkout")
        with standby_of(primary):
            wait_for_nobody(primary, "*")
            scene.wait_until(lambda: _synchronous(scene), timeout=20)
            for _ in range(20):
                client.run("insert into orders values (1)")
                assert "sync_standby_lost" not in kinds(seen.look())
        client.start("insert into orders values (2)")
        scene.wait_until(lambda: "SyncRep" in client.shown())
        note = seen.note("sync_standby_lost")
        assert note.severity == "critical"
        assert (note.numbers["sessions"], note.numbers["synchronous_standbys"]) == (1, 0)
        assert "signal no session" in note.advice
        wait_for_nobody(primary, "")
        client.finish(timeout=20)
        assert "sync_standby_lost" not in kinds(seen.look())


def _synchronous(scene):
    return scene.admin.execute("select 1 from pg_stat_replication where sync_state = 'sync'").fetchone()
