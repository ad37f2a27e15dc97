"""Who acts and why, as commands ask for it and the audit records it."""

import getpass
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_MOST_REASON = 500


def name_operator() -> str:
    """Who acts, as far as the system knows: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In a container a user need not have a name.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def check_line(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """One printable line, without blanks at its ends. Raises BadParameter."""
    if text is not None and not (0 < len(text.strip()) <= _MOST_REASON and text.isprintable()):
        raise click.BadParameter(f"expected one line of at most {_MOST_REASON} characters", param=parameter)
    return text and text.strip()


def reason_option(function: F) -> F:
    """`--reason`, which is required."""
    return click.option("--reason", required=True, callback=check_line, help="Reason; it is recorded in the audit.")(
        function
    )


def by_option(function: F) -> F:
    """`--by`: who acts."""
    return click.option(
        "--by",
        default=name_operator,
        show_default="user@host",
        callback=check_line,
        metavar="NAME",
        help="Name of the person; it is recorded in the audit.",
    )(function)
