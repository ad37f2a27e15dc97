"""Figures as people say them."""


def format_duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; `an unknown time` for None."""
    if seconds is None:
        return "an unknown time"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, name, smaller, smaller_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            large, rest = divmod(whole, unit)
            return f"{large} {name} {rest // smaller} {smaller_name}"
    raise AssertionError(whole)


def duration_between(least: float | None, most: float | None) -> str:
    """`0.1 s to 6.2 s`; where `most` is None or looks the same, the other one alone."""
    shown = format_duration(least)
    return shown if most is None or format_duration(most) == shown else f"{shown} to {format_duration(most)}"


def format_count(number: float, thing: str) -> str:
    """`1 session`, `2,000 sessions`."""
    return f"{number:,.0f} {thing}{'' if number == 1 else 's'}"


def format_blockers(roots: int, deadlocks: int) -> str:
    """`2 root blockers`, `1 deadlock`, `1 root blocker and 1 deadlock`: sessions in a deadlock have no root."""
    named = [(roots, "root blocker"), (deadlocks, "deadlock")]
    return " and ".join(format_count(number, thing) for number, thing in named if number) or "0 root blockers"


def format_verb(number: float, verb: str) -> str:
    """The verb as its subject's number has it: `1 session waits`, `2 sessions wait`; `do` becomes `does`."""
    if number != 1:
        return verb
    if verb == "have":
        return "has"
    return f"{verb}es" if verb.endswith(("o", "s", "sh", "ch", "x")) else f"{verb}s"


#: Where a server listens by default.
DEFAULT_PORT = 5432

#: Bytes that a name has at most (NAMEDATALEN); longer texts come from elsewhere.
_LONGEST_NAME = 63


def format_name(text: str | None) -> str:
    """A name chosen by a user, fit for a line of text: no control or direction mark, not too long."""
    if text is None:
        return "?"
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:64])
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def format_address(host: str, port: object) -> str:
    """Where a server listens: `10.0.0.5:5432`, `[::1]:5432`, `/run/postgresql/.s.PGSQL.5432`."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in host)
    if shown.startswith(("/", "@")):
        return f"{shown}/.s.PGSQL.{port or DEFAULT_PORT}"
    return f"{f'[{shown}]' if ':' in shown else shown}:{port or DEFAULT_PORT}"


def format_client(application: str | None, user: str | None = None, address: str | None = None) -> str:
    """Who that is: `"checkout" (app from 10.0.0.5)`."""
    said = f'"{format_name(application)}"' if application else "an application without a name"
    origin = " from ".join(part for part in (user and format_name(user), address and format_name(address)) if part)
    return f"{said} ({origin})" if origin else said


def format_size(count_of_bytes: float) -> str:
    """`512 MB`, `1.5 GB`; units are powers of 1024, as in Postgres's settings."""
    for unit, letter in ((1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB")):
        if count_of_bytes >= unit:
            value = count_of_bytes / unit
            return f"{value:.1f} {letter}" if value < 9.95 else f"{value:,.0f} {letter}"
    return f"{count_of_bytes / 1024:,.0f} kB"
