"""Changing the sound of TTS results: clips and streams alike."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError
from realtime_stts.middleware import CallNext, Chain, RequestContext
from realtime_stts.middleware._audio_results import Samples, processed
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import speech

pytestmark = pytest.mark.anyio

HELLO = speech(2.5, 24_000)


class Mouth:
    """TTS that says what it is given."""

    name = "mouth"
    model_loaded = True

    def __init__(self, *chunks: AudioData) -> None:
        self._chunks = chunks

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult | None:
        return SynthesisResult(self._chunks[0], text, "alice", 0.5)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        for chunk in self._chunks:
            yield chunk

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Halved:
    """Half as loud; the last ``late`` frames come at the end only."""

    def __init__(self, late: int) -> None:
        self._late = late
        self._held: Samples | None = None

    def push(self, samples: Samples) -> Samples:
        if self._held is not None:
            samples = np.concatenate([self._held, samples])
        n = max(len(samples) - self._late, 0)
        self._held = samples[n:]
        return samples[:n] / 2

    def flush(self) -> Samples:
        assert self._held is not None
        return self._held / 2


def halving(late: int = 0) -> Any:
    async def layer(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async with aclosing(processed(context, call_next, lambda audio: Halved(late))) as results:
            async for result in results:
                yield result

    return layer


async def streamed(late: int, *chunks: AudioData) -> list[AudioData]:
    return [chunk async for chunk in Chain(halving(late)).wrap(Mouth(*chunks)).stream("hello", {})]


async def test_a_clip_longer_than_a_slice_is_changed_whole() -> None:
    result = await Chain(halving(1000)).wrap(Mouth(HELLO)).synthesize("hello", {})
    assert result is not None
    assert (result.text, result.voice_id, result.synthesis_time) == ("hello", "alice", 0.5)
    assert (result.audio_data.sample_rate, result.audio_data.format) == (24_000, "pcm")
    assert result.audio_data == AudioData.from_samples(HELLO.samples / 2, 24_000)


@pytest.mark.parametrize("format", ["pcm", "pcm_u8", "pcm_s24le", "pcm_f32le"])
async def test_rate_channels_and_format_stay(format: str) -> None:
    stereo = AudioData.from_samples(np.repeat(HELLO.samples, 2, axis=1), 24_000, format)
    [chunk] = await streamed(0, stereo)
    assert (chunk.sample_rate, chunk.channels, chunk.format) == (24_000, 2, format)
    assert chunk.n_frames == stereo.n_frames


async def test_encoded_sound_becomes_pcm() -> None:
    encoded = AudioData(HELLO.encode("wav"), 24_000, 1, "wav")
    halved = AudioData.from_samples(HELLO.samples / 2, 24_000)
    assert await streamed(0, encoded) == [halved]
    result = await Chain(halving()).wrap(Mouth(encoded)).synthesize("hello", {})
    assert result is not None
    assert result.audio_data == halved


async def test_a_chunk_that_completes_nothing_is_not_forwarded() -> None:
    chunks = [HELLO.sliced(n / 10, (n + 1) / 10) for n in range(5)]
    got = await streamed(2 * chunks[0].n_frames, *chunks)
    assert [chunk.n_frames for chunk in got] == [2400, 2400, 2400, 4800]


async def test_a_stream_of_silence_cut_to_nothing_is_one_empty_chunk() -> None:
    empty = AudioData(b"", 24_000)
    assert await streamed(0, empty, empty) == [empty]


async def test_a_stream_without_chunks_stays_one() -> None:
    assert await streamed(0) == []


async def test_a_stream_cannot_change_its_rate() -> None:
    with pytest.raises(EngineError, match=r"mouth: its speech began with .*24000 Hz.*16000 Hz"):
        await streamed(0, HELLO, speech(0.1, 16_000))
