"""What is usual for one signal, learnt from what it was; and how unusual a value is.

The score is the modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle Outliers", 1993), of which they
take 3.5 for an outlier: 0.6745 * (value - median) / MAD, where MAD is the median distance from the median. Only
upwards, for what the signals count does no harm by being few; and with a floor under MAD / 0.6745, for most signals
are constant at most times.

Usual are the values of this time of day (UTC), half an hour more or less, in the last 28 days, once three days are
known. Until then they are those of the last 24 hours, once there are fifteen samples. Before that the score is 0. The
values of a whole day differ between night and noon, so their spread is at least the one that puts the ninth decile
where a normal distribution has it. Samples are single values and not means, because the judged value is one too.

Nothing is learnt while the caller says so (an incident), nor at once from a value that is itself unusual: its sample
is held. Held samples count in two cases. If a time of day was unusual on three days or more, the samples held on those
days are usual at that time, as for a nightly batch or the weekend. They must have lasted (two samples of that time), or
come on half of all days. Single peaks fall on the same hour by chance: with one peak in fifty values they counted as
usual 44 % of the time before that condition was added (`test_single_peaks_are_never_what_is_usual`). And once nine in
ten samples of six hours are held, and no hour consists of an incident alone, they are the new level, as after a
deployment. The old level is forgotten then.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from pgdoctor.baseline.median import compute_median
from pgdoctor.baseline.ring import Ring, RingSample, round_as_kept
from pgdoctor.model.anomaly_signals import Floor, Usual

#: The score from which on a value is unusual.
UNUSUAL = 3.5

_MINUTE, _QUARTER, _HOUR, _DAY = 60.0, 900.0, 3_600.0, 86_400.0
_DAYS = 28

#: Samples of the last day, one a minute, and how many of them are enough.
_RECENT = round(_DAY / _MINUTE)
_ENOUGH = 15

#: Samples of a day, one a quarter of an hour; those before and after this one that are of the same time of day.
_A_DAY = round(_DAY / _QUARTER)
_NEIGHBOURS = 2
#: Days that are enough to know a time of day, and to know that something always comes then.
_ENOUGH_DAYS = 3
#: Samples of one time of one day that are no single peak.
_NO_PEAK = 2

#: For how long, and in what share of its samples, an unusual level has to stay to be the new one.
_NEW_LEVEL_HOURS = 6
_NEW_LEVEL_SHARE = 0.9

#: The MAD of a normal distribution, and the distance of its ninth decile from the median, in standard deviations.
_MAD = 0.6745
_NINTH_DECILE = 1.2816


class Baseline(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """All that is known of one signal of one server: 21 kB, however long it goes on."""

    recent: Ring = Ring(_MINUTE, _RECENT)
    days: Ring = Ring(_QUARTER, _A_DAY * _DAYS)
    #: None: not enough is known.
    usual: Usual | None = None
    #: The quarter of an hour for which `usual` was worked out.
    quarter: int | None = None

    def score(self, value: float) -> float:
        """How unusual a value is now: 0 to HIGHEST; 0 while not enough is known, and for a value that is none."""
        return self.usual.score(round_as_kept(value)) if self.usual is not None and math.isfinite(value) else 0.0

    def observe(self, value: float, at: float, floor: Floor, *, learning: bool = True) -> "Baseline":
        """After one more value, at a moment in Unix time. Cheap: but once a minute nothing is to be done."""
        known, quarter = self, math.floor(at / _QUARTER)
        if learning and math.isfinite(value) and self.recent.is_due(at):
            known = self._with_sample(value, at)
        if known is self and quarter == self.quarter:
            return self
        usual = known._compute_usual(at, floor)
        if usual is None and not learning:
            # However long the incident takes, it is judged by what was before.
            usual = self.usual
        return replace(known, usual=usual, quarter=quarter)

    def narrowed(self) -> "Baseline":
        """With samples as they are kept now, where an earlier pgdoctor has stored them."""
        return replace(self, recent=self.recent.narrowed(), days=self.days.narrowed())

    @property
    def is_sound(self) -> bool:
        """It may have come from a file."""
        sizes = [(ring.period, ring.size) for ring in (self.recent, self.days)]
        own = [(ring.period, ring.size) for ring in (Baseline().recent, Baseline().days)]
        numbers = (self.usual.median, self.usual.spread) if self.usual else (0.0, 1.0)
        return (
            sizes == own
            and self.recent.is_sound
            and self.days.is_sound
            and all(map(math.isfinite, numbers))
            and numbers[1] > 0.0
        )

    def _with_sample(self, value: float, at: float) -> "Baseline":
        held = self.score(value) >= UNUSUAL
        days = self.days.add_sample(value, at, held=held) if self.days.is_due(at) else self.days
        known = replace(self, recent=self.recent.add_sample(value, at, held=held), days=days)
        return known._rebase_level(at) if held and known._has_new_level(at) else known

    def _has_new_level(self, at: float) -> bool:
        an_hour = round(_HOUR / _MINUTE)
        hours = [
            [sample.held for sample in self.recent.iterate_samples(at, range(hour * an_hour, (hour + 1) * an_hour))]
            for hour in range(_NEW_LEVEL_HOURS)
        ]
        held = [each for hour in hours for each in hour]
        return all(hours) and sum(held) >= _NEW_LEVEL_SHARE * len(held)

    def _rebase_level(self, at: float) -> "Baseline":
        recent = self.recent.keep_ages(at, range(_NEW_LEVEL_HOURS * round(_HOUR / _MINUTE)))
        by_the_hour = self.usual is not None and self.usual.at_this_hour
        return replace(self, recent=recent, days=Baseline().days if by_the_hour else self.days)

    def _compute_usual(self, at: float, floor: Floor) -> Usual | None:
        days = self._at_this_hour(at)
        if len(days) >= _ENOUGH_DAYS:
            values = [value for day in days for value in day]
            median, spread = _compute_middle(values)
            return Usual(median, max(spread, floor.compute_floor(median)), at_this_hour=True)
        learnt = _select_values(self.recent.iterate_samples(at, range(_RECENT)), held=False)
        if len(learnt) < _ENOUGH:
            return None
        median, spread = _compute_middle(learnt)
        ninth_decile = sorted(learnt)[len(learnt) * 9 // 10]
        return Usual(
            median,
            max(spread, (ninth_decile - median) / _NINTH_DECILE, floor.compute_floor(median)),
            at_this_hour=False,
        )

    def _at_this_hour(self, at: float) -> list[list[float]]:
        """The values of this time of day, by the days on which there were any."""
        ages = (range(day * _A_DAY - _NEIGHBOURS, day * _A_DAY + _NEIGHBOURS + 1) for day in range(1, _DAYS))
        days = [list(self.days.iterate_samples(at, around)) for around in ages]
        learnt, held = (
            list(filter(None, (_select_values(day, held=which) for day in days))) for which in (False, True)
        )
        if len(held) < _ENOUGH_DAYS or not _comes_back(days, level=min(map(min, held))):
            return learnt
        # Only high values score, so the held samples are the upper of two levels: values below are not unusual either.
        return held


def _comes_back(days: Iterable[Sequence[RingSample]], level: float) -> bool:
    """Whether values from that level on are more than single peaks; by what is usual now they need not be held."""
    found = [sum(sample.value >= level for sample in day) for day in days if day]
    lasting, at_all = (sum(number >= least for number in found) for least in (_NO_PEAK, 1))
    return lasting >= _ENOUGH_DAYS or 2 * at_all >= len(found)


def _select_values(samples: Iterable[RingSample], *, held: bool) -> list[float]:
    return [sample.value for sample in samples if sample.held == held]


def _compute_middle(values: Sequence[float]) -> tuple[float, float]:
    """Median and spread."""
    median = compute_median(values)
    return median, compute_median(abs(value - median) for value in values) / _MAD
