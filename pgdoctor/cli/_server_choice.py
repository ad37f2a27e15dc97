"""Where a server of the configuration is connected to."""

from pgdoctor.config.config import ServerSettings


def read_dsn(server: ServerSettings) -> str:
    """The connection string of a server, from its file if it has one. Raises PgdoctorError."""
    # Here, not above: it takes the driver, 200 ms to import.
    from pgdoctor.agent.polling.reconnector import DsnFile

    return DsnFile(server.dsn_file).read() if server.dsn_file else server.conninfo
