"""How far a command has come, and roughly how long it will still take.

A phase reports what is done of what; the share of a phase in the whole command is our guess, so the time left is said
to be rough. Measured on 3,000,000 rows: a btree spent 41 to 58 % of its time reading the table and loaded the tree
from 53 to 70 % on; VACUUM with a third of the rows dead spent 27 % reading, VACUUM FULL 15 % where an index was slow.
The guesses lean to the longer side, and so does the time that the statement may have waited at its beginning.
"""

from pgdoctor.formatting import format_duration
from pgdoctor.model.snapshot import CommandProgress

#: Where in the whole command a phase begins and ends, as shares; only where a phase reports its total.
_PLACES = {
    ("CREATE INDEX", "scanning table"): (0.0, 0.5),
    ("CREATE INDEX", "loading tuples in tree"): (0.6, 1.0),
    ("CREATE INDEX", "building index"): (0.0, 0.5),
    ("CREATE INDEX", "building the partitions"): (0.0, 1.0),
    ("VACUUM", "scanning heap"): (0.0, 0.5),
    ("VACUUM", "vacuuming heap"): (0.8, 1.0),
    ("VACUUM FULL", "seq scanning heap"): (0.0, 0.3),
    ("CLUSTER", "seq scanning heap"): (0.0, 0.3),
    ("ANALYZE", "acquiring sample rows"): (0.0, 0.9),
    ("COPY FROM", "copying"): (0.0, 1.0),
    ("COPY TO", "copying"): (0.0, 1.0),
    ("base backup", "streaming database files"): (0.0, 0.9),
}

#: Below this share of the whole nothing is extrapolated.
_LEAST_SHARE = 0.02

#: From this share on, and with no more than so many seconds left, a command is let finish.
NEAR_SHARE = 0.8
NEAR_SECONDS = 60.0


def phase_share(progress: CommandProgress) -> float | None:
    """What is done of the present phase, 0 to 1; None where that is not known."""
    if progress.total <= 0:
        return None
    return min(max(progress.done / progress.total, 0.0), 1.0)


def done_share(progress: CommandProgress) -> float | None:
    """What is done of the whole command, by a guess; None where nothing is known to guess by."""
    place = _PLACES.get((progress.command, progress.phase))
    within = phase_share(progress)
    if place is None or within is None:
        return None
    begin, end = place
    return begin + (end - begin) * within


def seconds_left(progress: CommandProgress, elapsed: float | None) -> float | None:
    """Roughly how many seconds it will still take, `elapsed` seconds after it began; None where that is not known."""
    done = done_share(progress)
    if done is None or elapsed is None or done < _LEAST_SHARE:
        return None
    return elapsed * (1 - done) / done


def is_nearly_done(progress: CommandProgress, elapsed: float | None) -> bool:
    """It will be over sooner than it could be done again."""
    done, left = done_share(progress), seconds_left(progress, elapsed)
    return done is not None and left is not None and done >= NEAR_SHARE and left <= NEAR_SECONDS


def describe_progress(progress: CommandProgress, elapsed: float | None) -> str:
    """`CREATE INDEX: scanning table, 92 % (11,040 of 12,000), roughly 20 s left`."""
    within = phase_share(progress)
    if within is None:
        # Of a stream, COPY ... FROM STDIN or a base backup, only what has passed is known.
        passed = f", {progress.done:,} bytes so far" if progress.done else ""
        return f"{progress.command}: {progress.phase}{passed}"
    if progress.phase.startswith("waiting for"):
        return f"{progress.command}: {progress.phase}, {progress.done:,} of {progress.total:,} done"
    left = seconds_left(progress, elapsed)
    rough = f", roughly {format_duration(left)} left" if left is not None else ""
    done = f"{int(within * 100)} % ({progress.done:,} of {progress.total:,})"
    return f"{progress.command}: {progress.phase}, {done}{rough}"
