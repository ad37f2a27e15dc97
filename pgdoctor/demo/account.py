"""The ordinary user that a temporary server runs as, for Postgres refuses to run as root."""

import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pgdoctor.demo.failures import ServerFailed


@dataclass(frozen=True)
class Account:
    """The user that the server runs as: an ordinary user under root; otherwise the user of this process."""

    uid: int
    gid: int
    switched: bool

    @classmethod
    def for_server(cls) -> Self:
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), switched=False)
        for name in ("nobody", "daemon", "bin"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, switched=True)
        raise ServerFailed("PostgreSQL refuses to run as root, and there is no user `nobody`")

    def subprocess_arguments(self) -> dict[str, Any]:
        """Return the arguments of `subprocess` that make a program run as this user."""
        if not self.switched:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def change_owner(self, path: Path) -> None:
        """Hand a file or folder over to this user."""
        if self.switched:
            os.chown(path, self.uid, self.gid)

    def open_up(self, tree: Path) -> None:
        """Let this user read all of a tree, and run what can be run in it."""
        for path in (tree, *tree.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))

    def new_folder(self) -> Path:
        """Return a new folder at a place that this user can get to."""
        places = [Path(place).resolve() for place in (tempfile.gettempdir(), "/tmp", "/var/tmp")]
        place = next((place for place in places if place.is_dir() and self._can_pass(place)), places[0])
        folder = Path(tempfile.mkdtemp(prefix="pgdoctor-", dir=place))
        if self.switched:
            folder.chmod(0o711)
        return folder

    def _can_pass(self, place: Path) -> bool:
        return not self.switched or all(step.stat().st_mode & 0o001 for step in (place, *place.parents))
