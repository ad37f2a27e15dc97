"""Why there is no temporary server: said in one line, as all errors of the product are."""

from pgdoctor.errors import PgdoctorError


class BinariesMissing(PgdoctorError):
    """There is no Postgres to start: says where it was searched and what to install."""


class ServerFailed(PgdoctorError):
    """The server could not be made or started: says which step failed, with the program's last words."""

    exit_status = 3
