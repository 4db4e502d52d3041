"""Text to speech is measured as a script says it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from realtime_stts import AudioData
from realtime_stts.benchmark import CheckError, Job, value
from realtime_stts.benchmark._tts import measure
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speech

from .conversations import by_case, utterances

pytestmark = pytest.mark.anyio


def job(engine: Any, *texts: str, quick: bool = True) -> Job:
    return Job(
        stt=lambda: ScriptedSTTEngine([]),
        tts=lambda: engine,
        utterances=utterances(texts or ("hello there",)),
        quick=quick,
        seed=0,
        tell=lambda text: None,
    )


class Timed(ScriptedTTSEngine):
    """Says the same each time: after so many seconds, this."""

    def __init__(self, *chunks: tuple[float, AudioData]) -> None:
        super().__init__()
        self.chunks = chunks

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        for wait, chunk in self.chunks:
            await anyio.sleep(wait)
            yield chunk


async def test_the_first_byte_and_the_first_sound() -> None:
    """Both are the script's, which begins with a sound."""
    engine = ScriptedTTSEngine(latency=0.2, real_time_factor=0.5, chunk=0.1)
    figures = by_case(await measure(job(engine)))
    assert figures["time to the first byte"].samples == (pytest.approx(250),) * 2  # two rounds
    assert value(figures["time to the first sound"]) == pytest.approx(250, abs=10)
    assert value(figures["gaps in a sentence, played at once"]) == 0
    assert not engine.model_loaded


async def test_silence_first_is_no_sound() -> None:
    late = AudioData.concat([AudioData.silence(0.3, 16_000), speech(0.5)])
    figures = by_case(await measure(job(Timed((0.1, late)))))
    assert value(figures["time to the first byte"]) == pytest.approx(100)
    assert value(figures["time to the first sound"]) == pytest.approx(400)


async def test_an_empty_chunk_is_no_first_byte() -> None:
    engine = Timed((0.1, AudioData(b"", 16_000)), (0.1, speech(0.5)))
    figures = by_case(await measure(job(engine)))
    assert value(figures["time to the first byte"]) == pytest.approx(200)
    assert value(figures["longest wait between chunks"]) == 0


async def test_the_real_time_factor_is_pooled() -> None:
    engine = Timed((0.2, speech(0.5)), (0.3, speech(0.5)))
    figures = by_case(await measure(job(engine, "one", "two")))
    assert value(figures["real-time factor"]) == pytest.approx(0.5)


async def test_a_player_that_begins_at_once_falls_silent_where_one_with_a_buffer_does_not() -> None:
    engine = Timed((0.1, speech(0.08)), (0.05, speech(0.1)), (0.15, speech(0.1)))
    figures = by_case(await measure(job(engine)))
    assert figures["gaps in a sentence, played at once"].samples == (1.0, 1.0)
    assert figures["gaps in a sentence, 100 ms buffered"].samples == (0.0, 0.0)
    assert value(figures["longest wait between chunks"]) == pytest.approx(150)


async def test_more_rounds_where_more_is_measured() -> None:
    figures = by_case(await measure(job(Timed((0.1, speech(0.5))), "one", "two", quick=False)))
    assert len(figures["time to the first byte"].samples) == 6


@pytest.mark.parametrize("chunks", [(), ((0.1, AudioData.silence(0.5, 16_000)),)])
async def test_speech_without_a_sound_is_a_failure(chunks: Any) -> None:
    with pytest.raises(CheckError, match="'hello there' has no sound"):
        await measure(job(Timed(*chunks)))
