"""Catalogs whose OIDs are the same on every server: known where a locked catalog keeps all names from being read.

Source: PostgreSQL source, `CATALOG(…)` in src/include/catalog (14 to 18).
"""

from collections.abc import Iterable, Mapping

from pgdoctor.model.snapshot import Relation

#: What logins and each statement read, and what all databases share.
CATALOGS: Mapping[int, str] = {
    1213: "pg_tablespace",
    1214: "pg_shdepend",
    1247: "pg_type",
    1249: "pg_attribute",
    1255: "pg_proc",
    1259: "pg_class",
    1260: "pg_authid",
    1261: "pg_auth_members",
    1262: "pg_database",
    2396: "pg_shdescription",
    2601: "pg_am",
    2602: "pg_amop",
    2603: "pg_amproc",
    2608: "pg_depend",
    2610: "pg_index",
    2611: "pg_inherits",
    2615: "pg_namespace",
    2616: "pg_opclass",
    2618: "pg_rewrite",
    2619: "pg_statistic",
    2620: "pg_trigger",
    2753: "pg_opfamily",
    2964: "pg_db_role_setting",
    3592: "pg_shseclabel",
    6000: "pg_replication_origin",
    6100: "pg_subscription",
}


def name_fixed_catalogs(oids: Iterable[int]) -> dict[int, Relation]:
    """Those of the relations whose names need not be read; their size is unknown."""
    return {
        oid: Relation(oid, f"pg_catalog.{CATALOGS[oid]}", "r", is_system=True, pages=-1, live_rows=-1.0)
        for oid in oids
        if oid in CATALOGS
    }
