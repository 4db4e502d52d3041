"""A synthesis: text goes in while it is spoken, and its sound goes out as it is made."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import inf
from typing import Any, Final

import anyio
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.tts import SynthesizeStopped

from ..._edge import engine_name
from ..._sentences import SentenceSplitter
from ...audio import AudioData, StreamResampler
from ...conversation._change import Change
from ...errors import EngineError, EngineTimeoutError
from ...protocols import StreamingTTSEngine
from ._hearing import Send, resampled
from ._offer import Offer, WyomingLimits
from ._requests import RefusedError, VoiceWish

__all__ = ["Dictation", "Speech"]

_PIECE: Final = 1 << 15  # bytes of sound in one event; 0.7 s at 24 kHz


class Dictation:
    """The text of one synthesis, whole or as it comes; sentences are spoken as they end.

    It holds at most the characters of one synthesis. What is over that, or comes once nobody
    asks any more, is dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._n_characters = limit, 0
        self._splitter = SentenceSplitter()
        self._waiting: deque[str] = deque()
        self._changed = Change()
        self._ended = False

    def fill(self, text: str) -> None:
        """Take the whole text at once; the engine cuts it as it likes."""
        if self._fits(text):
            self._waiting.append(text)
        self._ended = True

    def push(self, text: str) -> None:
        """Take the next piece, of any size."""
        if self._fits(text):
            self._waiting.extend(self._splitter.feed(text))
            self._changed.tell()

    def end(self) -> None:
        """There is no more."""
        if not self._ended:
            self._waiting.extend(self._splitter.flush())
            self._ended = True
            self._changed.tell()

    def drop(self) -> None:
        """Nobody asks any more."""
        self._ended = True
        self._waiting.clear()

    async def pieces(self) -> AsyncGenerator[str]:
        """What can be spoken, in order, as soon as it can.

        Raises:
            RefusedError: The text is too long. What came before that is to be spoken.
        """
        while True:
            if self._waiting:
                piece = self._waiting.popleft()
                if any(char.isalnum() for char in piece):
                    yield piece
            elif self._n_characters > self._limit:
                raise RefusedError("text_too_long", f"A text has at most {self._limit} characters.")
            elif self._ended:
                return
            else:
                await self._changed.wait()

    def _fits(self, text: str) -> bool:
        self._n_characters += len(text)
        if self._n_characters > self._limit:
            self._changed.tell()
            return False
        return not self._ended


class Speech:
    """One synthesis: 16-bit mono at the rate of its first sound, whatever speaks the rest.

    Args:
        streamed: Whether the text was streamed: then the answer's last event is
            ``synthesize-stopped``, and no text at all is no error.
    """

    def __init__(
        self,
        tts: StreamingTTSEngine,
        offer: Offer,
        dictation: Dictation,
        wish: VoiceWish,
        limits: WyomingLimits,
        *,
        streamed: bool,
    ) -> None:
        self._tts, self._offer, self._dictation = tts, offer, dictation
        self._wish, self._limits, self._streamed = wish, limits, streamed
        self._rate: int | None = None  # Hz; None until there is sound
        self._n_samples = 0  # sent

    async def run(self, send: Send) -> None:
        """Speak, and send.

        Raises:
            RefusedError: There is no such voice, too much text or none.
            EngineError: The engine failed, or took too long.
            ValueError: It does not take this text.
        """
        config = await self._offer.voice(self._wish)
        n_pieces = 0
        async with aclosing(self._dictation.pieces()) as pieces:
            async for piece in pieces:
                n_pieces += 1
                await self._say(piece, config, send)
        if not n_pieces and not self._streamed:
            raise RefusedError("invalid_request", "There is nothing to say in this text.")
        if n_pieces and self._rate is None:
            raise EngineError(engine_name(self._tts), "made no sound of the text")
        await self.apologise(send)

    async def apologise(self, send: Send) -> bool:
        """End the answer where it is: clients that know no errors would wait for that."""
        self._dictation.drop()
        if self._rate is not None or not self._streamed:
            await send(AudioStop())
        if self._streamed:
            await send(SynthesizeStopped())
        return True

    async def _say(self, text: str, config: dict[str, Any], send: Send) -> None:
        resampler: StreamResampler | None = None
        async with aclosing(self._tts.stream(text, config)) as sounds:
            while (sound := await self._next(sounds)) is not None:
                if self._rate is None:
                    self._rate = sound.sample_rate
                    await send(AudioStart(self._rate, 2, 1, timestamp=0))
                resampler = resampler or StreamResampler(self._rate)
                await self._send(await resampled(resampler, sound), send)
        if resampler is not None:
            await self._send(resampler.flush(), send)

    async def _next(self, sounds: AsyncGenerator[AudioData]) -> AudioData | None:
        patience = self._limits.patience
        with anyio.move_on_after(inf if patience is None else patience):
            return await anext(sounds, None)
        raise EngineTimeoutError(engine_name(self._tts), patience or inf)

    async def _send(self, audio: AudioData, send: Send) -> None:
        assert self._rate is not None
        for first in range(0, len(audio.data), _PIECE):
            piece = audio.data[first : first + _PIECE]
            now = self._n_samples * 1000 // self._rate
            await send(AudioChunk(self._rate, 2, 1, piece, timestamp=now))
            self._n_samples += len(piece) // 2
