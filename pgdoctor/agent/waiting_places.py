"""Connections that wait for their clients, in an order that gives the next one to close at once.

In a flood the server closes a connection for each one that it accepts. A sort of a thousand connections took 1.2 ms of
CPU each time, more than all other work on a connection together.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingPlaces(Generic[T]):
    """Places by the address of their client, and addresses by the number of their places."""

    def __init__(self) -> None:
        self._places: dict[str, OrderedDict[T, None]] = {}
        self._addresses: dict[int, OrderedDict[str, None]] = {}
        #: Places of the address that has the most.
        self._most = 0

    def add(self, address: str, place: T) -> None:
        """Put a place behind all others of its address. It must not be here yet."""
        places = self._places.setdefault(address, OrderedDict())
        places[place] = None
        self._change_count(address, len(places) - 1, len(places))

    def remove(self, address: str, place: T) -> None:
        """Forget a place. Nothing changes where it is not here."""
        places = self._places.get(address)
        if places is None or place not in places:
            return
        del places[place]
        self._change_count(address, len(places) + 1, len(places))
        if not places:
            del self._places[address]

    def find_oldest(self) -> T | None:
        """The first place of the address that has the most places; None where there is no place."""
        if not self._most:
            return None
        address = next(iter(self._addresses[self._most]))
        return next(iter(self._places[address]))

    def has_most(self, address: str) -> bool:
        """Whether no address would have more places than this one, if it had one more."""
        return len(self._places.get(address, ())) + 1 >= self._most

    def _change_count(self, address: str, before: int, now: int) -> None:
        """Move an address. Its count changes by one, so the largest count does too, or not at all."""
        if before:
            del self._addresses[before][address]
        if now:
            self._addresses.setdefault(now, OrderedDict())[address] = None
        if now > self._most or not self._addresses[self._most]:
            self._most = now
