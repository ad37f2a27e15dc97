"""Statements that lock no relation: settings, cursors, notifications. Transactions are read by `transactions`."""

from pgdoctor.preflight.rule import LockRule

STATEMENTS: tuple[LockRule, ...] = (
    LockRule("begin|commit|end|rollback|abort|savepoint|release ..."),
    LockRule("start transaction ..."),
    LockRule("set constraints ...", note="It checks what was deferred, and that may wait for rows."),
    LockRule("set role|session ..."),
    LockRule("set|reset|show ..."),
    LockRule("listen|unlisten|notify ..."),
    LockRule("checkpoint"),
    LockRule("deallocate ..."),
    LockRule("close ..."),
    LockRule("fetch|move ...", work="unknown", note="It runs a cursor's query."),
)
