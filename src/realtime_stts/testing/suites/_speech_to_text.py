"""What speech to text promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import anyio
import pytest
from anyio.abc import TaskGroup

from ...audio import AudioData
from ...errors import AudioFormatError
from ...protocols import (
    StreamingSTTEngine,
    STTEngine,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from .._audio import chunked, speech
from ._engine import EngineSuite
from ._tools import LIMIT, at_once, collect, converted, cut, in_turn, opened, withdraw

__all__ = ["SpeechToTextSuite", "StreamingSpeechToTextSuite"]

_ROUNDING = 1e-3  # s


class SpeechToTextSuite(EngineSuite):
    """An `STTEngine` keeps its promises.

    Override ``engine``, and `clip` with a recording that the engine understands; with
    ``text``, the recording is also held to what is said in it.

    Attributes:
        text: What is said in `clip`, or None to accept any text.
    """

    text: str | None = None

    def engine(self) -> STTEngine:
        raise NotImplementedError(f"{type(self).__name__}.engine returns the engine to test")

    def clip(self) -> AudioData:
        """A second or more of speech."""
        return speech(1.5)

    async def use(self, engine: STTEngine) -> object:
        return await self._transcribe(engine, self.clip())

    async def _transcribe(self, engine: STTEngine, clip: AudioData) -> TranscriptionResult:
        with anyio.fail_after(LIMIT):
            result = _checked(await engine.transcribe(clip), clip.duration_seconds)
        assert result.partial is False, "a whole clip has no partial result"
        return result

    # -- what it is ----------------------------------------------------------------------

    async def test_is_a_speech_to_text_engine(self) -> None:
        async with opened(self.engine()) as engine:
            assert isinstance(engine, STTEngine)
            assert await engine.is_available() is True

    # -- what it hears -------------------------------------------------------------------

    async def test_hears_what_is_said(self) -> None:
        if self.text is None:
            pytest.skip("the suite has no `text` to compare with")
        async with opened(self.engine()) as engine:
            result = await self._transcribe(engine, self.clip())
            assert _plain(result.text) == _plain(self.text)

    async def test_hears_nothing_in_silence(self) -> None:
        """Silence is an answer, not an error: a text of ""."""
        async with opened(self.engine()) as engine:
            result = await self._transcribe(engine, AudioData.silence(1.0, 16_000))
            assert result.text == ""

    @pytest.mark.parametrize("n_frames", [0, 1, 160])
    async def test_takes_a_clip_too_short_for_a_word(self, n_frames: int) -> None:
        async with opened(self.engine()) as engine:
            result = await self._transcribe(engine, AudioData(bytes(2 * n_frames), 16_000))
            assert result.text == ""

    @pytest.mark.parametrize(
        ("sample_rate", "channels", "format"),
        [
            (8_000, 1, "pcm"),
            (11_025, 1, "pcm_u8"),
            (44_100, 2, "pcm_f32le"),
            (48_000, 6, "pcm_s24le"),
            (16_000, 1, "flac"),
            (22_050, 2, "wav"),
        ],
    )
    async def test_takes_any_audio(self, sample_rate: int, channels: int, format: str) -> None:
        """Rates, channels and formats are the engine's business."""
        clip = converted(self.clip(), sample_rate, channels, format)
        async with opened(self.engine()) as engine:
            await self._transcribe(engine, clip)

    async def test_refuses_what_is_not_audio(self) -> None:
        async with opened(self.engine()) as engine:
            with pytest.raises(AudioFormatError):
                await engine.transcribe(AudioData(b"RIFF, but no more", 16_000, format="wav"))

    # -- many at once --------------------------------------------------------------------

    async def test_keeps_concurrent_calls_apart(self) -> None:
        """Calls at the same time give what they give one after the other."""
        clips = _different(self.clip())
        async with opened(self.engine()) as engine:
            calls = [lambda clip=clip: self._transcribe(engine, clip) for clip in clips]
            alone = await in_turn(calls)
            together = await at_once(calls)
            assert all(map(self.same, together, alone))


class StreamingSpeechToTextSuite(SpeechToTextSuite):
    """A `StreamingSTTEngine` keeps its promises, those of `STTEngine` among them.

    Attributes:
        streams_as_it_transcribes: Whether the final result of a stream is, word for word
            and time for time, what `transcribe` gives for the whole clip.
    """

    streams_as_it_transcribes: bool = False

    def engine(self) -> StreamingSTTEngine:
        raise NotImplementedError(f"{type(self).__name__}.engine returns the engine to test")

    async def _stream(
        self, engine: StreamingSTTEngine, chunks: Iterable[AudioData]
    ) -> TranscriptionResult:
        """The final result; every result is checked on the way."""
        heard = 0.0

        async def feed() -> AsyncGenerator[AudioData]:
            nonlocal heard
            for chunk in chunks:
                heard += chunk.duration_seconds
                yield chunk

        # Each against what had been heard by then: a word cannot lie in audio to come.
        with anyio.fail_after(LIMIT):
            async with aclosing(feed()) as source, aclosing(engine.stream(source)) as stream:
                results = [_checked(result, heard) async for result in stream]
        partial = [result.partial for result in results]
        assert partial[-1:] == [False], "the last result of a stream is its final one"
        assert all(partial[:-1]), "a stream has exactly one final result"
        return results[-1]

    async def test_is_a_streaming_engine(self) -> None:
        async with opened(self.engine()) as engine:
            assert isinstance(engine, StreamingSTTEngine)

    async def test_streams_one_final_result(self) -> None:
        """Partial results first, if any; then one that is not, and no more."""
        async with opened(self.engine()) as engine:
            final = await self._stream(engine, cut(self.clip(), [0.02]))
            if self.text is not None:
                assert _plain(final.text) == _plain(self.text)
            if self.streams_as_it_transcribes:
                assert self.same(final, await engine.transcribe(self.clip()))

    @pytest.mark.parametrize(
        "lengths",
        [
            pytest.param([0.01], id="10 ms"),
            pytest.param([0.25], id="250 ms"),
            pytest.param([3600.0], id="whole"),
            pytest.param([0.001, 0.37, 0.0, 0.02, 0.113], id="uneven"),
        ],
    )
    async def test_hears_the_same_however_it_is_cut(self, lengths: Sequence[float]) -> None:
        clip = self.clip()
        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, cut(clip, [0.02]))
            result = await self._stream(engine, cut(clip, lengths))
            assert self.same(result, expected)

    async def test_ends_a_stream_that_brought_nothing(self) -> None:
        async with opened(self.engine()) as engine:
            assert (await self._stream(engine, [])).text == ""
            assert (await self._stream(engine, [AudioData(b"", 16_000)])).text == ""

    async def test_streams_silence(self) -> None:
        async with opened(self.engine()) as engine:
            silence = cut(AudioData.silence(1.0, 16_000), [0.02])
            assert (await self._stream(engine, silence)).text == ""

    @pytest.mark.parametrize(
        ("sample_rate", "channels", "format"), [(8_000, 1, "pcm"), (48_000, 2, "pcm_f32le")]
    )
    async def test_streams_any_audio(self, sample_rate: int, channels: int, format: str) -> None:
        clip = converted(self.clip(), sample_rate, channels, format)
        async with opened(self.engine()) as engine:
            await self._stream(engine, cut(clip, [0.02]))

    async def test_refuses_a_stream_that_changes_its_layout(self) -> None:
        chunks = [AudioData.silence(0.1, 16_000), AudioData.silence(0.1, 48_000, 2)]
        async with opened(self.engine()) as engine:
            with pytest.raises(AudioFormatError):
                await self._stream(engine, chunks)

    async def test_lets_the_sources_own_error_through(self) -> None:
        """What breaks in the source is not the engine's: it comes out as it is."""

        class UnpluggedError(Exception):
            pass

        async def unplugged() -> AsyncGenerator[AudioData]:
            yield self.clip()
            raise UnpluggedError

        async with opened(self.engine()) as engine:
            expected = await self.use(engine)
            async with aclosing(unplugged()) as source:
                with pytest.raises(UnpluggedError):
                    await collect(engine.stream(source))
            result = await self.use(engine)
            assert self.same(result, expected)

    async def test_may_be_closed_before_it_begins(self) -> None:
        async with opened(self.engine()) as engine:
            async with aclosing(chunked(self.clip())) as source:
                await engine.stream(source).aclose()
            await self.use(engine)

    async def test_may_be_closed_after_its_first_result(self) -> None:
        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, cut(self.clip(), [0.02]))
            async with aclosing(chunked(self.clip())) as source:
                results = engine.stream(source)
                await anext(results)
                await results.aclose()
            result = await self._stream(engine, cut(self.clip(), [0.02]))
            assert self.same(result, expected), "an abandoned stream shows in the next one"

    async def test_may_be_cancelled_while_it_listens(self) -> None:
        on_hold = anyio.Event()

        async def caller_on_hold() -> AsyncGenerator[AudioData]:
            for chunk in cut(self.clip(), [0.02]):
                yield chunk
            on_hold.set()
            await anyio.sleep_forever()

        async def listen() -> None:
            async with aclosing(caller_on_hold()) as source:
                await collect(engine.stream(source))

        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, cut(self.clip(), [0.02]))
            await withdraw(listen, on_hold)
            result = await self._stream(engine, cut(self.clip(), [0.02]))
            assert self.same(result, expected), "a cancelled stream shows in the next one"

    async def test_unload_does_no_harm_to_a_stream_in_flight(self) -> None:
        """The model is released once the stream in flight has all it needs of it."""
        chunks = cut(self.clip(), [0.02])

        async def feed(tasks: TaskGroup) -> AsyncGenerator[AudioData]:
            for i, chunk in enumerate(chunks):
                if i == len(chunks) // 2:
                    tasks.start_soon(engine.unload)
                    await anyio.sleep(0.01)
                yield chunk

        async with opened(self._with_life_cycle()) as engine:
            expected = await self._stream(engine, chunks)
            results: list[TranscriptionResult] = []
            with anyio.fail_after(LIMIT):
                async with anyio.create_task_group() as tasks, aclosing(feed(tasks)) as source:
                    results += await collect(engine.stream(source))
            assert self.same(results[-1], expected)
            await self.use(engine)

    async def test_keeps_concurrent_streams_apart(self) -> None:
        clips = _different(self.clip())
        async with opened(self.engine()) as engine:
            calls = [lambda clip=clip: self._stream(engine, cut(clip, [0.05])) for clip in clips]
            alone = await in_turn(calls)
            together = await at_once(calls)
            assert all(map(self.same, together, alone))


def _checked(result: TranscriptionResult | None, heard: float) -> TranscriptionResult:
    """A result that is one, and true of audio of so many seconds."""
    assert isinstance(result, TranscriptionResult), f"{result!r} is no TranscriptionResult"
    assert isinstance(result.text, str)
    assert isinstance(result.language, str)
    for pieces in (result.segments, result.words):
        edges = [edge for piece in pieces for edge in (piece.start, piece.end)]
        assert edges == sorted(edges), f"times are out of order: {pieces}"
        assert all(-_ROUNDING <= edge <= heard + _ROUNDING for edge in edges), (
            f"times outside the {heard:.3f} s heard: {pieces}"
        )
    parts: list[TranscriptionResult | TranscriptionSegment | TranscriptionWord]
    parts = [result, *result.segments, *result.words]
    for confidence in (part.confidence for part in parts):
        assert confidence is None or 0 <= confidence <= 1, f"{confidence} is no probability"
    return result


def _different(clip: AudioData) -> list[AudioData]:
    """Clips whose transcriptions differ, and one that repeats."""
    middle = clip.duration_seconds / 2
    return [clip, clip.sliced(0, middle), AudioData.silence(0.5, 16_000), clip, clip.sliced(middle)]


def _plain(text: str) -> str:
    """Words only: engines differ in case and punctuation."""
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text)
    return " ".join(kept.casefold().split())
