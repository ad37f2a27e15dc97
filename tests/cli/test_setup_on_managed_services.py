"""`pgdoctor setup` as the admins of managed services run it: with CREATEROLE, and predefined roles to grant."""

import pytest
from click.testing import CliRunner
from psycopg import errors
from psycopg.conninfo import make_conninfo

from pgdoctor.cli import cli
from tests.looking import look
from tests.scenes import Scene

#: By the service: the group of its admins, and the predefined roles that it may grant, as its documentation says.
GROUPS = {
    "rds": ("rds_superuser", ("pg_monitor", "pg_signal_backend", "pg_use_reserved_connections")),
    "cloudsql": ("cloudsqlsuperuser", ("pg_monitor", "pg_signal_backend")),
    "alloydb": ("alloydbsuperuser", ("pg_monitor", "pg_signal_backend")),
    "azure": ("azure_pg_admin", ("pg_monitor", "pg_signal_backend", "pg_read_all_settings", "pg_read_all_stats")),
    "neon": ("neon_superuser", ("pg_monitor", "pg_signal_backend", "pg_read_all_data", "pg_write_all_data")),
    "supabase": ("supabase_privileged_role", ("pg_monitor", "pg_signal_backend", "pg_read_all_data")),
    "timescale": ("tsdb_admins", ("pg_monitor", "pg_signal_backend")),
}


def make_admin(scene: Scene, service: str) -> str:
    """Make an admin like the service's, and return its name."""
    group, granted = GROUPS[service]
    admin = f"{service}_admin"
    known = {name for (name,) in scene.admin.execute("select rolname from pg_roles").fetchall()}
    scene.role(group)
    scene.role(admin)
    scene.admin.execute(f"alter role {admin} createrole createdb")
    for role in filter(known.__contains__, granted):
        scene.admin.execute(f"grant {role} to {group} with admin option")
    scene.admin.execute(f"grant {group} to {admin} with admin option")
    return admin


def set_up(scene: Scene, admin: str, role: str, *options: str) -> None:
    """Run what `pgdoctor setup` prints as the admin; the test removes the role at its end."""
    printed = CliRunner().invoke(cli, ["setup", "--role", role, *options], catch_exceptions=False).stdout
    client = scene.client(user=admin, autocommit=True)
    client.run(printed)
    scene._passwords[role] = "set by the test"
    client.run(f"alter role {role} password 'set by the test'")


@pytest.mark.parametrize("service", GROUPS)
def test_role_of_a_managed_service_sees_every_session(scene: Scene, service: str) -> None:
    admin = make_admin(scene, service)
    set_up(scene, admin, f"{service}_watcher")
    scene.role("app")
    holder = scene.client(user="app")
    holder.run("begin")
    watcher = make_conninfo(scene.dsn, user=f"{service}_watcher", password="set by the test")
    assert not look(watcher).findings


@pytest.mark.parametrize("service", GROUPS)
def test_role_with_act_signals_ordinary_sessions_only(scene: Scene, service: str) -> None:
    admin = make_admin(scene, service)
    set_up(scene, admin, f"{service}_actor", "--act")
    scene.role("app")
    app = scene.client(user="app").start("select pg_sleep(60)")
    actor = scene.client(user=f"{service}_actor")
    assert actor.run(f"select pg_cancel_backend({app.pid})") == [(True,)]
    with pytest.raises(errors.QueryCanceled):
        app.finish()
    with pytest.raises(errors.InsufficientPrivilege):
        actor.run(f"select pg_cancel_backend({scene.client().pid})")


# Up to 15, CREATEROLE may grant any role but a superuser.
@pytest.mark.since(16)
def test_admin_without_pg_monitor_is_refused_with_the_reason(scene: Scene) -> None:
    scene.role("poor_admin")
    scene.admin.execute("alter role poor_admin createrole")
    with pytest.raises(errors.InsufficientPrivilege, match="pg_monitor"):
        set_up(scene, "poor_admin", "poor_watcher")
