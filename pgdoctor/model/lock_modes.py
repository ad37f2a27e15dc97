"""The conflict table of lock modes.

Source: PostgreSQL documentation, "Explicit Locking" (the same from 12 to 18), and `LockConflicts` in lock.c. The
eight modes mean the same for every lock type.
"""

#: Weakest first.
MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)

_CONFLICTS = {
    "AccessShareLock": {"AccessExclusiveLock"},
    "RowShareLock": {"ExclusiveLock", "AccessExclusiveLock"},
    "RowExclusiveLock": {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"},
    "ShareUpdateExclusiveLock": set(MODES[3:]),
    "ShareLock": set(MODES[2:]) - {"ShareLock"},
    "ShareRowExclusiveLock": set(MODES[2:]),
    "ExclusiveLock": set(MODES[1:]),
    "AccessExclusiveLock": set(MODES),
}

#: Modes that no plain SELECT, INSERT, UPDATE or DELETE takes on a table: DDL, maintenance or LOCK TABLE did.
STRONG = frozenset(MODES[3:])

#: Modes in which DDL locks tables. ExclusiveLock on a table is taken by LOCK TABLE alone.
MAY_BE_DDL = STRONG - {"ExclusiveLock"}


def modes_conflict(one: str, other: str) -> bool:
    """Whether two modes exclude each other. A mode we do not know conflicts: better one explanation too many."""
    if one not in _CONFLICTS or other not in _CONFLICTS:
        return True
    return other in _CONFLICTS[one]


def mode_strength(mode: str) -> int:
    """The rank of a mode, 0 the weakest; an unknown one ranks below all."""
    return MODES.index(mode) if mode in MODES else -1
