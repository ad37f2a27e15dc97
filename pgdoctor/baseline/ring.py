"""Samples of one signal at equal distances in time: so many, however long it goes on.

A sample's place follows from its time alone, so a new day overwrites the oldest one, and a gap (no poll) leaves
holes. Five bytes a sample: a server has six signals, an agent may have many servers.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

#: Beyond it a sample could not be kept.
_MOST = 1e38

#: Golden ratio: its multiples, without their whole part, are spread evenly over 0 to 1.
_GOLDEN = 0.6180339887498949

#: A number as it is kept in bytes, and how many these are.
_NUMBER: Final = "f"
_BYTES = 4

#: The same of earlier pgdoctors, whose samples are still read.
_WIDE_NUMBER: Final = "d"
_WIDE_BYTES = 8

_FORMAT = struct.Struct(_NUMBER)

_hole = memoryview(bytearray(_BYTES)).cast(_NUMBER)
_hole[0] = math.nan
_HOLE = bytes(_hole)


class RingSample(NamedTuple):
    """A value; `held`: it was unusual when it came, and is not learnt from without more ado."""

    value: float
    held: bool


class Ring(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """At most one sample in each `period` of seconds, of the last `size` of them."""

    period: float
    size: int
    values: bytes = b""
    held: bytes = b""
    #: The number, since 1970, of the period of the latest sample; None: there is none.
    last: int | None = None

    @property
    def is_sound(self) -> bool:
        """It may have come from a file."""
        return self.last is None or (len(self.values), len(self.held)) == (_BYTES * self.size, self.size)

    def narrowed(self) -> "Ring":
        """With samples as they are kept now, where an earlier pgdoctor has kept them with twice as many bytes."""
        if len(self.values) != _WIDE_BYTES * self.size:
            return self
        values = memoryview(bytearray(_BYTES * self.size)).cast(_NUMBER)
        for place, value in enumerate(memoryview(self.values).cast(_WIDE_NUMBER)):
            values[place] = value if math.isnan(value) else round_as_kept(value)
        return replace(self, values=bytes(values))

    def is_due(self, at: float) -> bool:
        """A sample is to be taken now, in Unix time: once a period, at a moment that wanders through it.

        Otherwise what runs at the full minute would be in every sample, or in none.
        """
        number = self._sample_number(at)
        if self.last is None or number != self.last + 1:
            # The first one, one that comes late, or the clock was set back.
            return number != self.last
        return at >= (number + number * _GOLDEN % 1.0) * self.period

    def add_sample(self, value: float, at: float, *, held: bool) -> "Ring":
        """With one more sample, in place of what is at its place."""
        number = self._sample_number(at)
        values, flags = self._cleared_until(number)
        place = number % self.size
        memoryview(values).cast(_NUMBER)[place] = round_as_kept(value)
        flags[place] = held
        return replace(self, values=bytes(values), held=bytes(flags), last=number)

    def iterate_samples(self, at: float, ages: Iterable[int]) -> Iterator[RingSample]:
        """Those of so many periods ago, where there are any."""
        if self.last is None:
            return
        number, values = self._sample_number(at), memoryview(self.values).cast(_NUMBER)
        for age in ages:
            place = (number - age) % self.size
            # The value at the place of an unfinished period is a whole round old.
            if number - age <= self.last and not math.isnan(value := values[place]):
                yield RingSample(value, bool(self.held[place]))

    def keep_ages(self, at: float, ages: range) -> "Ring":
        """With nothing but those of so many periods ago, learnt from now."""
        kept = replace(self, values=b"", held=b"", last=None)
        for age in reversed(ages):
            moment = (self._sample_number(at) - age) * self.period
            for sample in self.iterate_samples(at, [age]):
                kept = kept.add_sample(sample.value, moment, held=False)
        return kept

    def _sample_number(self, at: float) -> int:
        return math.floor(at / self.period)

    def _cleared_until(self, number: int) -> tuple[bytearray, bytearray]:
        """Values and flags, with holes for the periods without a poll."""
        if self.last is None or number - self.last >= self.size:
            return bytearray(_HOLE * self.size), bytearray(self.size)
        values, flags = bytearray(self.values), bytearray(self.held)
        for missed in range(self.last + 1, number):
            place = missed % self.size
            values[_BYTES * place : _BYTES * (place + 1)] = _HOLE
        return values, flags


def round_as_kept(value: float) -> float:
    """The number that is kept of a value."""
    kept: float = _FORMAT.unpack(_FORMAT.pack(min(max(value, -_MOST), _MOST)))[0]
    return kept
