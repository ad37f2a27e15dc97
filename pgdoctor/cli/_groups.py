"""Groups of commands that say which command was meant."""

from difflib import get_close_matches

import click

from pgdoctor.cli._connection import is_connection_string


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
        nearest = get_close_matches(typed, self.list_commands(ctx), n=1)
        meant = f"did you mean {nearest[0]}?" if nearest else f"{ctx.command_path} --help lists all"
        return f"no command {typed!r}: {meant}"
