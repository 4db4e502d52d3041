"""What a benchmark measures with, and what it hands back.

A benchmark is a module ``bench_NAME.py`` with ``run() -> list[Row]``. It first checks
that both sides give the same answer (`Row.equal`), then lets them take turns, so that a
busy moment of the machine hits both:

    def run() -> list[Row]:
        equal = ours(clip) == theirs(clip)
        return [
            compare("one clip", timed(lambda: ours(clip)), timed(lambda: theirs(clip)), equal=equal)
        ]
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio

from realtime_stts.benchmark._machine import machine

__all__ = [
    "Round",
    "Row",
    "Sample",
    "compare",
    "interleaved",
    "machine",
    "table",
    "timed",
    "timed_async",
    "write",
]

Round = Callable[[], float]  # one round: does the work and returns its figure


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one side's rounds."""

    median: float
    min: float
    n: int  # rounds

    @classmethod
    def of(cls, figures: Sequence[float]) -> Sample:
        return cls(median(figures), min(figures), len(figures))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report. ``ours`` and ``peer`` are medians over ``n`` rounds."""

    case: str
    ours: float
    unit: str
    peer: float | None = None  # None: nothing to compare with
    equal: bool = True  # the equality gate: both sides gave the same answer
    n: int = 1
    ours_min: float | None = None
    peer_min: float | None = None

    @classmethod
    def of(
        cls,
        case: str,
        ours: Sample,
        peer: Sample | None = None,
        *,
        unit: str = "us",
        equal: bool = True,
    ) -> Row:
        """A row of samples measured together by `interleaved`."""
        return cls(
            case=case,
            ours=ours.median,
            unit=unit,
            peer=peer and peer.median,
            equal=equal,
            n=ours.n,
            ours_min=ours.min,
            peer_min=peer and peer.min,
        )

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's: below 1.0, ours is the smaller figure."""
        return self.ours / self.peer if self.peer else None


def interleaved(*sides: Round, rounds: int = 9) -> list[Sample]:
    """Run the sides in turn, ``rounds`` times; there and back, so that none always leads.

    One unmeasured round of each comes first. The garbage collector is held off within a
    round and runs between two.
    """
    figures: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    order = list(range(len(sides)))
    enabled = gc.isenabled()
    for _ in range(rounds):
        for index in order:
            gc.collect()
            gc.disable()
            try:
                figures[index].append(sides[index]())
            finally:
                if enabled:
                    gc.enable()
        order.reverse()
    return [Sample.of(of_side) for of_side in figures]


def compare(
    case: str,
    ours: Round,
    peer: Round | None = None,
    *,
    unit: str = "us",
    equal: bool = True,
    rounds: int = 9,
) -> Row:
    """Measure ours and the peer in alternating rounds."""
    samples = interleaved(*([ours, peer] if peer else [ours]), rounds=rounds)
    return Row.of(case, *samples, unit=unit, equal=equal)


def timed(function: Callable[[], object], number: int = 1, *, scale: float = 1e6) -> Round:
    """A round of ``number`` calls; its figure is the time of one, in us unless scaled."""

    def round_() -> float:
        start = perf_counter()
        for _ in range(number):
            function()
        return (perf_counter() - start) / number * scale

    return round_


def timed_async(
    function: Callable[[], Awaitable[object]], number: int = 1, *, scale: float = 1e6
) -> Round:
    """The same for a coroutine function. Starting the event loop is not counted."""

    async def calls() -> float:
        start = perf_counter()
        for _ in range(number):
            await function()
        return (perf_counter() - start) / number * scale

    return lambda: anyio.run(calls)


def table(rows: Sequence[Row]) -> str:
    """The rows as plain text, figures aligned."""
    lines = [("case", "ours", "peer", "unit", "ours/peer", "equal", "n")]
    lines += [
        (
            row.case,
            _figure(row.ours),
            _figure(row.peer),
            row.unit,
            _figure(row.ratio),
            "yes" if row.equal else "NO",
            str(row.n),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = (0, 3)  # case and unit are words; the rest are figures
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _figure(value: float | None) -> str:
    """Three significant digits, all of them when there are more before the point."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def write(name: str, rows: Sequence[Row], folder: Path) -> Path:
    """Write ``folder/NAME.json``: the old file or the whole new one, never half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "benchmark": name,
        "machine": machine(),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }
    target = folder / f"{name}.json"
    partial = folder / f".{name}-{os.getpid()}.partial"
    try:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
