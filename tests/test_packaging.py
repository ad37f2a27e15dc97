"""The wheel, in an environment of its own: complete, and able to start."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import pgdoctor

CHECKOUT = Path(__file__).resolve().parent.parent


def run(*command, cwd):
    """Run a command to its end and return its output; what it says is in the failure."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it; what pgdoctor needs is lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "lent.pth").write_text("".join(f"{path}\n" for path in lent))
    return folder


def test_the_wheel_has_every_statement(wheel):
    with ZipFile(wheel) as packed:
        shipped = {name for name in packed.namelist() if name.endswith(".sql")}
    statements = {f"pgdoctor/{file.relative_to(CHECKOUT)}" for file in (CHECKOUT / "sql").rglob("*.sql")}
    printed = {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "pgdoctor").rglob("*.sql")}
    assert printed
    assert shipped == statements | printed


def test_the_wheel_has_the_alerts_that_explain_explains(environment):
    for name in ("PgdoctorServerNotSeen", "PgdoctorManySessionsBlocked"):
        assert run(environment / "bin" / "pgdoctor", "explain", name, cwd=environment).startswith(f"{name} (alert)\n")


def test_wheel_has_every_page_of_the_manual(wheel, environment):
    with ZipFile(wheel) as packed:
        shipped = {name for name in packed.namelist() if name.endswith(".md")}
    pages = {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "pgdoctor" / "docs").glob("*.md")}
    assert pages <= shipped
    assert run(environment / "bin" / "pgdoctor", "explain", "mitigation", cwd=environment).startswith("Mitigation\n===")


def test_the_wheel_has_every_module_and_no_tests(wheel):
    with ZipFile(wheel) as packed:
        shipped = {name for name in packed.namelist() if name.endswith(".py")}
    assert shipped == {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "pgdoctor").rglob("*.py")}


def test_the_wheel_has_the_script_and_the_style_of_the_page(wheel):
    with ZipFile(wheel) as packed:
        shipped = {name for name in packed.namelist() if name.startswith("pgdoctor/render/web/page.")}
    assert shipped == {"pgdoctor/render/web/page.js", "pgdoctor/render/web/page.css"}


def test_the_installed_command_tells_its_version(environment):
    said = run(environment / "bin" / "pgdoctor", "--version", cwd=environment)
    assert pgdoctor.__version__ in said


def test_the_installed_package_finds_its_statements(environment):
    code = "import pgdoctor.postgres.queries as q; print(q.__file__); print(q.load_sql('documented_blocking_locks'))"
    place, _, statement = run(environment / "bin" / "python", "-c", code, cwd=environment).partition("\n")
    assert Path(place).is_relative_to(environment)
    assert statement == (CHECKOUT / "sql" / "documented_blocking_locks.sql").read_text().strip()
