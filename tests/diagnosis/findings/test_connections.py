"""Connections used up by idle clients of named applications, and a crowd of clients that come at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.diagnosis.findings.observing import APART, kinds, observer
from tests.scenes import Scene


def test_saturation_names_the_holders_of_connections(own_server):
    with Scene(own_server(max_connections=20).dsn) as scene, observer(scene.dsn) as seen:
        scene.role("mallory")
        scene.client(application_name="checkout", user="mallory")
        while seen.look().snapshot.server.connections < 15:
            scene.client(application_name="reporting")
        assert kinds(seen.look()) == []
        scene.client("select 1", application_name="reporting")
        note = seen.note("connection_saturation")
        assert note.severity == "warning"
        assert note.numbers["connections"] == 16
        assert note.numbers["max_connections"] == 20
        assert note.numbers["idle_in_transaction"] == 1
        assert '"reporting" (postgres from 127.0.0.1): 12 connections, 11 idle, 1 idle in transaction' in note.evidence
        assert '"checkout" (mallory from 127.0.0.1): 1 connection, 1 idle' in note.evidence
        assert "idle connections" in note.advice


def test_it_is_critical_when_only_superusers_get_in(own_server):
    with Scene(own_server(max_connections=20).dsn) as scene, observer(scene.dsn) as seen:
        other = scene.role("mallory")
        while seen.look().snapshot.server.connections < 17:
            scene.client()
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
            psycopg.connect(other)
        assert seen.note("connection_saturation").severity == "critical"


@contextmanager
def herd(dsn, clients, stay, pause=0.0):
    """Clients that connect, ask, stay so many seconds, and come back."""
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            with psycopg.connect(dsn, application_name="herd", autocommit=True) as connection:
                connection.execute("select 1")
                over.wait(stay)
            over.wait(pause)

    with ThreadPoolExecutor(clients) as pool:
        coming = [pool.submit(come_and_go) for _ in range(clients)]
        try:
            yield
        finally:
            over.set()
    for each in coming:
        each.result()


@pytest.mark.long
def test_a_herd_of_clients_that_connect_again_and_again_is_a_storm(own_server):
    with Scene(own_server(max_connections=100).dsn) as scene, observer(scene.dsn) as seen:
        scene.client(application_name="reporting")
        assert kinds(seen.look()) == []
        with herd(scene.dsn, clients=40, stay=0.2):
            note = seen.wait_for("connection_storm")
        assert note.numbers["sessions_per_second"] >= 10
        assert note.numbers["fresh"] >= 20
        assert note.evidence[0].startswith('"herd" (postgres from 127.0.0.1): ')
        assert "pooler in transaction mode" in note.advice


@pytest.mark.long
def test_a_storm_is_a_change_and_not_a_way_of_working(own_server):
    """A few clients that connect again each time are none, however long they do."""
    with Scene(own_server(max_connections=100).dsn) as scene, observer(scene.dsn) as seen:
        seen.look()
        with herd(scene.dsn, clients=8, stay=0.0, pause=0.2):
            for _ in range(5):
                time.sleep(APART)
                assert kinds(seen.look()) == []
