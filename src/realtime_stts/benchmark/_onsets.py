"""PURE: where there is sound in a recording.

A gate on the RMS of 10 ms, as voice benchmarks use it to leave out the silence with which
many voices begin: what counts is what can be heard, not that something has come. A moment
is exact to those 10 ms.
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData

__all__ = ["GATE", "first_sound", "last_sound", "spans_of_sound", "trimmed"]

GATE = 0.005  # RMS, full scale being 1.0: -46 dB, over a quiet room and under any speech
_FRAME = 0.01  # s

# A moment of a recording may be off by the rounding of a sample.
_TOLERANCE = 1e-6  # s


def spans_of_sound(audio: AudioData, pause: float = 0.5) -> list[tuple[float, float]]:
    """Start and end of each stretch of sound, in seconds, with pauses up to so long in it."""
    loud, frame = _loud(audio)
    if not loud.size:
        return []
    cuts = np.flatnonzero(np.diff(loud) * frame > pause + frame)
    return [
        (float(each[0]) * frame, float(each[-1] + 1) * frame) for each in np.split(loud, cuts + 1)
    ]


def first_sound(audio: AudioData, after: float = 0.0) -> float | None:
    """When there is sound for the first time from ``after`` on; None if there is none."""
    loud, frame = _loud(audio)
    found = loud[loud * frame >= after - _TOLERANCE]
    return float(found[0]) * frame if found.size else None


def last_sound(audio: AudioData, before: float = inf) -> float | None:
    """When the last sound up to ``before`` ends; None if there is none."""
    loud, frame = _loud(audio)
    found = loud[(loud + 1) * frame <= before + _TOLERANCE]
    return float(found[-1] + 1) * frame if found.size else None


def trimmed(audio: AudioData) -> AudioData:
    """Without the silence at both ends; all of it where there is no sound."""
    start, end = first_sound(audio), last_sound(audio)
    return audio.decoded() if start is None or end is None else audio.sliced(start, end)


def _loud(audio: AudioData) -> tuple[NDArray[np.intp], float]:
    """The numbers of the frames that have sound in them, and how long a frame is, in seconds."""
    samples = audio.mono().samples[:, 0]
    size = round(_FRAME * audio.sample_rate)
    padded = np.append(samples, np.zeros(-len(samples) % size, np.float32))
    levels = np.sqrt(np.square(padded.reshape(-1, size)).mean(axis=1))
    return np.flatnonzero(levels > GATE), size / audio.sample_rate
