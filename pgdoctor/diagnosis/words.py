"""Figures as people say them."""


def duration(seconds: float | None) -> str:
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


def count(number: float, thing: str) -> str:
    """`1 session`, `2,000 sessions`."""
    return f"{number:,.0f} {thing}{'' if number == 1 else 's'}"
