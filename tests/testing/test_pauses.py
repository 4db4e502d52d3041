"""The scripted detector hears speech where it is told, on the audio clock."""

from __future__ import annotations

import pytest

from realtime_stts._endpoint import SpeechStarted, SpeechStopped
from realtime_stts.audio import AudioData
from realtime_stts.testing import ScriptedPauseDetector

pytestmark = pytest.mark.anyio


def silence(seconds: float) -> AudioData:
    return AudioData.silence(seconds, 16_000)


async def test_events_come_with_the_chunk_that_holds_them() -> None:
    detector = ScriptedPauseDetector([(0.3, 0.5)])
    heard = [await detector.process_chunk(silence(0.2)) for _ in range(3)]
    assert [(result["is_speaking"], result["events"]) for result in heard] == [
        (False, []),
        (True, ["speech_start"]),
        (False, ["speech_end"]),
    ]
    assert heard[1]["speech_events"] == [SpeechStarted(0.3, 0.3)]


async def test_one_chunk_may_hold_many() -> None:
    detector = ScriptedPauseDetector([(0.1, 0.2), (0.3, 0.4), (2.0, 3.0)])
    result = await detector.process_chunk(silence(1.0))
    assert result["events"] == ["speech_start", "speech_end"] * 2
    assert not detector.is_speaking


async def test_delay_moves_the_decision_and_not_the_time() -> None:
    detector = ScriptedPauseDetector([(0.2, 0.5)], delay=0.3)
    assert (await detector.process_chunk(silence(0.4)))["speech_events"] == []
    assert (await detector.process_chunk(silence(0.1)))["speech_events"] == [
        SpeechStarted(0.2, 0.5)
    ]
    assert (await detector.process_chunk(silence(9)))["speech_events"] == [SpeechStopped(0.5, 0.8)]


async def test_clone_starts_from_the_beginning() -> None:
    detector = ScriptedPauseDetector([(0.0, 1.0)], delay=0.1)
    await detector.process_chunk(silence(0.5))
    clone = detector.clone()
    assert (clone.spans, clone.delay) == (detector.spans, detector.delay)
    assert detector.is_speaking
    assert not clone.is_speaking


@pytest.mark.parametrize("spans", [[(1, 1)], [(2, 1)], [(1, 3), (2, 4)], [(3, 4), (1, 2)]])
def test_impossible_spans_are_refused(spans: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="spans follow one another"):
        ScriptedPauseDetector(spans)
