"""What text to speech promises."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest

from ...audio import AudioData
from ...protocols import StreamingTTSEngine, SynthesisResult, TTSEngine
from ._engine import EngineSuite
from ._tools import LIMIT, SOME_REASON, at_once, collect, in_turn, opened, withdraw

__all__ = ["StreamingTextToSpeechSuite", "TextToSpeechSuite"]

_BLANK = ["", " ", "\n\t \u00a0"]
_ODD = ["...", "?!", "🙂", "3.14 €", "A", "word\nword", "<b>&amp;</b>", "naïve Übergröße", "聞く"]
_SHORT = "Yes."
_LONG = "The quick brown fox jumps over the lazy dog, and the dog does not mind."


class TextToSpeechSuite(EngineSuite):
    """A `TTSEngine` keeps its promises."""

    def engine(self) -> TTSEngine:
        raise NotImplementedError(f"{type(self).__name__}.engine returns the engine to test")

    async def use(self, engine: TTSEngine) -> object:
        return await self._speak(engine, "Tomorrow will be sunny.")

    async def _speak(
        self, engine: TTSEngine, text: str, voice_config: Mapping[str, Any] | None = None
    ) -> AudioData:
        config = dict(voice_config or {})
        with anyio.fail_after(LIMIT):
            result = await engine.synthesize(text, config)
        assert isinstance(result, SynthesisResult), f"{result!r} is no SynthesisResult"
        assert result.text == text
        assert isinstance(result.voice_id, str)
        assert result.synthesis_time is None or result.synthesis_time >= 0
        assert config == dict(voice_config or {}), "the caller's voice_config was changed"
        return result.audio_data

    # -- what it is ----------------------------------------------------------------------

    async def test_is_a_text_to_speech_engine(self) -> None:
        async with opened(self.engine()) as engine:
            assert isinstance(engine, TTSEngine)

    async def test_lists_its_voices(self) -> None:
        async with opened(self.engine()) as engine:
            voices = await engine.list_voices()
            assert voices, "an engine has at least one voice"
            assert all(voice.keys() >= {"id", "name", "language"} for voice in voices)
            ids = [voice["id"] for voice in voices]
            assert len(set(ids)) == len(ids), "two voices have the same id"

    # -- what it says --------------------------------------------------------------------

    async def test_speaks(self) -> None:
        async with opened(self.engine()) as engine:
            audio = await self._speak(engine, _LONG)
            assert audio.duration_seconds > 0.5
            assert np.abs(audio.samples).max() > 0.01, "the speech is silent"

    async def test_speaks_longer_for_a_longer_text(self) -> None:
        """To the last word: what is made last is not lost."""
        async with opened(self.engine()) as engine:
            short = await self._speak(engine, _SHORT)
            long = await self._speak(engine, _LONG)
            twice = await self._speak(engine, f"{_LONG} {_LONG}")
            assert short.duration_seconds < long.duration_seconds
            assert 1.5 < twice.duration_seconds / long.duration_seconds < 2.5

    @pytest.mark.parametrize("text", _BLANK)
    async def test_refuses_a_blank_text(self, text: str) -> None:
        async with opened(self.engine()) as engine:
            with pytest.raises(ValueError, match=SOME_REASON):
                await engine.synthesize(text, {})

    @pytest.mark.parametrize("text", _ODD)
    async def test_takes_any_visible_text(self, text: str) -> None:
        """What has no sound may be short, but it is no failure."""
        async with opened(self.engine()) as engine:
            await self._speak(engine, text)

    # -- how it says it ------------------------------------------------------------------

    async def test_speaks_in_the_voice_asked_for(self) -> None:
        async with opened(self.engine()) as engine:
            for voice in (await engine.list_voices())[:3]:
                result = await engine.synthesize(_SHORT, {"voice_id": voice["id"]})
                assert result is not None
                assert result.voice_id == voice["id"]

    async def test_speaks_as_fast_as_asked_for(self) -> None:
        async with opened(self.engine()) as engine:
            normal = await self._speak(engine, _LONG, {"speed_factor": 1.0})
            fast = await self._speak(engine, _LONG, {"speed_factor": 2.0})
            assert fast.duration_seconds < 0.8 * normal.duration_seconds

    @pytest.mark.parametrize("speed", [0, -1.0])
    async def test_refuses_an_impossible_speed(self, speed: float) -> None:
        async with opened(self.engine()) as engine:
            with pytest.raises(ValueError, match=SOME_REASON):
                await engine.synthesize(_SHORT, {"speed_factor": speed})

    async def test_ignores_keys_that_it_does_not_know(self) -> None:
        """One configuration serves several engines."""
        async with opened(self.engine()) as engine:
            plain = await self._speak(engine, _SHORT)
            other = await self._speak(engine, _SHORT, {"a_key_of_another_engine": object()})
            assert self.same(other, plain)

    # -- many at once --------------------------------------------------------------------

    async def test_keeps_concurrent_calls_apart(self) -> None:
        """Texts and voices of calls at the same time do not mix."""
        async with opened(self.engine()) as engine:
            voices = [voice["id"] for voice in (await engine.list_voices())[:2]]
            calls = [
                lambda text=text, voice=voice: self._speak(engine, text, {"voice_id": voice})
                for text in (_SHORT, _LONG)
                for voice in voices
            ]
            alone = await in_turn(calls)
            together = await at_once(calls)
            assert all(map(self.same, together, alone))


class StreamingTextToSpeechSuite(TextToSpeechSuite):
    """A `StreamingTTSEngine` keeps its promises, those of `TTSEngine` among them."""

    def engine(self) -> StreamingTTSEngine:
        raise NotImplementedError(f"{type(self).__name__}.engine returns the engine to test")

    async def _stream(
        self, engine: StreamingTTSEngine, text: str, voice_config: dict[str, Any] | None = None
    ) -> AudioData:
        """The chunks, joined."""
        with anyio.fail_after(LIMIT):
            chunks = await collect(engine.stream(text, voice_config))
        assert chunks, "a stream of speech has at least one chunk"
        layouts = {(chunk.sample_rate, chunk.channels, chunk.format) for chunk in chunks}
        assert len(layouts) == 1, f"the chunks differ: {sorted(layouts)}"
        return AudioData.concat(chunks)

    async def test_is_a_streaming_engine(self) -> None:
        async with opened(self.engine()) as engine:
            assert isinstance(engine, StreamingTTSEngine)

    async def test_streams_what_it_synthesizes(self) -> None:
        """Joined, the chunks are the whole clip, from the first sample to the last."""
        async with opened(self.engine()) as engine:
            whole = await self._speak(engine, _LONG)
            joined = await self._stream(engine, _LONG)
            assert self.same(joined, whole)

    @pytest.mark.parametrize("text", _BLANK)
    async def test_refuses_to_stream_a_blank_text(self, text: str) -> None:
        """When the first chunk is asked for, not before: until then nothing runs."""
        async with opened(self.engine()) as engine, aclosing(engine.stream(text)) as chunks:
            with pytest.raises(ValueError, match=SOME_REASON):
                await anext(chunks)

    async def test_waits_for_a_slow_reader(self) -> None:
        """A reader that pauses after each chunk still gets every one."""
        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, _SHORT)
            chunks = []
            async with aclosing(engine.stream(_SHORT)) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
                    await anyio.sleep(0.05)
            assert self.same(AudioData.concat(chunks), expected)

    async def test_may_be_closed_before_it_begins(self) -> None:
        async with opened(self.engine()) as engine:
            await engine.stream(_LONG).aclose()
            await self._speak(engine, _SHORT)

    async def test_may_be_closed_after_its_first_chunk(self) -> None:
        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, _SHORT)
            for _ in range(3):
                chunks = engine.stream(_LONG)
                await anext(chunks)
                await chunks.aclose()
            result = await self._stream(engine, _SHORT)
            assert self.same(result, expected), "an abandoned stream is heard in the next one"

    async def test_may_be_cancelled_while_it_speaks(self) -> None:
        listening = anyio.Event()

        async def listen() -> None:
            async with aclosing(engine.stream(_LONG)) as chunks:
                async for _ in chunks:
                    listening.set()
                    await anyio.sleep_forever()

        async with opened(self.engine()) as engine:
            expected = await self._stream(engine, _SHORT)
            await withdraw(listen, listening)
            result = await self._stream(engine, _SHORT)
            assert self.same(result, expected), "a cancelled stream is heard in the next one"

    async def test_unload_does_no_harm_to_a_stream_in_flight(self) -> None:
        """The model is released once the stream in flight has all it needs of it."""
        async with opened(self._with_life_cycle()) as engine:
            expected = await self._stream(engine, _LONG)
            chunks: list[AudioData] = []
            with anyio.fail_after(LIMIT):
                async with (
                    anyio.create_task_group() as tasks,
                    aclosing(engine.stream(_LONG)) as stream,
                ):
                    chunks.append(await anext(stream))
                    tasks.start_soon(engine.unload)
                    await anyio.sleep(0.01)
                    chunks += [chunk async for chunk in stream]
            assert self.same(AudioData.concat(chunks), expected)
            await self._speak(engine, _SHORT)

    async def test_keeps_concurrent_streams_apart(self) -> None:
        async with opened(self.engine()) as engine:
            voices = [voice["id"] for voice in (await engine.list_voices())[:2]]
            calls = [
                lambda text=text, voice=voice: self._stream(engine, text, {"voice_id": voice})
                for text in (_SHORT, _LONG)
                for voice in voices
            ]
            alone = await in_turn(calls)
            together = await at_once(calls)
            assert all(map(self.same, together, alone))
