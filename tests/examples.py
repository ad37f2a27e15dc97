"""How many examples Hypothesis tries: `make quick` tries a quarter of those that `make test` tries."""

from hypothesis import settings

_USUAL_EXAMPLES = 100


def scale_count(count: int) -> int:
    """Return so many, or a quarter of them in a quick run; at least one."""
    return max(1, count * settings.default.max_examples // _USUAL_EXAMPLES)


def examples(count: int) -> settings:
    """Return settings for a test that tries so many examples, or a quarter of them in a quick run."""
    return settings(max_examples=scale_count(count))
