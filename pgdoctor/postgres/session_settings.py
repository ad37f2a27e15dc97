"""What pgdoctor's own session runs with, whatever the owner of a database or of a role has set for it.

`ALTER DATABASE ... SET` needs no more than owning the database. With a search_path of his the owner's operators would
run in our place, with our rights. So the session is pinned by start-up options, which are in force before the first
statement, and come before what a database or a role sets. A start-up option that the server does not know ends the
connection: only what every version from 14 on has may be one.

Settings that only a superuser may set are not here. Every other one is, once: pinned, or left with a reason.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

#: pg_temp last: unless it is named, temporary tables and types are found before those of the server.
SEARCH_PATH = "pg_catalog, pg_temp"

#: Seconds after which the server closes the connection of a client whose host is gone: its leader lock goes with it.
SILENCE = 20

#: By setting. `role=none` undoes `ALTER ROLE pgdoctor SET role = ...`.
PINNED: Mapping[str, str] = MappingProxyType(
    {
        # Whose code runs, as whom.
        "search_path": SEARCH_PATH,
        "role": "none",
        "local_preload_libraries": "",
        # With `off` a policy is an error, and its functions never run.
        "row_security": "off",
        "transform_null_equals": "off",
        # How texts are read, and values written.
        "standard_conforming_strings": "on",
        "backslash_quote": "safe_encoding",
        "array_nulls": "on",
        "quote_all_identifiers": "off",
        "TimeZone": "UTC",
        "timezone_abbreviations": "Default",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "lc_numeric": "C",
        "lc_time": "C",
        "lc_monetary": "C",
        # What may end the session, or hold it up. Its own statement and lock time-outs come on top.
        "idle_session_timeout": "0",
        # An agent that is stopped in the middle of a transaction, which may hold a lock on a table.
        "idle_in_transaction_session_timeout": "60000",
        "exit_on_error": "off",
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "read committed",
        "default_transaction_deferrable": "off",
        # No wait for a standby that is lost.
        "synchronous_commit": "local",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "2",
        "tcp_user_timeout": str(SILENCE * 1000),
        # What would fill the server's log with our statements, or our connection with notices.
        "debug_print_parse": "off",
        "debug_print_rewritten": "off",
        "debug_print_plan": "off",
        "log_parameter_max_length_on_error": "0",
        "client_min_messages": "error",
        # What makes a statement slow enough to miss its deadline.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        # One read of 40,000 locks stays in memory instead of going through a temporary file.
        "work_mem": "32MB",
        "hash_mem_multiplier": "2",
        "plan_cache_mode": "auto",
        "enable_bitmapscan": "on",
        "enable_hashagg": "on",
        "enable_hashjoin": "on",
        "enable_indexscan": "on",
        "enable_material": "on",
        "enable_mergejoin": "on",
        "enable_nestloop": "on",
        "enable_seqscan": "on",
        "enable_sort": "on",
        "from_collapse_limit": "8",
        "join_collapse_limit": "8",
    }
)

#: Set for a session that is ours alone, by parts of the connection string, or by `Connection`.
PINNED_OTHERWISE = frozenset(
    {
        *("application_name", "client_encoding"),  # Start-up parameters of their own.
        *("statement_timeout", "lock_timeout"),  # Start-up options that go by the deadline.
        "transaction_timeout",  # Since 17: after connecting, in the first statement.
    }
)

#: Of a pooler's connection to the server, not of ours.
_OF_THE_CONNECTION = frozenset(name for name in PINNED if name.startswith(("tcp_", "local_preload_", "idle_session")))

#: Settings that stay as they are, by the reason why they can do no harm.
LEFT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Another plan of a statement gives the same rows; the statement's time-out bounds what it costs.": frozenset(
            {
                *("constraint_exclusion", "cpu_index_tuple_cost", "cpu_operator_cost", "cpu_tuple_cost"),
                *("cursor_tuple_fraction", "effective_cache_size", "enable_async_append", "enable_gathermerge"),
                *("enable_distinct_reordering", "enable_group_by_reordering", "enable_incremental_sort"),
                *("enable_indexonlyscan", "enable_memoize", "enable_parallel_append", "enable_parallel_hash"),
                *("enable_partition_pruning", "enable_partitionwise_aggregate", "enable_partitionwise_join"),
                *("enable_presorted_aggregate", "enable_self_join_elimination", "enable_tidscan"),
                *("geqo", "geqo_effort", "geqo_generations", "geqo_pool_size", "geqo_seed", "geqo_selection_bias"),
                *("geqo_threshold", "random_page_cost", "recursive_worktable_factor", "seq_page_cost"),
            }
        ),
        "There are no parallel workers: max_parallel_workers_per_gather is pinned.": frozenset(
            {
                *("debug_parallel_query", "force_parallel_mode", "max_parallel_workers"),
                *("min_parallel_index_scan_size", "min_parallel_table_scan_size", "parallel_leader_participation"),
                *("parallel_setup_cost", "parallel_tuple_cost"),
            }
        ),
        "Nothing is compiled: jit is pinned.": frozenset(
            {
                *("jit_above_cost", "jit_expressions", "jit_inline_above_cost", "jit_optimize_above_cost"),
                "jit_tuple_deforming",
            }
        ),
        "It is about writing, creating, vacuuming or replicating, and pgdoctor does none of that.": frozenset(
            {
                *("backend_flush_after", "check_function_bodies", "commit_siblings", "createrole_self_grant"),
                *("debug_logical_replication_streaming", "default_statistics_target", "default_table_access_method"),
                *("default_tablespace", "default_toast_compression", "file_copy_method", "gin_pending_list_limit"),
                *("icu_validation_level", "logical_decoding_work_mem", "maintenance_io_concurrency"),
                *("maintenance_work_mem", "max_parallel_maintenance_workers", "md5_password_warnings"),
                *("password_encryption", "scram_iterations", "vacuum_buffer_usage_limit", "vacuum_cost_delay"),
                *("vacuum_cost_limit", "vacuum_cost_page_dirty", "vacuum_cost_page_hit", "vacuum_cost_page_miss"),
                *("vacuum_failsafe_age", "vacuum_freeze_min_age", "vacuum_freeze_table_age"),
                *("vacuum_max_eager_freeze_failure_rate", "vacuum_multixact_failsafe_age"),
                *("vacuum_multixact_freeze_min_age", "vacuum_multixact_freeze_table_age", "vacuum_truncate"),
                *("wal_sender_timeout", "wal_skip_threshold"),
            }
        ),
        "Our statements read neither user tables, texts to search, XML nor GIN indexes.": frozenset(
            {
                *("default_text_search_config", "gin_fuzzy_search_limit", "synchronize_seqscans", "xmlbinary"),
                "xmloption",
            }
        ),
        "It is about memory and reads: a bad value costs time, which the statement's time-out bounds.": frozenset(
            {"effective_io_concurrency", "io_combine_limit", "temp_buffers", "temp_tablespaces"}
        ),
        "It only adds lines to the server's log, or changes their form.": frozenset(
            {"debug_pretty_print", "escape_string_warning", "trace_notify", "trace_sort"}
        ),
        "It forbids, and never permits: at the worst a statement fails.": frozenset(
            {"restrict_nonsystem_relation_kind"}
        ),
        "It only sets how often a running statement checks its client.": frozenset(
            {"client_connection_check_interval"}
        ),
        "The activity of sessions does not go by it, and the signalling statement clears its snapshot.": frozenset(
            {"stats_fetch_consistency"}
        ),
        "It is of one transaction, and no database or role can set it.": frozenset(
            {"transaction_deferrable", "transaction_isolation", "transaction_read_only"}
        ),
        "Only the client can set it, when it connects.": frozenset({"ignore_system_indexes", "post_auth_delay"}),
    }
)


def start_up_options(given: str, deadline: float) -> str:
    """libpq's `options`: those that are given, and ours after them, for the last one of a setting counts."""
    # `target_session_attrs=read-write` takes a session that is read-only for a standby's: `session.sql` makes it so.
    settings = {**PINNED, **timeout_settings(deadline), "default_transaction_read_only": "off"}
    ours = (f"-c {name}={_escape_option(value)}" for name, value in settings.items())
    return " ".join([*([given] if given.strip() else []), *ours])


def transaction_settings(version_num: int, deadline: float) -> str:
    """Statements that make a transaction ours where the session is not. They run no operator and no function."""
    return "".join(f"SET LOCAL {name} = {value}; " for name, value in _of_a_transaction(version_num, deadline))


def timeout_settings(deadline: float) -> dict[str, str]:
    """Well before our own deadline: a statement that the server gives up itself leaves the connection good."""
    milliseconds = round(deadline * 1000)
    return {
        "statement_timeout": str(max(milliseconds * 8 // 10, 100)),
        "lock_timeout": str(min(max(milliseconds // 10, 100), 500)),
    }


def _of_a_transaction(version_num: int, deadline: float) -> Iterator[tuple[str, str]]:
    # Time-outs first: the value in force until then may be very short.
    if version_num >= 170_000:
        yield "transaction_timeout", "0"
    for name, value in {**timeout_settings(deadline), **PINNED}.items():
        if name == "search_path":
            yield name, value
        elif name not in _OF_THE_CONNECTION:
            yield name, f"'{value}'"


def _escape_option(value: str) -> str:
    """As the server splits the options: by white space that no backslash stands before."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
