"""Transcripts while the speech goes on, from a recogniser that only takes whole clips.

What has come so far is decoded again and again, and `_agreement` makes one transcript of
what the decodes say. Three things keep that cheap. A decode waits for an interval of new
sound, and for as long a rest as the one before took, so that a slow recogniser works at
most half of the time. Sound is trimmed as its words are committed. And what was decoded
once as it is now is not decoded again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from ._agreement import (
    Agreement,
    TrimPolicy,
    agree,
    confidence_of,
    finish,
    sentences,
    text_of,
    timed_words,
    trimmed,
)
from .audio import AudioData
from .errors import AudioFormatError
from .protocols import TranscriptionResult, TranscriptionWord

__all__ = ["Transcribe", "Transcript", "incremental"]

Transcribe = Callable[[AudioData, str | None], Awaitable[TranscriptionResult]]

_TRIMMING: Final = TrimPolicy()


async def incremental(
    transcribe: Transcribe,
    audio: AsyncIterable[AudioData],
    language: str | None = None,
    *,
    interval: float = 1.0,
    trimming: TrimPolicy = _TRIMMING,
    transcript: Transcript | None = None,
) -> AsyncGenerator[TranscriptionResult]:
    """Transcribe chunks as they arrive, as `StreamingSTTEngine.stream` does.

    The final result is what ``transcribe`` says of the whole clip, unless that contradicts
    what was committed before, or the clip was long enough to be trimmed: then it is the
    committed text and what the last decode says after it. All of it is committed.

    Only one call of ``transcribe`` is under way at a time. When the source ends it is
    cancelled, unless it already has all the sound. The source is never cancelled to
    deliver a result, as no generator survives that: a partial result, or the error that
    came instead, is delivered once the next chunk is there.

    Args:
        transcribe: Transcribes one clip; its errors come out of the stream.
        language: Passed on. If it is None, that of the trimmed part is asked for in the
            rest, which may be too short to tell.
        interval: Seconds of new sound from one decode to the next, at least.
        trimming: Bounds a decode: to ``trimming.limit``, and what has come since the last
            one that was finished began.
        transcript: What the decodes add up to, empty; by default a new one.

    Raises:
        AudioFormatError: A chunk cannot be decoded, or the rate or channel count changes.
    """
    sound = _Sound(audio)
    transcript = Transcript(language) if transcript is None else transcript
    decode = _Decode()
    told = TranscriptionResult("", "", [])
    while await sound.receive():
        if not decode.rested(sound.end, interval):
            continue
        decode = _Decode(sound.start, sound.end)
        await decode.run(transcribe, transcript.language, sound)
        if decode.result is None:
            break
        transcript.hear(decode.result, decode.end)
        if sound.ended:
            break
        sound.cut(transcript.trim(decode.end, trimming))
        result = transcript.result(partial=True)
        if (result.text, result.committed) != (told.text, told.committed):
            yield (told := result)
    if transcript.end < sound.end:
        result = await transcribe(sound.clip, transcript.language)
        transcript.hear(result, sound.end)
    yield transcript.result(partial=False)


class _Sound:
    """What a source has brought since the last cut; times count from its first chunk."""

    def __init__(self, source: AsyncIterable[AudioData]) -> None:
        self._source = aiter(source)
        self._pieces: list[AudioData] = []
        self._n_cut = 0  # frames
        self._n_frames = 0  # since the first chunk
        self.ended = False

    async def receive(self) -> bool:
        """Wait for the next chunk; False if there is none."""
        chunk = await anext(self._source, None)
        if chunk is None:
            self.ended = True
            return False
        pcm = chunk.decoded()
        if self._pieces:
            first = self._pieces[0]
            if (pcm.sample_rate, pcm.channels) != (first.sample_rate, first.channels):
                raise AudioFormatError(
                    f"the stream changes from {first.sample_rate} Hz with {first.channels} "
                    f"channels to {pcm.sample_rate} Hz with {pcm.channels}"
                )
            pcm = pcm.converted(first.format)
        self._pieces.append(pcm)
        self._n_frames += pcm.n_frames
        return True

    @property
    def start(self) -> float:
        return self._seconds(self._n_cut)

    @property
    def end(self) -> float:
        return self._seconds(self._n_frames)

    @property
    def clip(self) -> AudioData:
        """All of it, in one piece."""
        self._pieces = [AudioData.concat(self._pieces)]
        return self._pieces[0]

    def cut(self, at: float) -> None:
        """Forget what came before that moment."""
        if at > self.start:
            whole = self.clip
            rest = whole.sliced(at - self.start)
            self._n_cut += whole.n_frames - rest.n_frames
            self._pieces = [rest]

    def _seconds(self, n_frames: int) -> float:
        return n_frames / self._pieces[0].sample_rate if self._pieces else 0.0


@dataclass(slots=True)
class _Decode:
    """One call of the recogniser; the one before the first has taken no time."""

    start: float = 0.0  # of its sound
    end: float = 0.0
    took: float = 0.0  # s on the event loop's clock
    done_at: float = 0.0  # how far the sound had come then
    result: TranscriptionResult | None = None
    error: Exception | None = None

    def rested(self, now: float, interval: float) -> bool:
        """Whether it is time for the next one, with the sound as far as ``now``."""
        return now - self.end >= interval and now - self.done_at >= self.took

    async def run(self, transcribe: Transcribe, language: str | None, sound: _Sound) -> None:
        """Decode, while more sound comes, and until the next chunk has come.

        There is no result if there is more sound by then and no more comes: then only a
        decode of all of it is wanted.
        """
        clip = sound.clip

        async def decode() -> None:
            await checkpoint()  # a source that has all its sound at hand is heard first
            began = anyio.current_time()
            try:
                self.result = await transcribe(clip, language)
            except Exception as exc:  # noqa: BLE001 - raised below: a task group would wrap it
                self.error = self.error or exc
            self.took, self.done_at = anyio.current_time() - began, sound.end

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decode)
            try:
                while self.result is None and self.error is None and await sound.receive():
                    pass
            except Exception as exc:  # noqa: BLE001 - likewise
                self.error = exc
            if self.error is not None or (sound.ended and sound.end > self.end):
                tasks.cancel_scope.cancel()
        if self.error is not None:
            raise self.error
        if sound.ended and sound.end > self.end:
            self.result = None


class Transcript:
    """What the decodes so far add up to; times count from the first chunk."""

    def __init__(self, language: str | None) -> None:
        self._asked = language
        self._detected = ""
        self._state = Agreement()
        self._said = TranscriptionResult("", language or "", [])  # by the last decode
        self._words: tuple[TranscriptionWord, ...] = ()  # of it
        self._timed = False  # whether the recogniser times words, or they are guessed
        self.end = 0.0  # of the sound of the last decode

    @property
    def language(self) -> str | None:
        """What to ask the next decode for."""
        is_trimmed = self._state.start > 0.0
        return self._asked or (self._detected if is_trimmed else "") or None

    @property
    def state(self) -> Agreement:
        """What is settled so far."""
        return self._state

    def settle(self, state: Agreement, words: tuple[TranscriptionWord, ...]) -> Agreement:
        """What is settled once a decode has said ``words``; here, what two decodes agree on."""
        return agree(state, words)

    def hear(self, result: TranscriptionResult, end: float) -> None:
        """Take in what a decode of all the sound up to ``end`` said."""
        start = self._state.start
        self._said = result.shifted(start)
        self._words = timed_words(self._said, start, end)
        self._state = self.settle(self._state, self._words)
        self._timed = self._timed or bool(result.words)
        self._detected = result.language or self._detected
        self.end = end

    def trim(self, end: float, policy: TrimPolicy) -> float:
        """Where the sound of the next decode begins, after one up to ``end``."""
        self._state = trimmed(self._state, end, policy)
        return self._state.start

    def result(self, *, partial: bool) -> TranscriptionResult:
        """The transcript now; if it is not ``partial``, all of it is committed."""
        state = self._state
        committed = text_of(state.committed)
        words = [*finish(state).committed]
        said = self._said
        if [word.text for word in words] == [
            word.text for word in self._words
        ] and said.text.startswith(committed):
            # The last decode says the same: then the rest of what it says is right as well.
            return replace(said, partial=partial, committed=committed if partial else said.text)
        text = text_of(words)
        return TranscriptionResult(
            text,
            said.language or self._detected,
            sentences(words),
            confidence_of(words),
            partial,
            words if self._timed else [],
            committed if partial else text,
        )
