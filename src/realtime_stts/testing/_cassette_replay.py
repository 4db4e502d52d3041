"""Engines that are not there: they give what was recorded of them, when they gave it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import anyio

from ..audio import AudioData
from ..protocols import (
    ConversationContext,
    ResponseGenerator,
    STTEngine,
    SynthesisResult,
    TranscriptionResult,
    TTSEngine,
)
from ._cassette_calls import (
    Ending,
    Kind,
    RecordedCall,
    response_request,
    stt_request,
    tts_request,
)
from ._ear import Ear
from ._sketch import SECONDS, alike

__all__ = ["CassetteMismatch", "Player"]

_PATIENCE: Final = 60.0  # s for a caller to withdraw a call that was withdrawn before
_ROUNDING: Final = 1e-3  # s of audio; much less than a chunk


class CassetteMismatch(AssertionError):
    """A call that was not recorded, or not like this.

    It is a test's failure and not an engine's, so nothing that handles an `EngineError`
    hides it.
    """

    def __init__(self, kind: Kind, difference: str) -> None:
        super().__init__(f"this {kind} call was not recorded: {difference}")


class Player:
    """Recorded calls of one kind, each of which is replayed once."""

    def __init__(self, kind: Kind, calls: Sequence[RecordedCall]) -> None:
        self.name = calls[0].engine if calls else "cassette"
        self.calls = tuple(calls)
        self._kind: Kind = kind
        self._left = [*calls]
        self._streams = any(call.streamed for call in calls)

    def stt(self) -> STTEngine:
        return _StreamingSTT(self) if self._streams else _STT(self)

    def tts(self) -> TTSEngine:
        return _StreamingTTS(self) if self._streams else _TTS(self)

    def responder(self) -> ResponseGenerator:
        return _StreamingResponder(self) if self._streams else _Responder(self)

    async def once(
        self, request: Mapping[str, Any], audio: AsyncIterable[AudioData] | None = None
    ) -> Any:
        """The result of a one-shot call."""
        async with aclosing(self.play(request, audio, streamed=False)) as results:
            return [result async for result in results][-1]

    async def play(
        self,
        request: Mapping[str, Any],
        audio: AsyncIterable[AudioData] | None = None,
        *,
        streamed: bool = True,
    ) -> AsyncGenerator[Any]:
        """The results of a call.

        Raises:
            CassetteMismatch: Nothing that was recorded and not replayed yet is like it.
        """
        began = anyio.current_time()
        ear = Ear(_nothing() if audio is None else audio)
        alternatives = self._of(request, streamed=streamed)
        n_given = n_compared = 0
        claimed: RecordedCall | None = None
        while True:
            if claimed is None:
                alternatives = [call for call in alternatives if call in self._left]
            alternatives = self._like(ear, n_compared, alternatives)
            n_compared = len(ear.sketches)
            call = alternatives[0]
            due = call.results[n_given] if n_given < len(call.results) else call.ending
            moment = due.moment
            if not ear.ended and (moment.heard is None or ear.seconds < moment.heard - _ROUNDING):
                await anext(ear, None)
                continue
            if claimed is None:
                claimed, alternatives = call, [call]
                self._left.remove(call)
            # An engine may take its audio later than it comes, but never sooner.
            await _sleep_until(max(began + moment.after, ear.since + moment.lag))
            if isinstance(due, Ending):
                await self._end(due)
                return
            n_given += 1
            yield due.value

    def _of(self, request: Mapping[str, Any], *, streamed: bool) -> list[RecordedCall]:
        """What is left of that request."""
        left = [call for call in self._left if call.streamed is streamed]
        found = [call for call in left if call.request == request]
        if found:
            return found
        if not left:
            n_recorded = sum(call.streamed is streamed for call in self.calls)
            raise CassetteMismatch(
                self._kind, f"there were {n_recorded} like it, and none is left for {request}"
            )
        recorded = left[0].request
        differences = [
            f"its {key} is {value!r} and was {recorded[key]!r}"
            for key, value in request.items()
            if value != recorded[key]
        ]
        raise CassetteMismatch(self._kind, ", ".join(differences))

    def _like(
        self, ear: Ear, n_compared: int, alternatives: Sequence[RecordedCall]
    ) -> list[RecordedCall]:
        """Those that heard the same."""
        differences = [_difference(call, ear, n_compared) for call in alternatives]
        found = [call for call, why in zip(alternatives, differences, strict=True) if why is None]
        if not found:
            why = differences[0] if differences else "others have replayed all that were like it"
            raise CassetteMismatch(self._kind, str(why))
        return found

    async def _end(self, ending: Ending) -> None:
        if ending.how == "error":
            raise ending.exception()
        if ending.how == "cancelled":
            # Whoever withdrew it withdraws it again, perhaps at this very moment.
            await anyio.sleep(_PATIENCE)
            raise CassetteMismatch(self._kind, "it was withdrawn, and now it goes on")


def _difference(call: RecordedCall, ear: Ear, n_compared: int) -> str | None:
    """What was not heard when the call was recorded; None if there is no difference so far."""
    pairs = zip(ear.sketches[n_compared:], call.sketches[n_compared:], strict=False)
    for i, (heard, recorded) in enumerate(pairs, n_compared):
        if not alike(heard, recorded):
            return f"from {i * SECONDS:.1f} s on it hears another sound"
    too_short = ear.seconds < call.seconds - _ROUNDING
    too_long = call.heard_all and ear.seconds > call.seconds + _ROUNDING
    if too_long or (ear.ended and too_short):
        return f"it hears {ear.seconds:.3f} s of audio, and heard {call.seconds:.3f} s"
    return None


async def _sleep_until(time: float) -> None:
    if anyio.current_time() < time:  # no checkpoint where the engine may have had none
        await anyio.sleep_until(time)


async def _nothing() -> AsyncGenerator[AudioData]:
    return
    yield


async def _whole(clip: AudioData) -> AsyncGenerator[AudioData]:
    yield clip


# -- the engines -------------------------------------------------------------------------


class _Replayed:
    model_loaded = True

    def __init__(self, player: Player) -> None:
        self.name = player.name
        self._player = player


class _STT(_Replayed):
    async def is_available(self) -> bool:
        return True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        async with aclosing(_whole(audio)) as clip:
            result: TranscriptionResult = await self._player.once(stt_request(language), clip)
        return result


class _StreamingSTT(_STT):
    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(self._player.play(stt_request(language), audio)) as results:
            async for result in results:
                yield result


class _TTS(_Replayed):
    async def list_voices(self) -> list[dict[str, Any]]:
        configs = [call.request["voice_config"] for call in self._player.calls]
        ids = {config["voice_id"] for config in configs if "voice_id" in config}
        return [{"id": id, "name": id, "language": ""} for id in sorted(ids) or ["recorded"]]

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        result: SynthesisResult = await self._player.once(tts_request(text, voice_config))
        return result


class _StreamingTTS(_TTS):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async with aclosing(self._player.play(tts_request(text, voice_config or {}))) as chunks:
            async for chunk in chunks:
                yield chunk


class _Responder(_Replayed):
    async def generate_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> str:
        answer: str = await self._player.once(response_request(transcription, context))
        return answer

    def set_response_mode(self, mode: str) -> None:
        raise ValueError(f"a recording has no modes, so none is called {mode!r}")

    def clear_history(self) -> None:
        """There is none: what was said before is a part of every request."""


class _StreamingResponder(_Responder):
    async def stream_response(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        request = response_request(transcription, context)
        async with aclosing(self._player.play(request)) as pieces:
            async for piece in pieces:
                yield piece
