"""What is acted upon: a diagnosis, with where it comes from."""

from datetime import datetime

import msgspec

from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.postgres.connection import Connection


class Observation(msgspec.Struct, frozen=True):
    """A diagnosis, the connection that it was read over, and when it had been read, on the monotonic clock."""

    diagnosis: Diagnosis
    #: None: on paper.
    connection: Connection | None
    read_at: float

    @property
    def now(self) -> datetime:
        """The server's clock at the poll."""
        return self.diagnosis.captured_at

    @property
    def is_pooled(self) -> bool:
        """The session that answered is not the one that was connected to: a pooler stands in between."""
        if self.connection is None or not self.connection.is_open:
            return False
        return self.diagnosis.snapshot.server.own_pid != self.connection.connection.info.backend_pid
