"""Sound to test with, and its delivery."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.testing import chunked, speech
from realtime_stts.testing._audio import cough

pytestmark = pytest.mark.anyio


class TestSpeech:
    @pytest.mark.parametrize("sample_rate", [8_000, 16_000, 48_000])
    def test_is_as_long_as_asked_for(self, sample_rate: int) -> None:
        audio = speech(1.25, sample_rate)
        assert (audio.duration_seconds, audio.sample_rate) == (1.25, sample_rate)

    def test_is_the_same_every_time(self) -> None:
        assert speech(0.5) == speech(0.5)

    def test_is_never_silent_and_never_clipped(self) -> None:
        samples = speech(2.0).samples[:, 0]
        levels = np.sqrt((samples.reshape(-1, 320) ** 2).mean(axis=1))  # frames of 20 ms
        assert levels.min() > 0.005
        assert np.abs(samples).max() < 0.6


class TestChunked:
    async def test_delivers_every_sample_in_order(self) -> None:
        audio = speech(0.33)
        chunks = [chunk async for chunk in chunked(audio, 0.02)]
        assert AudioData.concat(chunks) == audio
        assert [chunk.n_frames for chunk in chunks] == [320] * 16 + [160]

    async def test_decodes_a_file(self) -> None:
        audio = speech(0.1)
        file = AudioData(audio.encode("flac"), 16_000, format="flac")
        assert AudioData.concat([chunk async for chunk in chunked(file)]) == audio

    async def test_takes_no_time(self) -> None:
        began = anyio.current_time()
        assert len([chunk async for chunk in chunked(speech(2.0), 0.5)]) == 4
        assert anyio.current_time() == began

    async def test_paced_delivers_what_has_been_spoken(self) -> None:
        """A chunk comes when its last sample has been heard, as from a microphone."""
        began, clip = anyio.current_time(), speech(0.25)
        times = [anyio.current_time() - began async for _ in chunked(clip, 0.1, paced=True)]
        assert times == pytest.approx([0.1, 0.2, 0.25])


def test_a_cough_is_loud_at_first_and_dies_away() -> None:
    audio = cough(0.2, 8_000)
    assert audio.duration_seconds == 0.2
    assert audio == cough(0.2, 8_000)
    levels = [np.abs(audio.sliced(s, s + 0.05).samples).mean() for s in (0.0, 0.05, 0.1, 0.15)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > 0.1
    assert cough(0.0).n_frames == 0
