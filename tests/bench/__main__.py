"""Measures the table of costs, or the parts of it that are named; a few other parts only if they are named.

Its status is 0 if all goals are met and, with --compare, no row is worse than before; otherwise 1.
"""

import pkgutil
import resource
import sys
from importlib import import_module
from pathlib import Path

import click
import msgspec

import tests.bench
from tests.bench.table import (
    Run,
    format_comparison,
    format_readings,
    has_missed,
    has_regressed,
    load_run,
    measure,
    save_run,
)

_MODULES = {
    name: import_module(f"tests.bench.{name}")
    for _, name, _ in pkgutil.iter_modules(tests.bench.__path__)
    if name != "__main__"
}

#: Parts whose rows make the table.
ROWS = {name: module.STAGES for name, module in _MODULES.items() if hasattr(module, "STAGES")}

#: Parts that show figures of their own, without goals.
OTHERS = {name: module.main for name, module in _MODULES.items() if hasattr(module, "main")}

#: Descriptors: a thousand clients, and their sockets on the other side.
_DESCRIPTORS = 8_192


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice((*ROWS, *OTHERS)))
@click.option("--compare", type=click.Path(path_type=Path), help="Compare with the rows that an earlier run wrote.")
@click.option("--of", "measured", type=click.Path(path_type=Path), help="Measure nothing: read the rows of this file.")
@click.option("--output", type=click.Path(path_type=Path), default="build/bench.json", help="Where the rows go.")
def main(parts: tuple[str, ...], compare: Path | None, measured: Path | None, output: Path) -> None:
    """Measure what pgdoctor costs, and compare it with its goals and with an earlier run."""
    _raise_descriptors()
    earlier = None if compare is None else _read_run(compare)
    if measured is not None:
        run = _read_run(measured)
    else:
        wanted = parts or ROWS
        run = measure({name: ROWS[name] for name in wanted if name in ROWS})
        save_run(run, output)
        for name in wanted:
            if name in OTHERS:
                OTHERS[name]()
    print(format_readings(run.readings))
    if earlier is not None:
        print(f"\n{format_comparison(earlier, run)}")
    sys.exit(has_missed(run) or (earlier is not None and has_regressed(earlier, run)))


def _read_run(path: Path) -> Run:
    try:
        return load_run(path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError:
        raise click.UsageError(f"{path} is not a run of this bench") from None


def _raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))


main()
