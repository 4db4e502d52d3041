"""One answer: written, voiced and played at the same time.

Three tasks in one group. The writer turns the responder's pieces into sentences, the voice
turns each sentence into sound while the next is written, and the player hands the sound to
the host when it is due. Between them stand two bounds: a few sentences written ahead of the
voice, and some seconds of sound made ahead of the player. Cancelling the group closes the
responder's generator and the engine's call with it.

Where the responder or the engine fails, what was made before is still played, and then the
failure is raised: what the user hears never ends in the middle of a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .._sentences import SentenceSplitter
from ..audio import AudioData
from ..protocols import (
    ConversationContext,
    ConversationState,
    StreamingResponseGenerator,
    StreamingTTSEngine,
    SynthesisResult,
)
from ._change import Change
from ._events import Event, ReplyAudio, ReplyText, SentenceSpoken, StateChanged
from ._ledger import Ledger
from ._limits import SessionLimits, next_within
from ._mailbox import Mailbox
from ._playout import Playout
from ._speakable import speakable
from .responders import Uninterruptible

__all__ = ["FRAME", "Answer"]

_MAX_SENTENCES = 4  # written ahead of the voice; then the responder waits
FRAME = 0.02  # s of sound handed over at a time: the packet time of RTP audio (RFC 3551)
_ROUNDING = 1e-6  # s; of sums of frames, which must not decide how many go out at a time
_MAX_AHEAD = 10.0  # s of sound made ahead of what is heard; then the next sentence waits


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    interruptible: bool


@dataclass(slots=True)
class Answer:
    """The answer to one turn.

    Args:
        turn: Its number.
        tell: Where events go that may have to wait until the turn is certain to be over.
        sink: Where sound goes, and the events about it.
        guard: Called with whether what is played next may be interrupted, when that changes.
    """

    turn: int
    tts: StreamingTTSEngine
    voice_config: Mapping[str, Any]
    limits: SessionLimits
    ledger: Ledger
    playout: Playout
    tell: Callable[[Event], None]
    sink: Mailbox[Event]
    guard: Callable[[bool], None]
    may_sound: anyio.Event
    keep_sound: bool  # for middleware, which may ask for the whole of it
    written: list[str] = field(default_factory=list)
    _sound: list[AudioData] = field(default_factory=list)
    _changed: Change = field(default_factory=Change)
    _failure: Exception | None = None
    _interruptible: bool = True
    _sounding: bool = False

    async def give(
        self, responder: StreamingResponseGenerator, context: ConversationContext
    ) -> ConversationContext:
        """Give the whole answer; return when it has been heard."""
        send, receive = anyio.create_memory_object_stream[_Sentence](_MAX_SENTENCES)
        async with anyio.create_task_group() as tasks:
            writing = anyio.CancelScope()
            tasks.start_soon(self._write, responder, context, send, writing)
            tasks.start_soon(self._voice, receive, writing)
            await self._play()
        if self._failure is not None:
            raise self._failure
        context.response_text = " ".join(self.written)
        if self._sound:
            context.synthesis_result = SynthesisResult(
                AudioData.concat(self._sound),
                context.response_text,
                str(self.voice_config.get("voice_id") or ""),
            )
        return context

    # -- writing

    async def _write(
        self,
        responder: StreamingResponseGenerator,
        context: ConversationContext,
        send: MemoryObjectSendStream[_Sentence],
        scope: anyio.CancelScope,
    ) -> None:
        with scope:
            async with send:
                try:
                    await self._compose(responder, context, send)
                except Exception as exc:  # noqa: BLE001 - raised again once all has been played
                    self._fail(exc)

    async def _compose(
        self,
        responder: StreamingResponseGenerator,
        context: ConversationContext,
        send: MemoryObjectSendStream[_Sentence],
    ) -> None:
        assert context.transcription is not None
        splitter = SentenceSplitter()
        pieces = responder.stream_response(context.transcription, context)
        async with aclosing(pieces):
            while True:
                try:
                    piece = await next_within(pieces, self.limits.response, responder)
                except StopAsyncIteration:
                    break
                if self.ledger.first_token_at is None:
                    self.ledger.first_token_at = anyio.current_time()
                if not isinstance(piece, Uninterruptible):
                    for sentence in splitter.feed(piece):
                        await self._say(sentence, send)
                    continue
                # What is guarded begins and ends with its own sentences.
                for sentence in splitter.flush():
                    await self._say(sentence, send)
                for sentence in (*splitter.feed(piece), *splitter.flush()):
                    await self._say(sentence, send, interruptible=False)
            for sentence in splitter.flush():
                await self._say(sentence, send)

    async def _say(
        self,
        text: str,
        send: MemoryObjectSendStream[_Sentence],
        *,
        interruptible: bool = True,
    ) -> None:
        if self.ledger.worded_at is None:
            self.ledger.worded_at = anyio.current_time()
        self.written.append(text)
        self.tell(ReplyText(self.turn, text))
        await send.send(_Sentence(text, interruptible))

    # -- voicing

    async def _voice(
        self, receive: MemoryObjectReceiveStream[_Sentence], writing: anyio.CancelScope
    ) -> None:
        async with receive:
            async for sentence in receive:
                try:
                    await self._synthesize(sentence)
                except Exception as exc:  # noqa: BLE001 - raised again once all has been played
                    self._fail(exc)
                    writing.cancel()
                    break
        self.playout.finish()
        self._changed.tell()

    async def _synthesize(self, sentence: _Sentence) -> None:
        text = speakable(sentence.text)
        if not text:
            return
        # Holding makes it later, so it is looked at again.
        while (ahead := self._ahead) > _MAX_AHEAD:  # noqa: ASYNC110
            await anyio.sleep(max(ahead - _MAX_AHEAD, 0.02))
        self.playout.begin(sentence.text, text, interruptible=sentence.interruptible)
        whole = False
        try:
            sounds = self.tts.stream(text, dict(self.voice_config))
            async with aclosing(sounds):
                while True:
                    try:
                        audio = await next_within(sounds, self.limits.synthesis, self.tts)
                    except StopAsyncIteration:
                        break
                    if self.ledger.sounded_at is None:
                        self.ledger.sounded_at = anyio.current_time()
                    self.ledger.audio_duration += audio.duration_seconds
                    if self.keep_sound:
                        self._sound.append(audio)
                    self.playout.add(audio)
                    self._changed.tell()
            whole = True
        finally:
            self.playout.end(whole=whole)
            self._changed.tell()

    @property
    def _ahead(self) -> float:
        """Seconds of sound made and not heard yet."""
        return self.playout.made - self.playout.played(anyio.current_time())

    # -- playing

    async def _play(self) -> None:
        playout = self.playout
        await self.may_sound.wait()
        while True:
            now = anyio.current_time()
            if playout.held:
                await self._changed.wait()
            elif playout.ready:
                # What may not be interrupted is over once it has been heard.
                relieved = not self._interruptible and playout.interruptible
                end = playout.played_by(now)
                due = end if relieved else playout.due(now)
                if due > now + _ROUNDING:
                    # Two frames for one awakening, which costs more than both.
                    await anyio.sleep_until(min(due + FRAME, end))
                elif (audio := playout.next()) is not None:
                    await self._hand_over(audio)
            elif not playout.finished:
                await self._changed.wait()
            elif (end := playout.played_by(now)) > now:
                await anyio.sleep_until(end)
            else:
                return

    async def _hand_over(self, audio: AudioData) -> None:
        if self._interruptible is not self.playout.interruptible:
            self._interruptible = self.playout.interruptible
            self.guard(self._interruptible)
        if not self._sounding:
            self._sounding = True
            self.sink.post(StateChanged(ConversationState.SPEAKING))

        def taken() -> None:
            now = anyio.current_time()
            if self.ledger.handed_at is None:
                self.ledger.handed_at = now
            for text in self.playout.gave(audio, now):
                self.sink.post(SentenceSpoken(self.turn, text))

        await self.sink.deliver(ReplyAudio(self.turn, audio), taken)

    def hold(self, now: float) -> None:
        """Let no more be heard; what the host has not played will come again."""
        self.sink.take_back()
        self.playout.hold(now)
        self._sounding = False

    def resume(self) -> None:
        """Go on where it stopped."""
        self.playout.resume()
        self._changed.tell()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
