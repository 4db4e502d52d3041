"""How soon an interrupted bot is silent, and its engines free."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from realtime_stts import AudioData, EngineError, TurnPolicy
from realtime_stts.benchmark import _barge_in
from realtime_stts.benchmark._barge_in import (
    interrupt,
    measure,
    next_syntheses,
    next_transcriptions,
    stops,
)
from realtime_stts.benchmark._check import CheckError
from realtime_stts.benchmark._figures import Utterance
from realtime_stts.conversation import Interrupted, ReplyAudio, ReplyPaused, ReplyResumed
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.protocols import SynthesisResult, TranscriptionResult
from realtime_stts.testing import (
    Call,
    Failure,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
)
from realtime_stts.testing._line import Moment, Playout

from .conversations import by_case, job, utterances

pytestmark = pytest.mark.anyio

TEXTS = ("tell me a very long story", "no stop that now", "what is the time")
TOLERANCE = 60.0  # ms: two frames of the detector


@pytest.fixture(autouse=True)
def _hears_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector that is installed by default may not take tones for speech."""
    plain = _barge_in.ConversationEngine

    def hearing(**given: object) -> object:
        given["pause_detector"] = given["pause_detector"] or EnergyPauseDetector()
        return plain(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(_barge_in, "ConversationEngine", hearing)
    monkeypatch.setattr(_barge_in, "_INTERRUPTIONS_QUICK", 2)
    monkeypatch.setattr(_barge_in, "_ROUNDS_QUICK", 2)


async def test_the_bot_is_silent_once_so_much_speech_was_heard_over_it() -> None:
    figures = by_case(await measure(job(texts=TEXTS)))
    held = 1e3 * (TurnPolicy().barge_in or 0.0)
    decided = figures["voice onset to the decision"].samples
    silent = figures["voice onset to the bot's last sound"].samples
    assert len(decided) == len(silent) == 2
    assert decided == pytest.approx([held] * 2, abs=TOLERANCE)
    assert all(ms <= moment + 10 for ms, moment in zip(silent, decided, strict=True))
    assert silent == pytest.approx(decided, abs=150)  # white space is silent in this voice
    assert figures["sounds of the old answer after it"].samples == (0.0, 0.0)


class SlowToStop(ScriptedTTSEngine):
    """Its next call waits for what an abandoned one has left running."""

    def __init__(self) -> None:
        super().__init__(latency=0.1, real_time_factor=0.0)
        self._busy_until = 0.0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        await anyio.sleep_until(self._busy_until)
        return await super().synthesize(text, voice_config)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self._busy_until = anyio.current_time() + 0.35
        async for chunk in super().stream(text, voice_config):
            yield chunk


async def test_a_voice_that_goes_on_in_secret_is_found_out() -> None:
    tts = SlowToStop()
    waits, idle = await next_syntheses(tts, 3)
    assert idle == pytest.approx([0.1] * 3)
    assert waits == pytest.approx([0.35] * 3)


async def test_a_voice_that_stops_is_free_at_once() -> None:
    waits, idle = await next_syntheses(ScriptedTTSEngine(latency=0.1, real_time_factor=0.0), 3)
    assert waits == pytest.approx(idle)


class SlowEars(ToneSTTEngine):
    """The same of a recogniser."""

    _busy_until = 0.0

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await anyio.sleep_until(self._busy_until)
        return await super().transcribe(audio, language)

    async def stream(self, audio: Any, language: str | None = None) -> AsyncGenerator[Any]:
        self._busy_until = anyio.current_time() + 0.5
        async for result in super().stream(audio, language):
            yield result


async def test_a_recogniser_that_goes_on_in_secret_is_found_out() -> None:
    [said, *_] = utterances()
    waits, idle = await next_transcriptions(SlowEars(latency=0.1), said, 2, "en")
    assert idle[0] == pytest.approx(0.1)
    assert waits == pytest.approx([0.5 - 0.05 + 0.1] * 2)
    waits, idle = await next_transcriptions(ToneSTTEngine(latency=0.1), said, 2, "en")
    assert waits == pytest.approx(idle)


async def test_the_engines_figures_are_the_longest_waits_beside_idle_calls() -> None:
    figures = by_case(await measure(job(tts=SlowToStop, texts=TEXTS)))
    after, idle = (
        figures["the voice is free again after"],
        figures["the voice, the same call when idle"],
    )
    assert after.statistic == "max"
    assert after.samples == pytest.approx([350.0] * 2)
    assert idle.samples == pytest.approx([100.0] * 2)


# -- what is a stop, and what is none ------------------------------------------------------


def call(*events: tuple[float, Any], spoken: tuple[float, ...] = (1.0,)) -> Call:
    """The caller speaks for a second at each of these moments."""
    [said, *_] = utterances(["x" * 12])
    caller, bot = Playout(), Playout()
    for moment in spoken:
        caller.play(moment, 0, said.audio)
    for moment, event in events:
        bot.tell(Moment(moment, event))
    return Call(tuple(events), (), 10.0, caller, bot)


def sound(moment: float, turn: int = 1, seconds: float = 0.1) -> tuple[float, ReplyAudio]:
    audio = utterances(["x" * 40])[0].audio.sliced(0.0, seconds)
    return moment, ReplyAudio(turn, audio)


def test_sounds_after_the_decision_count_as_late() -> None:
    [stop] = stops(
        call(
            sound(0.9, seconds=0.5),
            (1.3, ReplyPaused(1, 1.3, 0.4)),
            (1.35, Interrupted(1, 1.35, "")),
            sound(1.4),
            sound(1.5),
            sound(2.0, turn=2),
        )
    )
    assert (stop.onset, stop.decided) == pytest.approx((1.0, 1.3), abs=0.011)
    assert stop.n_late == 2
    assert stop.silent == pytest.approx(1.6, abs=0.011)


def test_an_answer_that_was_resumed_can_be_stopped_again() -> None:
    found = stops(
        call(
            sound(0.9, seconds=0.5),
            (1.3, ReplyPaused(1, 1.3, 0.4)),
            (3.0, ReplyResumed(1, 3.0, 0.4)),
            sound(3.0, seconds=0.5),
            sound(3.5, seconds=0.5),
            (4.3, ReplyPaused(1, 4.3, 1.0)),
            spoken=(1.0, 3.9),
        )
    )
    assert [stop.onset for stop in found] == pytest.approx([1.0, 3.9], abs=0.011)
    assert [stop.n_late for stop in found] == [0, 0]
    assert [stop.silent for stop in found] == pytest.approx([1.3, 4.0], abs=0.02)


def test_the_first_stop_counts_of_what_was_said_once() -> None:
    [stop] = stops(
        call(
            sound(0.9, seconds=0.5),
            (1.3, ReplyPaused(1, 1.3, 0.4)),
            (3.0, ReplyResumed(1, 3.0, 0.4)),
            sound(3.0, seconds=0.5),
            (3.2, Interrupted(1, 3.2, "")),  # the words have come late
        )
    )
    assert stop.decided == 1.3
    assert stop.silent == pytest.approx(1.3, abs=0.02)


def test_what_nobody_said_or_nobody_heard_is_no_stop() -> None:
    before_anybody_spoke = call(sound(0.1), (0.3, Interrupted(1, 0.3, "")))
    assert stops(before_anybody_spoke) == []
    before_any_sound = call((1.3, Interrupted(1, 1.3, "")))
    assert stops(before_any_sound) == []


# -- what makes it fail --------------------------------------------------------------------


async def test_it_fails_if_there_is_no_answer_to_interrupt() -> None:
    with pytest.raises(CheckError, match="there was no answer to interrupt"):
        await measure(job(stt=lambda: ScriptedSTTEngine(["", "", ""]), texts=TEXTS))


async def test_it_fails_if_nothing_stops_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_barge_in, "stops", lambda call: [])
    with pytest.raises(CheckError, match="nothing that was said over an answer stopped it"):
        await measure(job(texts=TEXTS))


async def test_it_fails_if_a_turn_did() -> None:
    broken = Failure(EngineError("ears", "are closed"))
    script = ["a story", "stop", broken]
    with pytest.raises(CheckError, match=r"a turn failed: .*are closed"):
        await measure(job(stt=lambda: ScriptedSTTEngine(script), texts=TEXTS))


class Speechless(ScriptedTTSEngine):
    def __init__(self, what_fails: str) -> None:
        super().__init__()
        self._what_fails = what_fails
        self._n_calls = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        self._n_calls += 1
        if self._what_fails == "the next call" and self._n_calls == 2:
            raise EngineError("voice", "lost")
        return await super().synthesize(text, voice_config)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        if self._what_fails == "the answer":
            raise EngineError("voice", "lost")
        if self._what_fails == "nothing":
            return
        async for chunk in super().stream(text, voice_config):
            yield chunk


@pytest.mark.parametrize("what", ["the next call", "the answer"])
async def test_an_error_of_the_voice_is_told_as_it_is(what: str) -> None:
    with pytest.raises(CheckError, match=r"could not be interrupted: .*lost"):
        await next_syntheses(Speechless(what), 1)


async def test_a_voice_without_a_sound_cannot_be_interrupted() -> None:
    with pytest.raises(CheckError, match="could not be interrupted"):
        await next_syntheses(Speechless("nothing"), 1)


async def test_a_recogniser_that_is_not_at_work_cannot_be_left() -> None:
    nothing = Utterance("nothing", "", AudioData.silence(0.0, 16_000))
    with pytest.raises(CheckError, match="was not at work"):
        await next_transcriptions(ToneSTTEngine(), nothing, 1, "en")


async def test_an_error_of_the_recogniser_is_told_as_it_is() -> None:
    [said, *_] = utterances()

    class Dropping(ToneSTTEngine):
        n_calls = 0

        async def transcribe(
            self, audio: AudioData, language: str | None = None
        ) -> TranscriptionResult:
            self.n_calls += 1
            if self.n_calls == 2:
                raise EngineError("ears", "are closed")
            return await super().transcribe(audio, language)

    with pytest.raises(CheckError, match=r"not at work when its session was left: .*are closed"):
        await next_transcriptions(Dropping(), said, 1, "en")


async def test_in_full_all_utterances_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_barge_in, "_INTERRUPTIONS", 3)
    async with ToneSTTEngine() as stt, ScriptedTTSEngine() as tts:
        made = await interrupt(replace(job(texts=TEXTS), quick=False), stt, tts)
    assert len(stops(made)) == 3
