"""PURE: what a pause detector tells of one piece of audio, as signals for the turn machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ._events import SpeechStarted, SpeechStopped, Voiced

__all__ = ["heard"]

_VOICED = 0.5  # probability from which a frame is speech


def heard(
    detection: Mapping[str, Any],
    duration: float,
    clock: float,
    wants_voicing: Callable[[], bool],
) -> Iterator[SpeechStarted | SpeechStopped | Voiced]:
    """Speech that started, stopped and went on, in order.

    A detector made for the contract tells of chunks and not of frames, and gives no times:
    then they are those of the chunk.

    Args:
        detection: What `PauseDetector.process_chunk` returned.
        duration: Seconds of the piece.
        clock: Where on the audio clock it ends.
        wants_voicing: Asked for each frame, as what comes before it may change the answer.
    """
    events = _events(detection, duration, clock)
    frames = detection.get("frames")
    if frames is None:
        yield from events
        if detection["is_speaking"] and not events:
            yield Voiced(clock, duration)
        return
    told = 0
    for start, end, probability in frames:
        if told < len(events) and events[told].decided <= end:
            yield events[told]
            told += 1
        elif probability >= _VOICED and wants_voicing():
            yield Voiced(end, end - start)
    yield from events[told:]


def _events(
    detection: Mapping[str, Any], duration: float, clock: float
) -> Sequence[SpeechStarted | SpeechStopped]:
    if "speech_events" in detection:
        timed: Sequence[SpeechStarted | SpeechStopped] = detection["speech_events"]
        return timed
    silence = detection.get("silence_duration_ms", 0) / 1000
    moments: dict[str, SpeechStarted | SpeechStopped] = {
        "speech_start": SpeechStarted(max(0.0, clock - duration), clock),
        "speech_end": SpeechStopped(max(0.0, clock - silence), clock),
    }
    return [moments[event] for event in detection["events"] if event in moments]
