"""PURE: what a benchmark measures, as values: every sample is kept, and figures come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from ..audio import AudioData
from ..protocols import ManagedSTTEngine, ManagedTTSEngine

__all__ = ["Figure", "Job", "Statistic", "Utterance"]

Statistic = Literal["p50", "p95", "mean", "max", "ratio"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured.

    ``case`` is unique within its suite. ``per`` has one weight for each sample, for rates
    that are pooled: their value is ``sum(samples) / sum(per)``, as a word error rate is the
    errors of all utterances over the words of all.

    Raises:
        ValueError: There is no sample, or one is not finite; or the weights are not what the
            statistic wants: as many as samples, none below zero, and not all of them zero.
    """

    suite: str  # such as "stt"
    case: str  # such as "time to the final segment"
    unit: str  # "s", "ms", "us", "x", "%", or "" for a count
    samples: tuple[float, ...]  # one an utterance, a turn, or a round
    per: tuple[float, ...] | None = None  # with the statistic "ratio", and only with it
    statistic: Statistic = "p50"  # what the value is of the samples
    better: Literal["lower", "higher", ""] = "lower"  # "" where neither is
    note: str = ""  # what a reader has to know, in a few words

    def __post_init__(self) -> None:
        if not self.samples or not all(map(isfinite, self.samples)):
            raise ValueError(f"{self.suite}, {self.case}: samples are finite, and at least one")
        if (self.per is not None) != (self.statistic == "ratio"):
            raise ValueError(f"{self.suite}, {self.case}: a ratio, and only it, has weights")
        if self.per is not None and not _are_weights(self.per, len(self.samples)):
            raise ValueError(
                f"{self.suite}, {self.case}: one weight for each sample, none below 0, some above"
            )


def _are_weights(per: tuple[float, ...], n: int) -> bool:
    return len(per) == n and all(isfinite(each) and each >= 0 for each in per) and any(per)


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Something that is said, and what was meant."""

    name: str  # for messages: a file, or the number of a sentence
    text: str
    audio: AudioData


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """What to measure with. A suite loads and unloads the engines that it makes."""

    stt: Callable[[], ManagedSTTEngine]
    tts: Callable[[], ManagedTTSEngine]
    utterances: Sequence[Utterance]
    quick: bool  # whether less is measured: all suites together in under 3 minutes on 2 cores
    seed: int  # of whatever is random
    tell: Callable[[str], None]  # what is going on now, in a few words, for whoever waits
    language: str = "en"  # of the utterances, ISO 639-1
