"""A time between polls, or of polls, as it is typed."""

import click

from pgdoctor.fields import Duration

#: Seconds; a person does not see more, and the server would.
_SHORTEST = 0.2


def parse_poll_time(context: click.Context, parameter: click.Parameter, text: str) -> Duration:  # noqa: ARG001
    """The duration, for an option's `callback`. Raises click.BadParameter."""
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found < _SHORTEST:
        raise click.BadParameter("at least 200ms")
    return found
