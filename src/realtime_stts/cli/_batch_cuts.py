"""PURE: where a long recording is cut, and its parts' texts as one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._captions import srt, vtt
from .._scripts import UNSPACED
from ..protocols import TranscriptionResult, TranscriptionSegment

__all__ = ["joined", "quietest", "rendered"]

_FRAME: Final = 0.01  # s
_AROUND: Final = 21  # frames, a fifth of a second: a stop consonant is no pause
_UNSPACED: Final = re.compile(f"[{UNSPACED}]")


def quietest(samples: NDArray[np.int16], sample_rate: int) -> int:
    """Where it is quietest, over a fifth of a second; in samples, the first of equals.

    Args:
        samples: Of shape (n,), at least a fifth of a second.
    """
    frame = round(_FRAME * sample_rate)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float32)
    around = np.ones(_AROUND, np.float32) / _AROUND
    loudness = np.convolve(np.square(frames).mean(axis=1), around, mode="valid")
    return (int(loudness.argmin()) + _AROUND // 2) * frame


def joined(
    parts: Sequence[tuple[float, float, TranscriptionResult]],
) -> TranscriptionResult:
    """One result of several, by the start and end of what each is of, in order.

    A part's text without times has those of the part. The language is the first that is
    told of, and the confidence the mean of those that are known, by their parts' length.
    """
    if len(parts) == 1 and parts[0][0] == 0.0:
        return parts[0][2]
    text = ""
    moved = [(end - start, result.shifted(start)) for start, end, result in parts]
    for _, result in moved:
        said = result.text.strip()
        tight = text and said and _UNSPACED.match(text[-1]) and _UNSPACED.match(said)
        text += said if tight or not text or not said else f" {said}"
    sure = [(lasts, each.confidence) for lasts, each in moved if each.confidence is not None]
    segments = [
        segment
        for (start, end, _), (_, result) in zip(parts, moved, strict=True)
        for segment in result.segments or _whole(result, start, end)
    ]
    return TranscriptionResult(
        text,
        next((each.language for _, each in moved if each.language), ""),
        segments,
        confidence=_mean(sure),
        words=[word for _, each in moved for word in each.words],
    )


def _whole(result: TranscriptionResult, start: float, end: float) -> list[TranscriptionSegment]:
    text = result.text.strip()
    if not text:
        return []
    if result.words:
        start, end = result.words[0].start, result.words[-1].end
    return [TranscriptionSegment(text, start, end, result.confidence)]


def _mean(weighted: Sequence[tuple[float, float]]) -> float | None:
    total = sum(weight for weight, _ in weighted)
    return sum(weight * value for weight, value in weighted) / total if total else None


def rendered(result: TranscriptionResult, format: str, about: dict[str, Any]) -> str:
    """A file's content.

    Args:
        about: What else the ``json`` says of the file; ``duration``, in seconds of sound,
            among it.
    """
    match format:
        case "txt":
            return f"{result.text}\n"
        case "srt":
            return srt(result, about["duration"])
        case "vtt":
            return vtt(result, about["duration"])
        case _:
            return _json(result, about)


def _json(result: TranscriptionResult, about: dict[str, Any]) -> str:
    fields = {
        "text": result.text,
        "language": result.language,
        "confidence": result.confidence,
        **about,
        "segments": [asdict(segment) for segment in result.segments],
        "words": [asdict(word) for word in result.words],
    }
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"
