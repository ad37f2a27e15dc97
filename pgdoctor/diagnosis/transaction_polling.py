"""Whether a statement asks if transactions have ended, as pg_repack does once a second while it waits for them.

Source: `SQL_XID_ALIVE` in pg_repack.c: it looks up in pg_locks a list of virtual transactions.
"""

import re

_POLLS = re.compile(r"\bpg_locks\b.{0,200}\bvirtualtransaction\s*=\s*any\b", re.IGNORECASE | re.DOTALL)


def asks_for_transactions(statement: str) -> bool:
    """It asks whether some of a list of transactions are still open."""
    return _POLLS.search(statement) is not None
