"""A Debian root of its own, made by debootstrap: what is in it runs by chroot, or as a machine by systemd-nspawn."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.packages.tools import find_program, succeed

#: Beside the minimum: what the package needs, and a systemd to start its unit.
INCLUDED = "python3,adduser,ca-certificates,systemd,dbus"


@dataclass(frozen=True)
class Root:
    """A folder with a Debian system."""

    path: Path

    def run(self, *command: object) -> str:
        """Run a command in it that must succeed, and return what it printed."""
        return succeed("chroot", self.path, *command)

    def run_as(self, user: str, *command: object) -> str:
        """Run a command in it as one of its users."""
        return self.run("setpriv", f"--reuid={user}", f"--regid={self.group_of(user)}", "--clear-groups", *command)

    def group_of(self, user: str) -> str:
        """The number of a user's first group."""
        return self.run("id", "--group", user).strip()

    def find(self, name: str) -> list[str]:
        """The paths of all files with such a name, without /proc and /tmp."""
        found = self.run(
            "find",
            "/",
            "-xdev",
            "(",
            "-path",
            "/proc",
            "-o",
            "-path",
            "/tmp",
            ")",
            "-prune",
            "-o",
            "-name",
            name,
            "-print",
        )
        return sorted(found.split())

    def install(self, package: Path) -> None:
        """Install a Debian package with dpkg."""
        shutil.copy(package, self.path / "tmp" / package.name)
        self.run("dpkg", "--install", f"/tmp/{package.name}")

    def copy(self, target: Path) -> "Root":
        """Copy it, without what is mounted in it."""
        succeed("cp", "--archive", "--one-file-system", self.path, target)
        return Root(target)

    def boot(self, log: Path) -> "subprocess.Popen[bytes]":
        """Start its systemd, with the network of this machine; it ends at SIGTERM."""
        nspawn = find_program("systemd-nspawn", "systemd-container")
        options = ["--quiet", "--register=no", "--keep-unit", "--boot", f"--directory={self.path}"]
        with log.open("wb") as output:
            return subprocess.Popen(
                [nspawn, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )


def make_root(path: Path) -> Root:
    """Make a root by debootstrap; needs root and the archive of Debian."""
    debootstrap = find_program("debootstrap", "debootstrap")
    succeed(debootstrap, "--variant=minbase", f"--include={INCLUDED}", "bookworm", path)
    # debootstrap may leave it mounted; a copy of it would never end.
    subprocess.run(["umount", path / "proc"], check=False, capture_output=True)
    assert not (path / "proc" / "self").exists()
    return Root(path)
