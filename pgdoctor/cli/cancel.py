"""`pgdoctor cancel PID`: a person signals one session."""

import click

from pgdoctor.cli._manual import ManualOptions, manual_options, signal_session


@click.command()
@manual_options
def command(pid: int, dsn: str, config: str | None, by: str, yes: bool, form: str, despite_disarm: bool) -> int:
    """Cancel the statement that one session runs.

    Shows the session, what the signal frees and costs, and all warnings; then it asks. No rules are needed, and no
    budget is spent. The signal hits the statement that was shown, or none. Exit status 1: the signal was not sent, or
    had no effect.
    """
    return signal_session("cancel", pid, dsn, config, ManualOptions(by, yes, despite_disarm, form))
