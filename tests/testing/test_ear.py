"""What an engine hears is kept count of, and passes as it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.testing import chunked, speech
from realtime_stts.testing._ear import Ear
from realtime_stts.testing._sketch import Sketcher

pytestmark = pytest.mark.anyio

CLIP = speech(0.55)


async def test_chunks_pass_as_they_are() -> None:
    chunks = [chunk async for chunk in Ear(chunked(CLIP))]
    assert AudioData.concat(chunks) == CLIP


async def test_it_knows_how_much_was_heard_and_when() -> None:
    began = anyio.current_time()
    ear = Ear(chunked(CLIP, 0.25, paced=True))
    moments = []
    async for _ in ear:
        moments.append((ear.seconds, ear.since - began, ear.ended))
        await anyio.sleep(0.1)
    assert moments == [
        (pytest.approx(0.25), pytest.approx(0.25), False),
        (pytest.approx(0.5), pytest.approx(0.5), False),
        (pytest.approx(0.55), pytest.approx(0.6), False),
    ]
    assert (ear.seconds, ear.since - began) == (pytest.approx(0.55), pytest.approx(0.7))
    assert ear.ended


async def test_it_keeps_sketches_and_adds_none_after_the_end() -> None:
    sketcher = Sketcher()
    expected = sketcher.hear(CLIP) + sketcher.finish()
    ear = Ear(chunked(CLIP, 0.07))
    for _ in range(20):
        await anext(ear, None)
    assert ear.sketches == expected


async def test_what_is_no_audio_passes_unheard() -> None:
    broken = AudioData(b"RIFF, but no more", 16_000, format="wav")

    async def source() -> AsyncGenerator[AudioData]:
        yield broken
        yield CLIP

    ear = Ear(source())
    assert [chunk async for chunk in ear] == [broken, CLIP]
    assert ear.seconds == pytest.approx(0.55)
