"""What a caller waits for, read from the recordings of both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from realtime_stts import AudioData, EngineError, ReplyAudio
from realtime_stts.benchmark import _voice_to_voice
from realtime_stts.benchmark._check import CheckError
from realtime_stts.benchmark._figures import Figure
from realtime_stts.benchmark._recordings import Recordings
from realtime_stts.benchmark._voice_to_voice import converse, gaps, measure
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import (
    Failure,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
)

from .conversations import by_case, job

pytestmark = pytest.mark.anyio

TOLERANCE = 35.0  # ms: a frame of the detector, one of the gate, and the rounding of both


@pytest.fixture(autouse=True)
def _hears_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector that is installed by default may not take tones for speech."""
    plain = _voice_to_voice.ConversationEngine

    def hearing(**given: object) -> object:
        given["pause_detector"] = given["pause_detector"] or EnergyPauseDetector()
        return plain(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(_voice_to_voice, "ConversationEngine", hearing)
    monkeypatch.setattr(_voice_to_voice, "_TURNS_QUICK", 2)


async def found(stt_latency: float, tts_latency: float) -> dict[str, Figure]:
    return by_case(
        await measure(
            job(
                stt=lambda: ToneSTTEngine(latency=stt_latency),
                tts=lambda: ScriptedTTSEngine(latency=tts_latency, real_time_factor=0.0),
            )
        )
    )


@pytest.mark.parametrize(("stt", "tts"), [(0.25, 0.08), (0.0, 0.0), (0.4, 0.3)])
async def test_the_latency_of_the_engines_shows_as_such(stt: float, tts: float) -> None:
    figures = await found(stt, tts)
    expected = 1e3 * (0.6 + stt + tts)
    assert len(figures["recorded"].samples) == 2
    for case in ("recorded", "as the session tells it"):
        assert figures[case].samples == pytest.approx([expected] * 2, abs=TOLERANCE)
    assert figures["recorded, p95"].samples == figures["recorded"].samples
    assert figures["recorded, p95"].statistic == "p95"
    assert figures["recorded, less what is told"].samples == pytest.approx([0, 0], abs=TOLERANCE)
    assert figures["of it, the transcript"].samples == pytest.approx([1e3 * stt] * 2, abs=1)
    assert figures["of it, its first sound"].samples == pytest.approx([1e3 * tts] * 2, abs=1)
    assert figures["of it, the answer's first sentence"].samples == pytest.approx([0, 0], abs=1)


async def test_the_stages_sum_up_to_what_the_session_tells() -> None:
    figures = await found(0.25, 0.08)
    stages = [figure.samples for case, figure in figures.items() if case.startswith("of it, ")]
    told = figures["as the session tells it"].samples
    assert [sum(each) for each in zip(*stages, strict=True)] == pytest.approx(told)


async def test_a_voice_that_begins_with_silence_is_found_out() -> None:
    """White space is silent in a scripted voice."""

    class Hesitant(ScriptedTTSEngine):
        def _sound(self, text: str, voice_config: dict[str, object]) -> object:
            return super()._sound(6 * " " + text, voice_config)  # type: ignore[arg-type]

    figures = by_case(await measure(job(tts=Hesitant)))
    off = figures["recorded, less what is told"].samples
    silence = 6 * ScriptedTTSEngine().seconds_per_character
    assert off == pytest.approx([1e3 * silence] * 2, abs=TOLERANCE)


async def test_what_is_never_heard_has_no_gap() -> None:
    stt = ScriptedSTTEngine(["", "something"])
    async with stt, ScriptedTTSEngine() as tts:
        call = await converse(job(), stt, tts)
    assert [*gaps(call)] == [2]


async def test_nor_has_a_voice_that_makes_no_sound() -> None:
    class Mute(ScriptedTTSEngine):
        def _sound(self, text: str, voice_config: dict[str, object]) -> AudioData:
            return AudioData.silence(1.0, self.sample_rate)

    async with ToneSTTEngine() as stt, Mute() as tts:
        call = await converse(job(), stt, tts)
    assert call.of(ReplyAudio)
    assert gaps(call) == {}


async def test_the_callers_voice_is_a_voice_like_any_other() -> None:
    [voice] = await Recordings({}).list_voices()
    assert voice["id"] == "recording"


async def test_it_fails_if_nothing_was_answered() -> None:
    with pytest.raises(CheckError, match="nothing that the caller said was answered"):
        await measure(job(stt=lambda: ScriptedSTTEngine(["", "", ""])))


async def test_it_fails_if_a_turn_did() -> None:
    broken = Failure(EngineError("ears", "are closed"))
    with pytest.raises(CheckError, match=r"a turn failed: .*are closed") as caught:
        await measure(job(stt=lambda: ScriptedSTTEngine([broken, "something"])))
    assert isinstance(caught.value.__cause__, EngineError)


async def test_a_caller_has_something_to_say() -> None:
    with pytest.raises(ValueError, match="no utterance"):
        await measure(job(texts=()))


async def test_in_full_every_utterance_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_voice_to_voice, "_TURNS", 4)
    async with ToneSTTEngine() as stt, ScriptedTTSEngine() as tts:
        call = await converse(replace(job(), quick=False), stt, tts)
    assert [turn.transcript for turn in call.turns] == [
        "what is the weather",
        "play some music",
        "good night",
        "what is the weather",
    ]
