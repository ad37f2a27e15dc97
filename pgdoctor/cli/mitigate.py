"""`pgdoctor mitigate`: what the rules allow to be done right now, and with `--execute` the doing of it."""

import click
import msgspec

from pgdoctor.cli import _mitigate_brakes
from pgdoctor.cli._audit import audit
from pgdoctor.cli._connection import dsn_option
from pgdoctor.cli._groups import Group
from pgdoctor.cli._options import config_option, run_coroutine
from pgdoctor.cli._output import write_json
from pgdoctor.cli._proposals import proposals, reject
from pgdoctor.cli._score import score
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import UsageError
from pgdoctor.escape import encode_json
from pgdoctor.render.plan import PlanFacts, action_text, plan_facts, plan_text
from pgdoctor.render.session_facts import session_text


@click.group(cls=Group, invoke_without_command=True)
@config_option
@dsn_option
@click.option(
    "--execute",
    is_flag=True,
    help='Carry the plan out. The configuration must set mode = "enforce". Decisions that require approval must be '
    "approved first (mitigate approve).",
)
@click.option("--pid", type=click.IntRange(1, 2**31 - 1), help="Consider only this session.")
@click.option("--most", default=10, show_default=True, type=click.IntRange(1), help="Stop after this many actions.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_context
def command(
    context: click.Context, config: str | None, dsn: str, execute: bool, pid: int | None, most: int, form: str
) -> int | None:
    """Show or execute the plan of the mitigation rules.

    The plan lists, for each blocker, the signal that a rule allows and the objections of the guards. --execute carries
    it out: one action, a new poll, and again until no action is allowed. Each action is written to stderr as JSON,
    before and after the signal. A running session must have held its lock for min_wait: the command polls until that
    is seen, for at most a minute. With --pid only the waits count. Exit status 1: an action released no session, or
    --pid had no action.
    """
    if context.invoked_subcommand is not None:
        # `mitigate --config … reset` is `mitigate reset --config …`.
        context.default_map = {name: {"config": config} for name in command.commands}
        return None
    whole = load_config(config)
    if execute:
        _refuse_unless_armed(config, whole)
        facts = _execute_plan(dsn, whole, most, pid, tell=form == "table")
    elif pid is not None:
        return _ask_server(dsn, whole, pid, form)
    else:
        facts = _show_plan(dsn, whole)
    _print_plan(facts, form, config, whole)
    released = [action for action in facts.actions if action.outcome == "released"]
    return int(
        any(action.outcome not in ("released", "gone") for action in facts.actions) or bool(pid and not released)
    )


for each in (*_mitigate_brakes.COMMANDS, proposals, reject, audit, score):
    command.add_command(each)


def _print_plan(facts: PlanFacts, form: str, config: str | None, whole: Config) -> None:
    if form == "json":
        write_json(encode_json(facts))
        return
    if not whole.mitigation.rules:
        click.echo(f"No rule allows an action: {_no_rules(config)}.\n")
    click.echo(plan_text(facts), nl=False)


def _refuse_unless_armed(config: str | None, whole: Config) -> None:
    if not whole.mitigation.rules:
        raise UsageError(f"--execute needs rules: {_no_rules(config)}")
    if whole.mitigation.mode != "enforce":
        mode = whole.mitigation.mode
        raise UsageError(f'--execute needs mode = "enforce" under [mitigation] in {config}; the mode is "{mode}"')


def _no_rules(config: str | None) -> str:
    if config is None:
        return "there is no configuration (--config FILE; see: pgdoctor config init)"
    return f"{config} has no [[mitigation.rules]]"


# The modules with the driver, which takes 200 ms to import, are needed by neither help nor usage errors.


def _show_plan(dsn: str, config: Config) -> PlanFacts:
    from pgdoctor.cli._mitigate_operations import fetch_plan

    return run_coroutine(fetch_plan(dsn, config))


def _ask_server(dsn: str, config: Config, pid: int, form: str) -> int:
    from pgdoctor.cli._mitigate_operations import judge_session

    facts = run_coroutine(judge_session(dsn, config, pid))
    if form == "json":
        write_json(encode_json(facts))
    else:
        click.echo(session_text(facts), nl=False)
    return 0


def _execute_plan(dsn: str, config: Config, most: int, pid: int | None, *, tell: bool) -> PlanFacts:
    """Carry out what may be done, and return the plan that is left."""
    from pgdoctor.agent.log import install_logging
    from pgdoctor.cli._mitigate_operations import execute_plan
    from pgdoctor.mitigation.plan import OnlySession

    install_logging()
    actions, plan, notes = run_coroutine(
        execute_plan(dsn, config, most, only=OnlySession(pid) if pid is not None else None)
    )
    if tell:
        for action in actions:
            click.echo(action_text(action))
    if pid is not None:
        decisions = tuple(each for each in plan.decisions if each.pid == pid)
        plan = msgspec.structs.replace(plan, decisions=decisions)
    return plan_facts(plan, config.mitigation.mode, actions, (), notes)
