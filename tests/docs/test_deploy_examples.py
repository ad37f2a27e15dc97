"""The deploy script and the CI job of the manual's page about preflight do what the page says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.docs.command_lines import blocks
from tests.docs.generating import DOCS
from tests.scenes import Scene

PAGE = DOCS / "preflight.md"
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


@pytest.fixture
def migration(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    path = tmp_path / "migrations" / "V1.sql"
    path.write_text("ALTER TABLE orders ADD COLUMN note text;\n")
    return path


def deploy(scene: Scene, bindir: Path, migration: Path, script: str) -> int:
    at = {key: str(value) for key, value in conninfo_to_dict(scene.dsn).items()}
    environment = {
        "PATH": f"{bindir}:{PATH}",
        "HOME": str(migration.parent),
        "PGHOST": at["host"],
        "PGPORT": at["port"],
        "PGUSER": at["user"],
        "PGPASSWORD": at["password"],
        "PGDATABASE": at["dbname"],
    }
    return subprocess.run(["sh", "-c", script, "deploy.sh", str(migration)], env=environment, check=False).returncode


def test_deploy_script_waits_then_migrates(scene: Scene, bindir: Path, migration: Path) -> None:
    [script] = blocks(PAGE, "bash")
    scene.admin.execute("create table orders (id int)")
    has_note = "select 1 from pg_attribute where attname = 'note' and attrelid = 'orders'::regclass"
    holder = scene.client("select from orders")
    assert deploy(scene, bindir, migration, script.text.replace("5m", "1s")) == 1
    assert scene.admin.execute(has_note).fetchone() is None
    holder.run("commit")
    assert deploy(scene, bindir, migration, script.text) == 0
    assert scene.admin.execute(has_note).fetchone() == (1,)


def test_ci_job_stops_at_a_dangerous_migration(migration: Path) -> None:
    [block] = blocks(PAGE, "yaml")
    [line] = yaml.safe_load(block.text)["migrations"]["script"]

    def run() -> int:
        folder = migration.parent.parent
        return subprocess.run(["sh", "-c", line], cwd=folder, env={"PATH": PATH}, check=False).returncode

    assert run() == 0
    (migration.parent / "V0.sql").write_text("CREATE INDEX ON orders (note);\n")
    assert run() == 1
