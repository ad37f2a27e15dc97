"""Statements that lock no relation: settings, cursors, notifications. Transactions are read by `transactions`."""

from pgdoctor.preflight.rule import Rule

STATEMENTS: tuple[Rule, ...] = (
    Rule("begin|commit|end|rollback|abort|savepoint|release ..."),
    Rule("start transaction ..."),
    Rule("set constraints ...", note="It checks what was deferred, and that may wait for rows."),
    Rule("set role|session ..."),
    Rule("set|reset|show ..."),
    Rule("listen|unlisten|notify ..."),
    Rule("checkpoint"),
    Rule("deallocate ..."),
    Rule("close ..."),
    Rule("fetch|move ...", work="unknown", note="It runs a cursor's query."),
)
