"""The unit of systemd, as systemd itself reads and rates it."""

import re

from tests.docker.shipped import DOCKER
from tests.packages.tools import find_program, run, succeed

UNIT = DOCKER / "systemd" / "pgdoctor.service"


def test_systemd_finds_no_fault():
    done = run(find_program("systemd-analyze", "systemd"), "verify", "--man=no", UNIT)
    complaints = [line for line in done.stderr.splitlines() if "pgdoctor.service" in line]
    # The program is not installed on this machine; in the Debian root of the other tests it is.
    assert all("is not executable: No such file" in line for line in complaints), complaints


def test_exposure_is_below_two():
    analyze = find_program("systemd-analyze", "systemd")
    said = succeed(analyze, "security", "--offline=true", "--no-pager", UNIT)
    (rated,) = re.findall(r"Overall exposure level for pgdoctor\.service: ([0-9.]+)", said)
    assert float(rated) < 2
    assert f"rates this {rated}" in UNIT.read_text()
