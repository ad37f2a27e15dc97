"""Groups of commands that say which command was meant."""

from difflib import get_close_matches

import click

from pgdoctor.cli._connection import is_connection_string

#: Commands of other tools, and the ones that do the same here.
_ELSEWHERE = {
    **dict.fromkeys(("top", "activity", "ps", "sessions", "pg_activity", "live", "monitor"), "watch"),
    **dict.fromkeys(("kill", "stop", "end"), "cancel PID or terminate PID"),
    **dict.fromkeys(("blockers", "blocking", "blocked", "blocks", "waits", "tree", "check", "why"), "diagnose"),
    **dict.fromkeys(("status", "health", "summary", "report"), "triage"),
    **dict.fromkeys(("serve", "server", "start", "run", "daemon", "exporter", "metrics"), "agent"),
    **dict.fromkeys(("log", "logs", "parse"), "read"),
    **dict.fromkeys(("grants", "role"), "setup"),
    "init": "config init",
    "history": "incidents list",
    "replay": "incidents replay",
    "docs": "explain",
    "man": "explain",
    "help": "--help",
    "version": "--version",
}

#: Options of the connection, which belong to a command.
_OF_A_COMMAND = {
    "-h": " HOST",
    "-p": " PORT",
    "-U": " USER",
    "-d": " DBNAME",
    "-W": "",
    "-w": "",
    "--host": " HOST",
    "--port": " PORT",
    "--username": " USER",
    "--dbname": " DBNAME",
    "--dsn": " DSN",
}


def explain_option(error: click.UsageError) -> str:
    """What was meant by an option that there is not here; empty where that is not known."""
    option = getattr(error, "option_name", None)
    if option not in _OF_A_COMMAND or error.ctx is None:
        return ""
    if error.ctx.parent is not None:
        return " Help is --help; -h names a host, and this command connects to none." if option == "-h" else ""
    help_ = " Help is --help." if option == "-h" else ""
    return f"{help_} The connection comes after a command: pgdoctor diagnose {option}{_OF_A_COMMAND[option]}"


class Group(click.Group):
    """A group whose error for a mistyped command names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. Raises UsageError where there is none of that name."""
        typed = args[0]
        if not typed.startswith("-") and self.get_command(ctx, typed) is None and not ctx.resilient_parsing:
            raise click.UsageError(self._describe_mistake(ctx, typed), ctx)
        return super().resolve_command(ctx, args)

    def _describe_mistake(self, ctx: click.Context, typed: str) -> str:
        if is_connection_string(typed):
            return f"a command comes before the connection string: {ctx.command_path} diagnose DSN"
        known = _ELSEWHERE.get(typed) if ctx.parent is None else None
        nearest = [known] if known else get_close_matches(typed, self.list_commands(ctx), n=1)
        meant = f"did you mean {nearest[0]}?" if nearest else f"{ctx.command_path} --help lists all"
        return f"no command {typed!r}: {meant}"
