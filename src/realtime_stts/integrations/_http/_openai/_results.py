"""PURE: transcriptions and errors in the words of OpenAI's API."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import log
from typing import Any, Final
from zlib import compress

from ....protocols import TranscriptionResult
from .._problems import Problem

__all__ = ["TextGrowth", "error_fields", "plain", "verbose"]

_SURE_ENOUGH: Final = 1e-6  # a probability of 0 has no logarithm

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def error_fields(problem: Problem, param: str | None = None) -> dict[str, Any]:
    """What stands under ``error``."""
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    detail = problem.detail
    if isinstance(detail, Mapping):
        detail = "; ".join(f"{path}: {wrong}" for path, wrong in detail.items())
    return {
        "message": detail,
        "type": _TYPES.get(problem.status, kind),
        "param": param,
        "code": problem.code,
    }


def plain(result: TranscriptionResult, seconds: float) -> dict[str, Any]:
    """``response_format=json``."""
    return {"text": result.text, "usage": _usage(seconds)}


def verbose(
    result: TranscriptionResult,
    seconds: float,
    granularities: Collection[str] = (),
    *,
    task: str = "transcribe",
) -> dict[str, Any]:
    """``response_format=verbose_json``.

    The language is a code, and not a name. What only Whisper's decoder knows is there,
    because clients want the fields: the logarithm is that of the segment's confidence.
    """
    answer: dict[str, Any] = {
        "task": task,
        "language": result.language,
        "duration": seconds,
        "text": result.text,
        "usage": _usage(seconds),
    }
    if "segment" in granularities or not granularities:
        answer["segments"] = [*_segments(result)]
    if "word" in granularities:
        answer["words"] = [
            {"word": word.text, "start": word.start, "end": word.end} for word in result.words
        ]
    return answer


class TextGrowth:
    """The pieces that a text grows by, as far as it is certain."""

    def __init__(self) -> None:
        self._told = ""

    def piece(self, text: str) -> str:
        """What is new in ``text``; nothing if it does not begin as what was told before."""
        if not text.startswith(self._told):
            return ""
        new, self._told = text[len(self._told) :], text
        return new


def _segments(result: TranscriptionResult) -> Iterator[dict[str, Any]]:
    for number, segment in enumerate(result.segments):
        data = segment.text.encode("utf-8", "replace")
        confidence = 1.0 if segment.confidence is None else segment.confidence
        yield {
            "id": number,
            "seek": 0,
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": log(max(confidence, _SURE_ENOUGH)),
            "compression_ratio": len(data) / len(compress(data)),  # as Whisper defines it
            "no_speech_prob": result.no_speech_probability or 0.0,
        }


def _usage(seconds: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(seconds, 3)}
