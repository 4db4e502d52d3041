"""A stream of speech as the transcripts of its utterances, one after the other.

It needs no task of its own: one task pushes audio, another one asks for the results, and
whoever is ahead of the other waits.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final

import anyio
from anyio import lowlevel

from ..._edge import engine_name
from ..._endpoint import SpeechStarted, SpeechStopped
from ..._failures import content_free
from ...audio import AudioData, StreamResampler
from ...conversation import TurnPolicy
from ...conversation._change import Change
from ...conversation._detection import heard
from ...conversation._recording import SAMPLE_RATE, Recent, Utterance
from ...errors import EngineTimeoutError, RealtimeSTTSError, SessionClosedError
from ...protocols import PauseDetector, StreamingSTTEngine, TranscriptionResult
from ._utterances import (
    Begin,
    End,
    InputEnded,
    Paused,
    Quiet,
    Signal,
    Speaking,
    State,
    Tick,
    step,
)

__all__ = ["Failed", "Transcribed", "Transcriber"]

_log = logging.getLogger(__name__)

_LOOK_BACK: Final = 2.0  # s; how late after an onset a detector may be sure of it
_MAX_WAITING: Final = 60.0  # s of utterances that wait while another is transcribed: 2 MB
_MAX_UTTERANCES: Final = 32  # of them; short ones have little sound and cost a call each


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What is said in an utterance: so far, if the result is partial. Times are the stream's.

    The utterance is the sound in ``[start, end)``.
    """

    utterance: int
    start: float
    end: float
    result: TranscriptionResult


@dataclass(frozen=True, slots=True)
class Failed:
    """An utterance could not be transcribed. The stream goes on."""

    utterance: int
    error: Exception


@dataclass(slots=True, eq=False)
class _Open:
    """An utterance and what has become of it."""

    number: int
    start: float
    end: float  # of the sound that it has so far
    sound: Utterance = field(default_factory=Utterance)
    dropped: bool = False
    due: float = inf  # when its transcript has to be there, on the event loop's clock
    waiting: anyio.CancelScope | None = None  # while the engine is awaited

    def expect(self, due: float) -> None:
        self.due = due
        if self.waiting is not None:
            self.waiting.deadline = due

    def drop(self) -> None:
        self.dropped = True
        if self.waiting is not None:
            self.waiting.cancel()


class Transcriber:
    """Finds the utterances in a stream and transcribes them in their order. Silence is none.

    Push audio in one task, and iterate `results` in another.

    Args:
        stt: Shared by all streams.
        detector: This stream's own.
        language: ISO 639-1; None detects it anew in each utterance.
        policy: Its ``end_of_turn`` is the silence that ends an utterance; ``pre_roll`` and
            ``max_turn`` count as well.
        patience: Seconds from an utterance's end to its transcript; then it has failed. None
            waits for ever.
    """

    def __init__(
        self,
        stt: StreamingSTTEngine,
        detector: PauseDetector,
        *,
        language: str | None = None,
        policy: TurnPolicy | None = None,
        patience: float | None = 10.0,
    ) -> None:
        self._stt = stt
        self._detector = detector
        self._language = language
        self._policy = policy or TurnPolicy()
        self._patience = inf if patience is None else patience
        self._resampler = StreamResampler(SAMPLE_RATE)
        self._recent = Recent()
        self._state: State = Quiet()
        self._n_utterances = 0
        self._open: _Open | None = None  # is being spoken
        self._current: _Open | None = None  # is being transcribed
        self._waiting: deque[_Open] = deque()  # is not yet; what is being spoken may be the last
        self._finished = False
        self._changed = Change()

    @property
    def clock(self) -> float:
        """Seconds of audio heard so far."""
        return self._recent.end

    # -- listening

    async def push(self, audio: AudioData) -> None:
        """Hear the next chunk, of any length; wait while too much is not transcribed.

        Raises:
            AudioFormatError: It cannot be decoded, or its rate or channel count is not that
                of the chunks before. Nothing of it was heard.
            SessionClosedError: The stream has been finished.
        """
        if self._finished:
            raise SessionClosedError("the stream has been finished")
        await self._hear(self._resampler.push(audio))

    async def finish(self) -> None:
        """No more audio comes: what is being said is complete. `results` ends with it."""
        if not self._finished:
            self._finished = True
            await self._hear(self._resampler.flush())
            self._tell(InputEnded(self.clock))
            self._changed.tell()

    def clear(self) -> None:
        """Forget what has been said and is not transcribed to its end."""
        for utterance in (*self._waiting, *([self._current] if self._current else [])):
            utterance.drop()
        self._waiting.clear()
        self._open = None
        if isinstance(self._state, Speaking):  # and goes on
            self._state = Speaking(self.clock)
            self._act(Begin(self.clock))
        else:
            self._state = Quiet(self.clock)
        self._changed.tell()

    async def _hear(self, audio: AudioData) -> None:
        n_seconds = ceil(len(audio.data) / (2 * SAMPLE_RATE))
        for second in range(n_seconds):
            piece = audio if n_seconds == 1 else audio.sliced(second, second + 1)
            detection = await self._detector.process_chunk(piece)
            # Nothing suspends until the piece has been heard by all.
            self._recent.append(piece.data)
            duration = len(piece.data) / (2 * SAMPLE_RATE)
            for signal in heard(detection, duration, self.clock, lambda: False):
                if isinstance(signal, SpeechStarted | SpeechStopped):
                    self._tell(signal)
            self._tell(Tick(self.clock))
            self._write()
            while self._is_behind:
                await self._changed.wait()
            await lowlevel.checkpoint()  # a client with much at hand must not starve the others

    def _tell(self, signal: Signal) -> None:
        self._state, actions = step(self._state, signal, self._policy)
        for action in actions:
            self._act(action)

    def _act(self, action: Begin | End) -> None:
        if isinstance(action, Begin):
            self._n_utterances += 1
            self._open = _Open(self._n_utterances, action.at, action.at)
            self._waiting.append(self._open)
        else:
            assert self._open is not None
            self._fill(self._open, action.at)
            self._open.sound.close()
            self._open.expect(anyio.current_time() + self._patience)
            self._open = None
        self._changed.tell()

    def _write(self) -> None:
        """Give the open utterance what it has not had yet."""
        needed = self.clock - self._policy.pre_roll - _LOOK_BACK
        if self._open is not None:
            # The sound of a pause is held back: it is the utterance's only if that goes on.
            state = self._state
            self._fill(self._open, state.decided if isinstance(state, Paused) else self.clock)
            needed = min(needed, self._open.end)
        self._recent.forget(needed)

    def _fill(self, utterance: _Open, end: float) -> None:
        if end > utterance.end:
            utterance.sound.write(self._recent.between(utterance.end, end))
            utterance.end = end

    @property
    def _is_behind(self) -> bool:
        waiting = self._waiting
        return (
            len(waiting) > _MAX_UTTERANCES
            or sum(each.end - each.start for each in waiting) > _MAX_WAITING
        )

    # -- transcribing

    async def results(self) -> AsyncGenerator[Transcribed | Failed]:
        """Of each utterance what is said so far, now and then, and at last what was said.

        An utterance without words has no result, unless it seemed to have some. It ends once
        the stream is finished.
        """
        while (utterance := await self._next()) is not None:
            async with aclosing(self._transcribe(utterance)) as results:
                async for result in results:
                    yield result
            self._current = None

    async def _next(self) -> _Open | None:
        while not self._waiting:
            if self._finished and self._open is None:
                return None
            await self._changed.wait()
        utterance = self._current = self._waiting.popleft()
        if utterance.sound.closed:  # it has not been late so far
            utterance.expect(anyio.current_time() + self._patience)
        self._changed.tell()
        return utterance

    async def _transcribe(self, utterance: _Open) -> AsyncGenerator[Transcribed | Failed]:
        told = ""
        try:
            chunks = utterance.sound.chunks()
            async with aclosing(self._stt.stream(chunks, self._language)) as results:
                while (result := await self._result(utterance, results)) is not None:
                    # A final result is told even if it only takes back what was told before.
                    if result.text != told or (told and not result.partial):
                        told = result.text
                        start, end = utterance.start, utterance.end
                        yield Transcribed(utterance.number, start, end, result.shifted(start))
        except Exception as exc:  # noqa: BLE001 - whatever a foreign engine raises
            if not isinstance(exc, RealtimeSTTSError):
                _log.error("an engine failed with an error of its own", exc_info=content_free(exc))
            yield Failed(utterance.number, exc)

    async def _result(
        self, utterance: _Open, results: AsyncGenerator[TranscriptionResult]
    ) -> TranscriptionResult | None:
        """The next one; None if there is none, or nobody wants it any more.

        Raises:
            EngineTimeoutError: The utterance is over, and the engine has taken too long.
        """
        result: TranscriptionResult | None = None
        with anyio.CancelScope(deadline=utterance.due) as scope:
            if not utterance.dropped:
                utterance.waiting = scope
                result = await anext(results, None)
        utterance.waiting = None
        if scope.cancelled_caught and not utterance.dropped:
            raise EngineTimeoutError(engine_name(self._stt), self._patience)
        return None if utterance.dropped else result
