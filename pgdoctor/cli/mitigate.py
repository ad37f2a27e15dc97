"""`pgdoctor mitigate`: what the rules allow to be done right now, and with `--execute` the doing of it."""

import asyncio

import click
import msgspec

from pgdoctor.cli._options import DEADLINE, dsn_option, run
from pgdoctor.config import Config, load
from pgdoctor.errors import UsageError
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.render.plan import PlanFacts, action_text, plan_facts, plan_text

#: Seconds between two looks; a session is judged when it was the same in `min_samples` of them.
_PAUSE = 0.2


@click.command()
@click.option("--config", metavar="FILE", envvar="PGDOCTOR_CONFIG", help="The pgdoctor.toml with the rules.")
@dsn_option
@click.option("--execute", is_flag=True, help='Carry the plan out; the configuration has to say mode = "enforce" too.')
@click.option("--most", default=10, show_default=True, type=click.IntRange(1), help="End after so many actions.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def command(config: str | None, dsn: str, execute: bool, most: int, form: str) -> int:
    """Show what the rules allow to be done about each blocker, and what speaks against it.

    With --execute the plan is carried out: one action, a new look, until nothing is left that may be done. Each
    action is told on stderr in JSON, before and after. Exits with 1 where an action released nobody.
    """
    whole = load(config)
    settings = whole.mitigation
    if execute:
        _refuse_unless_armed(config, settings)
        facts = run(_execute(dsn, whole, most, tell=form == "table"))
    else:
        facts = run(_show(dsn, settings))
    if form == "json":
        click.echo(msgspec.json.encode(facts).decode())
    else:
        if not settings.rules:
            click.echo(f"No rule allows anything to be done: {_no_rules(config)}.\n")
        click.echo(plan_text(facts), nl=False)
    return int(any(action.outcome not in ("released", "gone") for action in facts.actions))


def _refuse_unless_armed(config: str | None, settings: Mitigation) -> None:
    if not settings.rules:
        raise UsageError(f"--execute has nothing to go by: {_no_rules(config)}")
    if settings.mode != "enforce":
        raise UsageError(f'--execute needs mode = "enforce" under [mitigation] in {config}; it is "{settings.mode}"')


def _no_rules(config: str | None) -> str:
    if config is None:
        return "there is no configuration (--config FILE; see: pgdoctor config init)"
    return f"{config} has no [[mitigation.rules]]"


async def _show(dsn: str, settings: Mitigation) -> PlanFacts:
    """The plan after so many looks as the settings ask for."""
    from pgdoctor.diagnosis.remedy import cuts
    from pgdoctor.mitigation.execute import Mitigator
    from pgdoctor.postgres.collect import Collector
    from pgdoctor.postgres.door import Door
    from pgdoctor.postgres.watch import Watch

    mitigator = Mitigator(msgspec.structs.replace(settings, mode="observe"))
    async with await Door.open(dsn, DEADLINE) as door:
        watch = Watch(Collector(door))
        for look in range(settings.min_samples if settings.rules else 1):
            await asyncio.sleep(_PAUSE if look else 0)
            diagnosis = await watch.look()
            await mitigator.consider(diagnosis, door)
    return plan_facts(mitigator.plan, settings.mode, (), cuts(diagnosis.blockers, diagnosis.graph))


async def _execute(dsn: str, config: Config, most: int, *, tell: bool) -> PlanFacts:
    """Carry out what may be done, and return the plan that is left."""
    from pgdoctor.agent.log import install
    from pgdoctor.journal.keeper import Keeper
    from pgdoctor.mitigation.execute import Mitigator, carry_out
    from pgdoctor.postgres.door import Door

    install()
    keeper, actions = Keeper(config.journal.file), list[Action]()
    mitigator = Mitigator(config.mitigation, keeper)
    async with await Door.open(dsn, DEADLINE) as door:
        async for action in carry_out(mitigator, door, most=most):
            actions.append(action)
            if tell:
                click.echo(action_text(action))
    keeper.close()
    return plan_facts(mitigator.plan, config.mitigation.mode, actions, ())
