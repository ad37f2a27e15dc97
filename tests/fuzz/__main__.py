"""`python -m tests.fuzz`: all entry points, each in a process of its own, and a table of what came of it."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.fuzz.running import SHARES, summary, tried
from tests.fuzz.trial import Trial

_MOST_SHOWN = 40


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="texts in all")
    parser.add_argument("--only", choices=tuple(SHARES), action="append", help="this entry point, with all the texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first text")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    shares = dict.fromkeys(given.only, 1 / len(given.only)) if given.only else SHARES
    counts = {name: max(round(share * given.count), 1) for name, share in shares.items()}
    # Those that take longest first.
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {name: pool.submit(tried, name, count, given.seed, given.first) for name, count in counts.items()}
        trials: list[tuple[str, Trial]] = []
        for name, future in running.items():
            trials.append((name, future.result()))
            print(summary(trials[-1:]), file=sys.stderr)
    failures = [(name, each) for name, trial in trials for each in trial.failures]
    for name, each in failures[:_MOST_SHOWN]:
        print(f"{name} {each}")
    print(summary(trials))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
