"""Connections used up by idle clients of named applications."""

from tests.looking import look
from tests.scenes import Scene


def test_it_is_found_when_nearly_all_connections_are_in_use(own_server):
    with Scene(own_server(max_connections=20).dsn) as scene:
        while look(scene.dsn).server.connections < 17:
            scene.client(application_name="reporting")
        assert not look(scene.dsn).findings
        scene.client(application_name="reporting")
        [note] = look(scene.dsn).findings
        assert (note.kind, note.severity) == ("connection_saturation", "warning")
        assert (note.numbers["connections"], note.numbers["max_connections"]) == (18, 20)
