-- Rows: the blockers of incidents that began since a moment, with what their incidents came to.
SELECT b.server, b.incident, b.name, b.class AS classification, b.relation, b.application, b.statement, b.blocked_seconds,
    b.peak_blocked, b.advice, b.waiting, i.started, i.last_seen, i.longest_wait_seconds, i.attempts
FROM pgdoctor_archive.blockers AS b
JOIN pgdoctor_archive.incidents AS i
    ON i.server OPERATOR(pg_catalog.=) b.server AND i.incident OPERATOR(pg_catalog.=) b.incident
    AND i.started OPERATOR(pg_catalog.=) b.started
WHERE b.started OPERATOR(pg_catalog.>=) %(since)s::pg_catalog.timestamptz
ORDER BY b.started, b.server, b.incident, b.place
LIMIT 200000;
