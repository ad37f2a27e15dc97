"""A real PgBouncer, which has to be there: `PGDOCTOR_TEST_PGBOUNCER=/usr/sbin/pgbouncer`, or on the PATH."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.scenes.client import wait_until

PROGRAM = os.environ.get("PGDOCTOR_TEST_PGBOUNCER") or shutil.which("pgbouncer")


@contextmanager
def pooler(dsn: str, folder: Path, mode: str, more: str = "", users: tuple[str, ...] = ()) -> Iterator[str]:
    """One before the server of a DSN, for the users of this and other DSNs; the DSN through it."""
    assert PROGRAM is not None
    given = [conninfo_to_dict(each) for each in (dsn, *users)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "users").write_text("".join(f'"{each["user"]}" "{each["password"]}"\n' for each in given))
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host={given[0]["host"]} port={given[0]["port"]}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = plain
        auth_file = {folder}/users
        pool_mode = {mode}
        {more}
        """.replace("        ", "")
    )
    for path in (folder, folder / "users", folder / "pgbouncer.ini"):
        path.chmod(0o755)
    # It does not run as root.
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [PROGRAM, *account, str(folder / "pgbouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    through = make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    def answers() -> bool:
        try:
            with psycopg.connect(through, autocommit=True):
                return True
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer has ended"
            return False

    try:
        wait_until(answers, 10, "pgbouncer answers")
        yield through
    finally:
        process.terminate()
        process.wait(10)
