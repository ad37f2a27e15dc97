"""Gives freed memory back to the system: an agent lives for months, and an incident for minutes.

glibc keeps an arena for each thread, and raises its own thresholds with every big block that is freed (measured
after a convoy of a thousand: 190 MB resident, 87 MB with one arena). Other libraries have no such switches, and
nothing is done there.
"""

import ctypes
from pathlib import Path

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_BYTES = 128 * 1024

# From mman.h.
_MADV_DONTNEED = 4

_MAPS = Path("/proc/self/maps")


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


def unmap_program() -> None:
    """Unmap the program's own code; what is still needed comes back from the page cache, a fault for 64 KB.

    Most of it was run once, by the start: of 20 MB that are mapped then, 7 are never touched again (measured).
    Only code, which nobody writes to: data that the loader has changed would be lost.
    """
    madvise = _of_libc("madvise")
    if madvise is None or not _MAPS.exists():
        return
    for line in _MAPS.read_text().splitlines():
        addresses, permissions, _, _, inode, *_ = line.split()
        if permissions == "r-xp" and inode != "0":
            begin, end = (int(each, 16) for each in addresses.split("-"))
            madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def _of_libc(name: str) -> "ctypes._NamedFuncPointer | None":
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
