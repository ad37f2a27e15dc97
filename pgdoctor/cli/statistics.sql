
-- Statistics of columns, which tell whether an index would find few rows: two functions that give numbers, never a value.
-- Without them the role reads statistics only of tables that it may SELECT from. An attacker with pgdoctor's role could
-- learn by them how frequent a value is that he knows already.
-- They belong to one database: run this in each database that pgdoctor connects to. To remove them, in each database:
--   DROP FUNCTION pgdoctor.column_statistics(oid, int2, bool), pgdoctor.value_share(oid, int2, bool, bytea);
--   DROP OWNED BY pgdoctor_statistics;
-- and at last DROP ROLE pgdoctor_statistics;
BEGIN;

DO $$
DECLARE
    somebody pg_catalog.text;
BEGIN
    -- Another role may have created the schema or the role before, and would get these rights.
    SELECT n.nspowner::pg_catalog.regrole INTO somebody
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
    WHERE n.nspname = 'pgdoctor' AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF FOUND THEN
        RAISE 'the schema pgdoctor belongs to %: drop it, or make a superuser its owner', somebody;
    END IF;
    SELECT r.rolname INTO somebody
    FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
    WHERE g.rolname = 'pgdoctor_statistics' AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF FOUND THEN
        RAISE '% is a member of pgdoctor_statistics, which may read statistics: revoke that', somebody;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgdoctor_statistics') THEN
        CREATE ROLE pgdoctor_statistics;
    END IF;
END
$$;
-- It owns the functions and cannot log in. It may read statistics and nothing else.
ALTER ROLE pgdoctor_statistics NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;
GRANT SELECT (
    starelid, staattnum, stainherit, stanullfrac, stadistinct, stakind1, stakind2, stakind3, stakind4, stakind5,
    stanumbers1, stanumbers2, stanumbers3, stanumbers4, stanumbers5,
    stavalues1, stavalues2, stavalues3, stavalues4, stavalues5
) ON pg_catalog.pg_statistic TO pgdoctor_statistics;

CREATE SCHEMA IF NOT EXISTS pgdoctor;
ALTER SCHEMA pgdoctor OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA pgdoctor FROM PUBLIC;
GRANT USAGE ON SCHEMA pgdoctor TO {role}, pgdoctor_statistics;

-- Dropped first, because a replaced function keeps its grants.
DROP FUNCTION IF EXISTS pgdoctor.column_statistics(oid, int2, bool);
DROP FUNCTION IF EXISTS pgdoctor.value_share(oid, int2, bool, bytea);

-- Of one column: the share of NULLs, how many different values there are (below zero: as a share of the rows), and the
-- shares of the most common ones. `is_inherited`: of a partitioned table, all partitions together.
CREATE FUNCTION pgdoctor.column_statistics(
    relation pg_catalog.oid,
    column_number pg_catalog.int2,
    is_inherited pg_catalog.bool,
    OUT null_share pg_catalog.float8,
    OUT distinct_values pg_catalog.float8,
    OUT common_shares pg_catalog.float4[]
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        s.stanullfrac::float8,
        s.stadistinct::float8,
        CASE 1
            WHEN s.stakind1 THEN s.stanumbers1
            WHEN s.stakind2 THEN s.stanumbers2
            WHEN s.stakind3 THEN s.stanumbers3
            WHEN s.stakind4 THEN s.stanumbers4
            WHEN s.stakind5 THEN s.stanumbers5
        END
    FROM pg_statistic AS s
    WHERE
        -- No catalogs: objects of users have OIDs from 16384 on.
        s.starelid = relation AND s.starelid >= 16384
        AND s.staattnum = column_number AND s.stainherit = is_inherited
$$;

-- The share of the rows that have a value in one column. NULL where it is not known: the column has another type than
-- those below, its collation takes different texts for equal, or its table has row-level security.
-- The value, as bytes of its text, is compared with the output of the most common ones, and never cast: no code of users
-- runs with the rights of this function.
CREATE FUNCTION pgdoctor.value_share(
    relation pg_catalog.oid,
    column_number pg_catalog.int2,
    is_inherited pg_catalog.bool,
    literal pg_catalog.bytea
) RETURNS pg_catalog.float8
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (
            SELECT m.share
            FROM ROWS FROM (unnest(found.vals), unnest(found.shares)) AS m (item, share)
            WHERE textsend(CASE WHEN found.is_padded THEN rtrim(m.item) ELSE m.item END) = literal
            LIMIT 1
        ),
        greatest(1 - found.null_share - common.share, 0) / greatest(found.number - common.number, 1)
    )::float8
    FROM (
        SELECT
            s.stanullfrac AS null_share,
            CASE WHEN s.stadistinct < 0 THEN -s.stadistinct * c.reltuples ELSE s.stadistinct END AS number,
            a.atttypid = 1042 AS is_padded,
            CASE 1
                WHEN s.stakind1 THEN s.stavalues1::text::text[]
                WHEN s.stakind2 THEN s.stavalues2::text::text[]
                WHEN s.stakind3 THEN s.stavalues3::text::text[]
                WHEN s.stakind4 THEN s.stavalues4::text::text[]
                WHEN s.stakind5 THEN s.stavalues5::text::text[]
            END AS vals,
            CASE 1
                WHEN s.stakind1 THEN s.stanumbers1
                WHEN s.stakind2 THEN s.stanumbers2
                WHEN s.stakind3 THEN s.stanumbers3
                WHEN s.stakind4 THEN s.stanumbers4
                WHEN s.stakind5 THEN s.stanumbers5
            END AS shares
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = column_number
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
        JOIN pg_statistic AS s
            ON s.starelid = c.oid AND s.staattnum = a.attnum AND s.stainherit = is_inherited
            -- bool, int8, int2, int4, text, bpchar, varchar, and enums. A part of the join, so that no other is written.
            AND (a.atttypid = ANY ('{16,20,21,23,25,1042,1043}'::oid[]) OR t.typtype = 'e')
        WHERE
            c.oid = relation AND c.oid >= 16384
            AND NOT c.relrowsecurity
            AND coalesce(co.collisdeterministic, true)
        OFFSET 0
    ) AS found
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(f.share), 0) AS share, count(*) AS number FROM unnest(found.shares) AS f (share)
    ) AS common
$$;

ALTER FUNCTION pgdoctor.column_statistics(oid, int2, bool) OWNER TO pgdoctor_statistics;
ALTER FUNCTION pgdoctor.value_share(oid, int2, bool, bytea) OWNER TO pgdoctor_statistics;
REVOKE ALL ON FUNCTION pgdoctor.column_statistics(oid, int2, bool) FROM PUBLIC;
REVOKE ALL ON FUNCTION pgdoctor.value_share(oid, int2, bool, bytea) FROM PUBLIC;
{revoke_given}
GRANT EXECUTE ON FUNCTION pgdoctor.column_statistics(oid, int2, bool) TO {role};
GRANT EXECUTE ON FUNCTION pgdoctor.value_share(oid, int2, bool, bytea) TO {role};

COMMIT;
