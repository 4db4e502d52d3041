"""PURE: what samples come to, how sure that is, and whether two measurements differ.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13): the samples are drawn anew, with replacement, a few thousand
times, and the middle 95 % of what the drawn samples come to is the interval. A sample is
drawn with its weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ._figures import Figure, Statistic

__all__ = [
    "FEWEST",
    "Change",
    "Verdict",
    "change",
    "incomparable",
    "interval",
    "percentile",
    "value",
]

Verdict = Literal["better", "worse", "changed", "no difference shown", "cannot be compared"]

FEWEST: Final = 5  # samples; the spread of fewer says too little to tell a change from chance

_DRAWN: Final = 2_000  # times
_AT_ONCE: Final = 1 << 20  # numbers drawn at once, 8 MB each of samples, indices and weights
_TAIL: Final = 2.5  # % left out at each end

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two reports. What is not known is None."""

    suite: str
    case: str
    unit: str
    old: float | None
    new: float | None
    ratio: float | None  # the new value over the old
    low: float | None  # the ratio's 95 % interval
    high: float | None
    verdict: Verdict
    why: str = ""  # where it cannot be compared


def value(figure: Figure) -> float:
    """What the samples come to, by the figure's statistic; percentiles by nearest rank."""
    samples, per = _arrays(figure)
    return float(_values(samples[np.newaxis], per[np.newaxis], figure.statistic)[0])


def percentile(samples: tuple[float, ...], percent: float) -> float:
    """By nearest rank: always one of the samples."""
    return sorted(samples)[_rank(len(samples), percent)]


def interval(figure: Figure, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of the value; None for fewer than `FEWEST` samples."""
    if len(figure.samples) < FEWEST:
        return None
    low, high = np.percentile(_drawn(figure, np.random.default_rng(seed)), [_TAIL, 100 - _TAIL])
    return float(low), float(high)


def change(old: Figure, new: Figure, seed: int = 0) -> Change:
    """How a figure changed: both are drawn anew, and the ratios looked at.

    They are drawn independently; but together, sample by sample, where both are rates with the
    very same weights, as the error rates of two engines over the same words are (Bisani and
    Ney, "Bootstrap Estimates for Confidence Intervals in ASR Performance Evaluation", 2004).
    What makes one utterance harder than another is no difference between the two then.

    It is better, worse, or changed where neither direction is better, if the interval of
    the ratio excludes 1; else no difference is shown, which is not to say that there is none.
    """
    then, now = value(old), value(new)
    if why := _unlike(old, new):
        return _known(new, then, now, why)
    random = np.random.default_rng(seed)
    before = _drawn(old, random)
    paired = old.per is not None and old.per == new.per
    after = _drawn(new, np.random.default_rng(seed) if paired else random)
    if min(then, now, before.min(), after.min()) < 0:
        return _known(new, then, now, "what may be below zero has no ratio")
    ratios = _ratios(before, after)
    # One that was drawn, and nothing between two: between 1 and inf there is nothing.
    low = float(np.percentile(ratios, _TAIL, method="lower"))
    high = float(np.percentile(ratios, 100 - _TAIL, method="higher"))
    ratio = float(_ratios(np.array([then]), np.array([now]))[0])
    return Change(
        new.suite, new.case, new.unit, then, now, ratio, low, high, _verdict(new, low, high)
    )


def incomparable(old: Figure | None, new: Figure | None, why: str) -> Change:
    """A figure that is in one report only, or was measured under other conditions.

    Raises:
        ValueError: It is in neither.
    """
    figure = new or old
    if figure is None:
        raise ValueError("a figure of neither report")
    then, now = (None if each is None else value(each) for each in (old, new))
    return _known(figure, then, now, why)


def _known(figure: Figure, old: float | None, new: float | None, why: str) -> Change:
    return Change(
        figure.suite,
        figure.case,
        figure.unit,
        old,
        new,
        None,
        None,
        None,
        "cannot be compared",
        why,
    )


def _unlike(old: Figure, new: Figure) -> str:
    if old.unit != new.unit:
        return f"the unit was {old.unit or 'none'}, and is {new.unit or 'none'}"
    if old.statistic != new.statistic:
        return f"it was the {old.statistic}, and is the {new.statistic}"
    if min(len(old.samples), len(new.samples)) < FEWEST:
        return f"fewer than {FEWEST} samples"
    return ""


def _verdict(figure: Figure, low: float, high: float) -> Verdict:
    if low <= 1 <= high:
        return "no difference shown"
    if not figure.better:
        return "changed"
    return "better" if (high < 1) == (figure.better == "lower") else "worse"


def _ratios(old: _Array, new: _Array) -> _Array:
    """New over old; nothing over nothing is no change."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: _Array = new / old
    return np.where((old == 0) & (new == 0), 1.0, ratios)


def _drawn(figure: Figure, random: np.random.Generator) -> _Array:
    """The value of each of the drawn sets of samples."""
    return np.concatenate([*_blocks(figure, random)])


def _blocks(figure: Figure, random: np.random.Generator) -> Iterator[_Array]:
    samples, per = _arrays(figure)
    n = len(samples)
    rows = max(1, _AT_ONCE // n)
    for first in range(0, _DRAWN, rows):
        which = random.integers(0, n, (min(rows, _DRAWN - first), n))
        weights = per[which]
        # Nothing but weightless samples, as where nothing was said, have no ratio: none is drawn.
        kept = weights.sum(axis=1) > 0
        yield _values(samples[which][kept], weights[kept], figure.statistic)


def _arrays(figure: Figure) -> tuple[_Array, _Array]:
    samples = np.array(figure.samples, np.float64)
    return samples, np.ones_like(samples) if figure.per is None else np.array(figure.per)


def _values(samples: _Array, per: _Array, statistic: Statistic) -> _Array:
    """The value of each row."""
    found: _Array
    match statistic:
        case "mean":
            found = samples.mean(axis=1)
        case "max":
            found = samples.max(axis=1)
        case "ratio":
            found = samples.sum(axis=1) / per.sum(axis=1)
        case _:
            rank = _rank(samples.shape[1], float(statistic[1:]))
            found = np.partition(samples, rank, axis=1)[:, rank]
    return found


def _rank(n: int, percent: float) -> int:
    """Where, in n sorted samples, the nearest rank is (Hyndman and Fan, 1996, definition 1)."""
    # In whole numbers where they are whole: 0.95 * 20 is 19, and in floats it may be more.
    return max(0, ceil(n * percent / 100 - 1e-9) - 1)
