"""Users with which the operator of a managed service or of a cluster works. A signal would hit its upkeep."""

from types import MappingProxyType

#: The users by the name of the service, as its documentation lists them; a customer's own admin is not among them.
USERS_BY_PLATFORM = MappingProxyType(
    {
        "Amazon RDS and Aurora": ("rdsadmin", "rdsrepladmin", "rdstopmgr", "rdsproxyadmin"),
        "Google Cloud SQL": (
            "cloudsqladmin",
            "cloudsqlagent",
            "cloudsqlconnpooladmin",
            "cloudsqlimportexport",
            "cloudsqllogical",
            "cloudsqlobservability",
            "cloudsqlreplica",
        ),
        "Google AlloyDB": (
            "alloydbadmin",
            "alloydbagent",
            "alloydbexport",
            "alloydbimportexport",
            "alloydbmetadata",
            "alloydbobservability",
            "alloydbreplica",
            "alloydbsqllogical",
        ),
        "Azure Database": ("azuresu", "azure_superuser"),
        "Neon": ("cloud_admin",),
        "Supabase": (
            "supabase_admin",
            "supabase_auth_admin",
            "supabase_etl_admin",
            "supabase_read_only_user",
            "supabase_replication_admin",
            "supabase_storage_admin",
        ),
        "CloudNativePG": ("streaming_replica", "cnpg_pooler_pgbouncer", "cnp_pooler_pgbouncer"),
        "Crunchy or Percona": ("_crunchyrepl", "ccp_monitoring"),
    }
)

_PLATFORMS = {user: platform for platform, users in USERS_BY_PLATFORM.items() for user in users}


def find_platform(user: str | None) -> str | None:
    """Return the name of the service that works with this user, or None."""
    return _PLATFORMS.get(user or "")
