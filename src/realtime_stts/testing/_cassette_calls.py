"""PURE: recorded calls as values, and as lines of JSON.

A cassette's file is ASCII text. The first line is ``{"cassette": "realtime-stts",
"version": 1}``; each line after it is one call, in the order in which they began:

``kind``, ``streamed``, ``engine``
    ``stt``, ``tts`` or ``response``; by which method; and the engine's name.
``request``
    ``text`` and ``voice_config`` of a TTS call, ``text`` and ``history`` of a response,
    ``language`` of an STT call.
``sketches``, ``seconds``, ``heard_all``
    What an STT call heard (see `Sketcher`), how long it was, and whether its end was heard.
``results``
    Each has a ``value`` and came ``after`` so many seconds since the call began; of a
    stream of audio also ``lag`` seconds after ``heard`` seconds of it had come, or all of
    it where ``heard`` is null. Audio is ``{"data", "sample_rate", "channels", "format"}``,
    the data in Base64.
``ending``
    ``how``: ``completed``, ``cancelled`` or ``error``, and when, as above. Of an error also
    ``error`` (its type), ``engine`` (of an `EngineError`) and ``text``.
"""

from __future__ import annotations

import builtins
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from typing_extensions import Self

from .. import errors
from ..audio import AudioData
from ..conversation import Uninterruptible
from ..errors import EngineError, EngineLoadError
from ..middleware._context import outcome
from ..protocols import (
    ConversationContext,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from ._sketch import Sketch

__all__ = [
    "Ending",
    "Kind",
    "Moment",
    "RecordedCall",
    "Result",
    "decoded",
    "encoded",
    "response_request",
    "stt_request",
    "tts_request",
]

Kind = Literal["stt", "tts", "response"]

_FORMAT: Final = "realtime-stts"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened in a call."""

    after: float = 0.0  # s since the call began; of a stream of audio also
    lag: float = 0.0  # s since
    heard: float | None = None  # s of it had come; None for all of it


@dataclass(frozen=True, slots=True)
class Result:
    """Something that a call gave."""

    value: Any
    moment: Moment


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended."""

    moment: Moment = Moment()
    how: Literal["completed", "cancelled", "error"] = "cancelled"
    error: str | None = None  # its type
    engine: str | None = None  # that an `EngineError` names
    text: str = ""

    @classmethod
    def of(cls, error: BaseException | None, moment: Moment) -> Self:
        how = outcome(error)
        if how != "error":
            return cls(moment, "completed" if error is None else "cancelled")
        kind = type(error).__name__
        if isinstance(error, EngineError):
            return cls(moment, "error", kind, error.engine, error.message)
        return cls(moment, "error", kind, None, str(error))

    def exception(self) -> Exception:
        """A new error like the one that was raised.

        It is of the same type where that is this library's or Python's own and needs no
        more than a text; otherwise it is an `EngineError`.
        """
        name = self.error or ""
        if self.engine is not None:
            engine_error = EngineLoadError if name == "EngineLoadError" else EngineError
            return engine_error(self.engine, self.text)
        kind = getattr(errors, name, None) or getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with suppress(TypeError):  # it needs more
                return kind(self.text)
        return EngineError("recorded", f"{name}: {self.text}")


@dataclass(slots=True, eq=False)
class RecordedCall:
    """One call of an engine. One that was never seen to end counts as cancelled."""

    kind: Kind
    streamed: bool
    engine: str
    request: dict[str, Any]
    sketches: list[Sketch] = field(default_factory=list)  # of the audio it heard
    seconds: float = 0.0  # of audio
    heard_all: bool = False  # of the audio
    results: list[Result] = field(default_factory=list)
    ending: Ending = Ending()


def stt_request(language: str | None) -> dict[str, Any]:
    """What tells a call of STT from others, besides what it hears."""
    return {"language": language}


def tts_request(text: str, voice_config: Mapping[str, Any]) -> dict[str, Any]:
    # What JSON cannot hold is another engine's, or a secret: its type will do.
    plain = json.dumps(voice_config, default=lambda value: f"<{type(value).__name__}>")
    return {"text": text, "voice_config": json.loads(plain)}


def response_request(
    transcription: TranscriptionResult, context: ConversationContext
) -> dict[str, Any]:
    history = [[exchange.user, exchange.heard] for exchange in context.history]
    return {"text": transcription.text, "history": history}


# -- as text -----------------------------------------------------------------------------


def encoded(calls: Iterable[RecordedCall]) -> Iterator[str]:
    """The lines of a file."""
    yield json.dumps({"cassette": _FORMAT, "version": _VERSION})
    for call in calls:
        yield json.dumps(
            {
                "kind": call.kind,
                "streamed": call.streamed,
                "engine": call.engine,
                "request": call.request,
                "sketches": call.sketches,
                "seconds": call.seconds,
                "heard_all": call.heard_all,
                "results": [
                    {"value": _plain(each.value), **asdict(each.moment)} for each in call.results
                ],
                "ending": _plain_ending(call.ending),
            }
        )


def decoded(lines: Iterator[str]) -> Iterator[RecordedCall]:
    """The calls in the lines of a file.

    Raises:
        ValueError: It is not a cassette, was written by a newer version, or is broken.
    """
    _check_header(next(lines, ""))
    for number, line in enumerate(lines, 2):
        yield _decoded_call(number, line)


def _check_header(line: str) -> None:
    try:
        header = json.loads(line)
        version = header["version"] if header["cassette"] == _FORMAT else None
    except (KeyError, TypeError, ValueError):
        version = None
    if not isinstance(version, int):
        raise ValueError("this is no cassette: its first line does not say that it is one")  # noqa: TRY004
    if version > _VERSION:
        raise ValueError(
            f"the cassette is of version {version}, and this library reads up to version "
            f"{_VERSION}: upgrade it, or record anew"
        )


def _decoded_call(number: int, line: str) -> RecordedCall:
    try:
        return _call(json.loads(line))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"line {number} of the cassette is no recorded call: {exc!r}") from exc


def _call(line: dict[str, Any]) -> RecordedCall:
    call = RecordedCall(
        kind=line["kind"],
        streamed=line["streamed"],
        engine=line["engine"],
        request=line["request"],
        sketches=[tuple(map(int, sketch)) for sketch in line["sketches"]],
        seconds=float(line["seconds"]),
        heard_all=line["heard_all"],
        results=[Result(_value(each.pop("value")), _moment(**each)) for each in line["results"]],
        ending=_ending(**line["ending"]),
    )
    if call.kind not in ("stt", "tts", "response"):
        raise ValueError(f"no engine is of the kind {call.kind!r}")
    return call


# -- values ------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A result as JSON can hold it."""
    match value:
        case Uninterruptible():
            return {"uninterruptible": str(value)}
        case AudioData():
            data = b64encode(value.data).decode()
            return {
                "data": data,
                "sample_rate": value.sample_rate,
                "channels": value.channels,
                "format": value.format,
            }
        case SynthesisResult():
            return {
                "audio_data": _plain(value.audio_data),
                "text": value.text,
                "voice_id": value.voice_id,
                "synthesis_time": value.synthesis_time,
            }
        case TranscriptionResult():
            return asdict(value)
        case _:
            return value


def _value(plain: Any) -> Any:
    match plain:
        case {"uninterruptible": text}:
            return Uninterruptible(text)
        case {"audio_data": audio}:
            return SynthesisResult(**{**plain, "audio_data": _value(audio)})
        case {"data": data}:
            return AudioData(**{**plain, "data": b64decode(data, validate=True)})
        case {"segments": segments, "words": words}:
            return replace(
                TranscriptionResult(**plain),
                segments=[TranscriptionSegment(**segment) for segment in segments],
                words=[TranscriptionWord(**word) for word in words],
            )
        case str():
            return plain
        case _:
            raise ValueError(f"{plain!r:.60} is no result of an engine")


def _moment(*, after: float, lag: float, heard: float | None) -> Moment:
    return Moment(float(after), float(lag), None if heard is None else float(heard))


def _plain_ending(ending: Ending) -> dict[str, Any]:
    plain = asdict(ending)
    return {"how": plain["how"], **plain.pop("moment"), **plain}


def _ending(*, after: float, lag: float, heard: float | None, **fields: Any) -> Ending:
    return Ending(_moment(after=after, lag=lag, heard=heard), **fields)
