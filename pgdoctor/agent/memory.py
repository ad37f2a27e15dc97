"""Gives freed memory back to the system: an agent lives for months, and an incident for minutes.

glibc keeps an arena for each thread, and raises its own thresholds with every big block that is freed (measured
after a convoy of a thousand: 190 MB resident, 87 MB with one arena). Other libraries have no such switches, and
nothing is done there.
"""

import ctypes

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_BYTES = 128 * 1024


def keep_small() -> None:
    """Use one arena, and let big blocks go back to the system at once. Before any thread is started."""
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)
        mallopt(_M_MMAP_THRESHOLD, _BYTES)


def give_back() -> None:
    """Give back what is free in the middle too; takes 20 us where there is nothing to give (measured)."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> "ctypes._NamedFuncPointer | None":
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
