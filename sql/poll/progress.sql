-- One row for each asked process whose command reports its progress: the phase, and how far that has come.
-- Reads the function behind the pg_stat_progress_* views, which reads shared memory alone: 0.1 ms, and never behind a
-- lock. The views join pg_database and wait behind a lock on it (measured, 14 and 18).
-- The parameters used here mean the same from 14 to 18. A total of 0 is unknown.
SELECT p.pid, p.command, p.phase, p.done, p.total
FROM (
    SELECT
        i.pid,
        CASE i.param1
            WHEN 1 THEN 'CREATE INDEX'
            WHEN 2 THEN 'CREATE INDEX CONCURRENTLY'
            WHEN 3 THEN 'REINDEX'
            ELSE 'REINDEX CONCURRENTLY'
        END AS command,
        CASE
            WHEN i.param10 = 0 THEN 'initializing'
            WHEN i.param10 = 1 THEN 'waiting for writers before build'
            WHEN i.param10 = 2 AND i.param14 > 0 THEN 'building the partitions'
            -- The phases of a btree, whose OID is fixed.
            WHEN i.param10 = 2 AND i.param9 = 403 THEN CASE i.param11
                WHEN 2 THEN 'scanning table'
                WHEN 3 THEN 'sorting live tuples'
                WHEN 4 THEN 'sorting dead tuples'
                WHEN 5 THEN 'loading tuples in tree'
                ELSE 'initializing'
            END
            WHEN i.param10 = 2 THEN 'building index'
            WHEN i.param10 = 3 THEN 'waiting for writers before validation'
            WHEN i.param10 = 4 THEN 'index validation: scanning index'
            WHEN i.param10 = 5 THEN 'index validation: sorting tuples'
            WHEN i.param10 = 6 THEN 'index validation: scanning table'
            WHEN i.param10 = 7 THEN 'waiting for old snapshots'
            WHEN i.param10 = 8 THEN 'waiting for readers before marking dead'
            ELSE 'waiting for readers before dropping'
        END AS phase,
        CASE
            WHEN i.param10 IN (1, 3, 7, 8, 9) THEN i.param5
            WHEN i.param10 = 2 AND i.param14 > 0 THEN i.param15
            WHEN i.param10 = 2 AND i.param9 = 403 AND i.param11 = 5 THEN i.param13
            ELSE i.param17
        END AS done,
        CASE
            WHEN i.param10 IN (1, 3, 7, 8, 9) THEN i.param4
            WHEN i.param10 = 2 AND i.param14 > 0 THEN i.param14
            WHEN i.param10 = 2 AND i.param9 = 403 AND i.param11 IN (3, 4) THEN 0
            WHEN i.param10 = 2 AND i.param9 = 403 AND i.param11 = 5 THEN i.param12
            ELSE i.param16
        END AS total
    FROM pg_catalog.pg_stat_get_progress_info('CREATE INDEX') AS i
    UNION ALL
    SELECT
        v.pid,
        'VACUUM',
        CASE v.param1
            WHEN 0 THEN 'initializing'
            WHEN 1 THEN 'scanning heap'
            WHEN 2 THEN 'vacuuming indexes'
            WHEN 3 THEN 'vacuuming heap'
            WHEN 4 THEN 'cleaning up indexes'
            WHEN 5 THEN 'truncating heap'
            ELSE 'performing final cleanup'
        END,
        CASE v.param1 WHEN 1 THEN v.param3 WHEN 3 THEN v.param4 ELSE 0 END,
        CASE WHEN v.param1 IN (1, 3) THEN v.param2 ELSE 0 END
    FROM pg_catalog.pg_stat_get_progress_info('VACUUM') AS v
    UNION ALL
    SELECT
        c.pid,
        CASE c.param1 WHEN 1 THEN 'CLUSTER' ELSE 'VACUUM FULL' END,
        CASE c.param2
            WHEN 0 THEN 'initializing'
            WHEN 1 THEN 'seq scanning heap'
            WHEN 2 THEN 'index scanning heap'
            WHEN 3 THEN 'sorting tuples'
            WHEN 4 THEN 'writing new heap'
            WHEN 5 THEN 'swapping relation files'
            WHEN 6 THEN 'rebuilding index'
            ELSE 'performing final cleanup'
        END,
        CASE c.param2 WHEN 1 THEN c.param7 WHEN 4 THEN c.param5 ELSE 0 END,
        CASE c.param2 WHEN 1 THEN c.param6 WHEN 4 THEN c.param4 ELSE 0 END
    FROM pg_catalog.pg_stat_get_progress_info('CLUSTER') AS c
    UNION ALL
    SELECT
        a.pid,
        'ANALYZE',
        CASE a.param1
            WHEN 0 THEN 'initializing'
            WHEN 1 THEN 'acquiring sample rows'
            WHEN 2 THEN 'acquiring inherited sample rows'
            WHEN 3 THEN 'computing statistics'
            WHEN 4 THEN 'computing extended statistics'
            ELSE 'finalizing analyze'
        END,
        CASE WHEN a.param1 IN (1, 2) THEN a.param3 ELSE 0 END,
        CASE WHEN a.param1 IN (1, 2) THEN a.param2 ELSE 0 END
    FROM pg_catalog.pg_stat_get_progress_info('ANALYZE') AS a
    UNION ALL
    SELECT
        y.pid,
        CASE y.param5 WHEN 1 THEN 'COPY FROM' ELSE 'COPY TO' END,
        'copying',
        y.param1,
        y.param2
    FROM pg_catalog.pg_stat_get_progress_info('COPY') AS y
    UNION ALL
    SELECT
        b.pid,
        'base backup',
        CASE b.param1
            WHEN 0 THEN 'initializing'
            WHEN 1 THEN 'waiting for checkpoint to finish'
            WHEN 2 THEN 'estimating backup size'
            WHEN 3 THEN 'streaming database files'
            WHEN 4 THEN 'waiting for wal archiving to finish'
            ELSE 'transferring wal files'
        END,
        b.param3,
        greatest(b.param2, 0)
    FROM pg_catalog.pg_stat_get_progress_info('BASEBACKUP') AS b
) AS p
-- Hidden from our role where NULL.
WHERE p.pid = ANY (%(pids)s::pg_catalog.int4[]) AND p.done IS NOT NULL AND p.total IS NOT NULL;
