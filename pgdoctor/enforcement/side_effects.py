"""Remains of the actions of the last minutes: searched after each, and reported while they are there."""

import logging
import time
from functools import partial

from pgdoctor.errors import ServerError
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.side_effects import KINDS, find_side_effects
from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.postgres.catalog import invalid_indexes
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_visit import list_databases, visit_database

log = logging.getLogger(__name__)

#: For how long after an action.
_SECONDS = 600.0

#: Seconds after which an index that was not valid is checked again: an operator may have dropped it.
_AGAIN = 30.0

#: Seconds that a poll waits for another database.
_PATIENCE = 1.0


class _Followed:
    """An action, and the indexes of its relation that are not valid."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.indexes: tuple[str, ...] = ()
        self.until = time.monotonic() + _SECONDS
        self.look_again = 0.0
        #: The kinds of traces that were found.
        self.kinds: set[str] = set()


async def _invalid_indexes(action: Action, diagnosis: Diagnosis, connection: Connection) -> tuple[str, ...]:
    """The indexes of the action's relation that are not valid; none where its database cannot be read."""
    if action.datname in (None, diagnosis.snapshot.server.database):
        return await invalid_indexes(connection, action.relation)
    if action.relation is None:
        return ()
    try:
        for row in await list_databases(connection, 1, names=[action.datname]):
            work = partial(invalid_indexes, relation=action.relation)
            return await visit_database(connection, row, work, min(connection.deadline, _PATIENCE))
    except ServerError as error:
        if not connection.is_open:
            raise
        log.info("indexes in another database could not be read", extra={"error": str(error)})
    return ()


class SideEffectWatch:
    """Follows actions. Raises ServerError where the server cannot be asked."""

    def __init__(self) -> None:
        #: Remains by kind, counted once for each action; every kind is there as 0.
        self.counts = dict.fromkeys(KINDS, 0)
        #: As of the last poll.
        self.notes: tuple[Finding, ...] = ()
        self._followed: list[_Followed] = []

    def follow_action(self, action: Action) -> None:
        """From now on, for some minutes."""
        if action.may_have_been_sent:
            self._followed.append(_Followed(action))

    async def find_new_side_effects(self, diagnosis: Diagnosis, connection: Connection) -> list[tuple[Action, Finding]]:
        """What is there now that was not there before; `notes` are all that is there."""
        now = time.monotonic()
        self._followed = [each for each in self._followed if each.until > now]
        for followed in self._followed:
            if followed.look_again <= now:
                followed.indexes = await _invalid_indexes(followed.action, diagnosis, connection)
                # Where there was none after the action there will be none by it.
                followed.look_again = now + _AGAIN if followed.indexes else followed.until
        found = [
            (each, note) for each in self._followed for note in find_side_effects(each.action, diagnosis, each.indexes)
        ]
        self.notes = tuple(note for _, note in found)
        new = [(each, note) for each, note in found if note.kind not in each.kinds]
        for each, note in new:
            if note.kind not in each.kinds:
                each.kinds.add(note.kind)
                self.counts[note.kind] += 1
        return [(each.action, note) for each, note in new]
