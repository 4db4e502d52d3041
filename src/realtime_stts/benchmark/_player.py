"""PURE: how a player fares with sound that arrives in chunks."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Arrival", "longest_gap", "underruns"]

Arrival = tuple[float, float]  # when a chunk is there, and how long it lasts, in seconds

_INAUDIBLE = 0.001  # s; a shorter gap is a click at most, and less than clocks agree upon


def longest_gap(arrivals: Sequence[Arrival]) -> float:
    """The longest wait between two chunks, in seconds; 0 for one chunk."""
    times = [at for at, _ in arrivals]
    return max((b - a for a, b in zip(times, times[1:])), default=0.0)  # noqa: B905, RUF007


def underruns(arrivals: Sequence[Arrival], buffer: float = 0.0) -> int:
    """How often a player falls silent before the end.

    It begins once so many seconds of sound are there, or all there are. When it has nothing
    left it waits until it has as many again, so that one delay is one gap that is heard.

    Args:
        arrivals: The chunks in their order.
        buffer: Seconds of sound; 0 to begin with the first chunk.
    """
    gaps, played, there = 0, 0.0, 0.0  # played: when all that is there will have been
    playing, begun = False, False
    for at, seconds in arrivals:
        if playing and at > played + _INAUDIBLE:
            playing, gaps, there = False, gaps + 1, 0.0
        there += seconds
        if playing:
            played += seconds
        elif there >= buffer:
            playing, begun = True, True
            played = at + there
    return gaps if begun else 0
