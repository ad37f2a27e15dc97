"""A leader whose host is gone: the server closes its session, and another may lead."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.scenes.client import wait_until

pytestmark = [pytest.mark.long, pytest.mark.deadline(150)]

#: A door that holds a lock, and a session that is not pinned.
_CLIENT = """
import asyncio, sys
import psycopg
from pgdoctor.postgres.connection import Connection

async def hold() -> None:
    door = await Connection.open(sys.argv[1], 5.0)
    await door.fetch("acquire_leader_lock", key=1)
    usual = psycopg.connect(sys.argv[1], autocommit=True)
    usual.execute("select pg_advisory_lock(2)")
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""

_HELD = "select objid::int from pg_locks where locktype = 'advisory' order by 1"


class Network:
    """A network namespace, connected to this one by a cable that can be pulled."""

    def __init__(self, stack: ExitStack) -> None:
        number = os.getpid() % 4000
        self.name = f"pgdoctor{number}"
        self.outside, self.inside = f"pgdo{number}", f"pgdi{number}"
        # Of the block for documentation, which is not routed.
        self.here, self.there = f"198.51.100.{number % 60 * 4 + 1}", f"198.51.100.{number % 60 * 4 + 2}"
        _ip("netns", "add", self.name)
        stack.callback(_ip, "netns", "del", self.name)
        _ip("link", "add", self.outside, "type", "veth", "peer", "name", self.inside)
        stack.callback(subprocess.run, ["ip", "link", "del", self.outside], capture_output=True, check=False)
        _ip("link", "set", self.inside, "netns", self.name)
        _ip("addr", "add", f"{self.here}/30", "dev", self.outside)
        _ip("link", "set", self.outside, "up")
        _ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", self.inside)
        _ip("-n", self.name, "link", "set", self.inside, "up")

    def go_silent(self) -> None:
        _ip("-n", self.name, "link", "set", self.inside, "down")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("NOT TESTED: a network namespace needs root, and ip (apt-get install iproute2)")
    with ExitStack() as stack:
        try:
            made = Network(stack)
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"NOT TESTED: no network namespace can be made here: {getattr(error, 'stderr', error)!r}")
        yield made


def test_h53_the_lock_of_a_host_that_is_gone_is_free_within_30_s(
    network: Network, own_server: Callable[..., ThrowawayServer]
) -> None:
    server = own_server(settings={"listen_addresses": f"127.0.0.1,{network.here}"})
    with (server.data / "pg_hba.conf").open("a") as hba:
        hba.write(f"host all all {network.there}/32 scram-sha-256\n")
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("select pg_reload_conf()")
        dsn = make_conninfo(server.dsn, host=network.here)
        command = ["ip", "netns", "exec", network.name, sys.executable, "-c", _CLIENT, dsn]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert client.stdout is not None
            assert client.stderr is not None
            assert client.stdout.readline() == "held\n", client.stderr.read()
            assert admin.execute(_HELD).fetchall() == [(1,), (2,)]
            network.go_silent()
            began = time.monotonic()
            wait_until(lambda: (1,) not in admin.execute(_HELD).fetchall(), 60, "the lock is free")
            took = time.monotonic() - began
            # A session that is not pinned stays for as long as the server's kernel likes: two hours.
            assert admin.execute(_HELD).fetchall() == [(2,)]
        finally:
            client.kill()
            client.communicate()
    assert took < 30
    print(f"free after {took:.1f} s")
