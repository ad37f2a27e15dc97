"""One row of the tables in `rules`: a form of statement, what it locks, what it does, and its safe form."""

from typing import NamedTuple

AS = "AccessShareLock"
RS = "RowShareLock"
RE = "RowExclusiveLock"
SUE = "ShareUpdateExclusiveLock"
S = "ShareLock"
SRE = "ShareRowExclusiveLock"
E = "ExclusiveLock"
AE = "AccessExclusiveLock"


class LockRule(NamedTuple):
    """What is true of a statement, or of an action of ALTER TABLE, that has a form and fulfils a condition.

    Rows are asked in their order; the first that fits counts.
    """

    #: See `form_match`.
    form: str
    #: Scopes with a mode each: `table AE; indexes AE`. A scope is one of `scopes.SCOPES`.
    locks: str = ""
    #: Objects that are no relations, with a mode each: `type E; schema AS`. A kind is one of `object_scopes.SCOPES`;
    #: the mode ROW: no lock, but the row of the object in its catalog is changed.
    objects: str = ""
    #: The scope of relations of which rows are changed or locked, one after the other: each may be waited for.
    rows: str = ""
    #: One of `work.WORK`: what the server does while it holds the locks.
    work: str = "instant"
    #: The scope that is scanned or rewritten.
    works_on: str = "table"
    #: A condition of `conditions.CONDITIONS`, or several with blanks between them; all must hold. Empty: none.
    when: str = ""
    #: How it goes with fewer clients blocked: a template of SQL. Empty: there is no better form.
    safe: str = ""
    #: What it waits for besides its locks, one of `waits.WAITS`. Empty: nothing.
    waits: str = ""
    #: It fails inside of a transaction.
    is_alone: bool = False
    #: The locks are at most these: which of them are taken depends on data or plans.
    is_at_most: bool = False
    #: What else to know, in one sentence.
    note: str = ""
    #: Server versions, as 18, from which on and up to which the row holds.
    since: int = 0
    until: int = 99
    #: The rows behind this one are asked, too.
    goes_on: bool = False
    #: What the script has after it, for the statements that follow; see `script_state`.
    leaves: str = ""


MODES = {"AS": AS, "RS": RS, "RE": RE, "SUE": SUE, "S": S, "SRE": SRE, "E": E, "AE": AE}
