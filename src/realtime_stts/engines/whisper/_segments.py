"""PURE: a window's tokens become segments, and say where the next window begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Piece", "Slices", "slice_tokens"]

_FRAMES_PER_SECOND: Final = 100
_POSITION: Final = 0.02  # s between two times that the model can tell
_FRAMES_PER_POSITION: Final = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment; times count from the window's beginning."""

    start: float
    end: float
    tokens: tuple[int, ...]  # with their times


@dataclass(frozen=True, slots=True)
class Slices:
    """A window's segments.

    Attributes:
        n_read: Frames after which the next window begins.
        ends: Whether the last time says that nothing more was said.
    """

    pieces: tuple[Piece, ...]
    n_read: int
    ends: bool


def slice_tokens(tokens: Sequence[int], timestamp_begin: int, n_frames: int) -> Slices:
    """Cut a window's tokens where two times meet.

    A segment that the window cuts off has no end, and is left to the next window, unless it
    is the only one.

    Args:
        tokens: Without the end of text.
        timestamp_begin: The token of 0.00 seconds; those after it are later times.
        n_frames: Of the window, that hold sound.
    """
    is_time = [token >= timestamp_begin for token in tokens]
    ends = is_time[-2:] == [False, True]
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    if cuts:
        if ends:
            cuts.append(len(tokens))
        pieces = tuple(
            Piece(
                (tokens[first] - timestamp_begin) * _POSITION,
                (tokens[last - 1] - timestamp_begin) * _POSITION,
                tuple(tokens[first:last]),
            )
            for first, last in zip([0, *cuts], cuts, strict=False)
        )
        read = (tokens[cuts[-1] - 1] - timestamp_begin) * _FRAMES_PER_POSITION
        return Slices(pieces, n_frames if ends else read, ends)
    times = [token - timestamp_begin for token in tokens if token >= timestamp_begin]
    end = times[-1] * _POSITION if times and times[-1] > 0 else n_frames / _FRAMES_PER_SECOND
    return Slices((Piece(0.0, end, tuple(tokens)),), n_frames, ends)
