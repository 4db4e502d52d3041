"""Records what engines say and when, so that a conversation can be had again without them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
from typing_extensions import Self

from ..audio import AudioData
from ..errors import AudioFormatError
from ..middleware import Chain, Observation, Observer, RequestContext
from ..protocols import ResponseGenerator, STTEngine, TTSEngine
from ._cassette_calls import (
    Ending,
    Kind,
    Moment,
    RecordedCall,
    Result,
    decoded,
    encoded,
    response_request,
    stt_request,
    tts_request,
)
from ._cassette_replay import Player
from ._ear import Ear
from ._sketch import Sketcher

__all__ = ["Cassette", "RecordingMiddleware"]

EngineT = TypeVar("EngineT")


class Cassette:
    """Calls of engines: recorded around real ones, replayed without them.

        cassette = Cassette()
        engine = ConversationEngine(stt=cassette.recording(stt), tts=cassette.recording(tts))
        ...
        cassette.save("call.jsonl")

        cassette = Cassette.load("call.jsonl")
        engine = ConversationEngine(stt=cassette.stt(), tts=cassette.tts())

    A replay gives the same results at the same times on the event loop's clock: on virtual
    time, of engines that took minutes, in no time. Everything recorded is kept in memory.
    """

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []

    # -- recording -----------------------------------------------------------------------

    def recording(self, engine: EngineT) -> EngineT:
        """``engine``, each call of which is recorded: an engine of the same Protocols.

        Raises:
            TypeError: It is not an engine.
        """
        chain = Chain(RecordingMiddleware(self))
        return cast("EngineT", chain.wrap(cast("Any", engine)))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what was recorded so far, as lines of JSON; return the path.

        The file appears whole or not at all. A call that is still under way is written as
        cancelled. What was asked of engines is written too, voice configurations included.

        Raises:
            OSError: The file cannot be written.
        """
        target = Path(path)
        partial = target.with_name(f".{os.urandom(8).hex()}.partial")
        try:
            with partial.open("x", encoding="ascii", newline="\n") as file:
                file.writelines(f"{line}\n" for line in encoded(self.calls))
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` has written.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a cassette, is broken, or is of a newer version.
        """
        cassette = cls()
        # What is not ASCII is not from `save`: as backslashes it is refused as that.
        with Path(path).open(encoding="ascii", errors="backslashreplace") as file:
            cassette.calls.extend(decoded(file))
        return cassette

    # -- replaying -----------------------------------------------------------------------

    def stt(self) -> STTEngine:
        """An engine that hears what the recorded ones heard; it streams if one of them did.

        Each call is matched with the first recorded one of the same request that has not
        been replayed, so that several sessions may go on at once. A call without one raises
        `CassetteMismatch`, which says what differs. Every engine made here begins anew.
        """
        return self._player("stt").stt()

    def tts(self) -> TTSEngine:
        """An engine that speaks as the recorded ones; calls are matched as `stt` says."""
        return self._player("tts").tts()

    def responder(self) -> ResponseGenerator:
        """It answers as the recorded ones did; calls are matched as `stt` says."""
        return self._player("response").responder()

    def _player(self, kind: Kind) -> Player:
        return Player(kind, [call for call in self.calls if call.kind == kind])


class RecordingMiddleware(Observer):
    """Records every call that passes, into a cassette."""

    def __init__(self, cassette: Cassette) -> None:
        super().__init__("recording")
        self.cassette = cassette

    def observe(self, context: RequestContext) -> Observation:
        given, config = context.input_data, context.config
        ear: Ear | None = None
        match context.request_type:
            case "stt":
                call = self._begin("stt", context, stt_request(config.get("language")))
                if context.streaming:
                    given["audio"] = ear = Ear(given["audio"])
                    call.sketches = ear.sketches
                else:
                    _hear(given["audio"], call)
            case "tts":
                call = self._begin("tts", context, tts_request(given["text"], config))
            case _:
                request = response_request(given["transcription"], given["context"])
                call = self._begin("response", context, request)
        return _Recording(call, ear)

    def _begin(self, kind: Kind, context: RequestContext, request: dict[str, Any]) -> RecordedCall:
        call = RecordedCall(kind, context.streaming, context.engine, request)
        self.cassette.calls.append(call)
        return call


def _hear(clip: AudioData, call: RecordedCall) -> None:
    sketcher = Sketcher()
    with suppress(AudioFormatError):  # refusing it is the engine's business
        call.sketches = [*sketcher.hear(clip), *sketcher.finish()]
        call.seconds = clip.duration_seconds
        call.heard_all = True


class _Recording:
    """What is written down of one call."""

    def __init__(self, call: RecordedCall, ear: Ear | None) -> None:
        self._call = call
        self._ear = ear  # if it hears a stream of audio
        self._began = anyio.current_time()

    def result(self, result: Any) -> None:
        self._call.results.append(Result(result, self._moment()))

    def end(self, error: BaseException | None) -> None:
        self._call.ending = Ending.of(error, self._moment())

    def _moment(self) -> Moment:
        now, ear = anyio.current_time(), self._ear
        if ear is None:
            return Moment(now - self._began)
        self._call.seconds, self._call.heard_all = ear.seconds, ear.ended
        heard = None if ear.ended else ear.seconds
        return Moment(now - self._began, now - ear.since, heard)
