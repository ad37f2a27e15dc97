"""Runs the parts that are named, or all."""

import resource
import sys
from importlib import import_module

PARTS = ("rest", "storm", "peak", "delay", "trips", "races", "leaders", "thresholds")

#: Descriptors: a thousand clients, and their sockets on the other side.
_DESCRIPTORS = 8_192


def main(wanted: list[str]) -> int:
    if unknown := [name for name in wanted if name not in PARTS]:
        print(f"error: no part {unknown[0]!r}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))
    for name in wanted or PARTS:
        import_module(f"tests.bench.{name}").main()
    return 0


sys.exit(main(sys.argv[1:]))
