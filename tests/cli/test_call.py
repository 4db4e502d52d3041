"""A call with engines that follow a script: who waits for whom, and what is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from realtime_stts import (
    ConversationEngine,
    EngineError,
    FinalTranscript,
    ReplyAudio,
    SpeechStarted,
    SpeechStopped,
    TurnEnded,
    TurnFailed,
)
from realtime_stts.cli._call import LINE_RATE, Call, Phrase
from realtime_stts.cli._recording import Moment, Recording
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import (
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)

pytestmark = pytest.mark.anyio

PACKET = 0.02
HELLO = Phrase(speech(1.0, LINE_RATE), "hello there")
BYE = Phrase(speech(0.8, LINE_RATE), "good bye")


async def hold(
    *phrases: Phrase,
    stt: ScriptedSTTEngine | None = None,
    tts: ScriptedTTSEngine | None = None,
    told: list[tuple[Moment, Phrase | None]] | None = None,
) -> Recording:
    engine = ConversationEngine(
        stt=stt or ScriptedSTTEngine(["hello there", "good bye"]),
        tts=tts or ScriptedTTSEngine(),
        responder=ScriptedResponseGenerator(["Hello! What can I do for you?", "Good bye."]),
        pause_detector=EnergyPauseDetector(),
    )
    heard = [] if told is None else told
    call = Call(engine.session(), lambda m, phrase: heard.append((m, phrase)))
    return await call.hold(phrases)


def sound(recording: Recording) -> np.ndarray:
    return recording.caller.samples[:, 0]


async def test_each_phrase_becomes_a_turn_that_knows_what_was_said_and_heard() -> None:
    call = await hold(HELLO, BYE, stt=ScriptedSTTEngine(["hello there", "good buy"]))
    assert [(turn.phrase, turn.said, turn.heard) for turn in call.turns] == [
        (0, "hello there", "hello there"),
        (1, "good bye", "good buy"),
    ]
    assert [turn.reply for turn in call.turns] == ["Hello! What can I do for you?", "Good bye."]


async def test_the_caller_hears_the_answer_out_and_takes_a_breath() -> None:
    first, second = (await hold(HELLO, BYE)).turns
    assert first.reply_end is not None
    assert second.reply_end is not None
    assert first.reply_end + 0.5 < second.start < first.reply_end + 1.0


async def test_both_sides_last_until_the_last_answer_has_been_heard() -> None:
    call = await hold(HELLO)
    end = call.turns[0].reply_end
    assert end is not None
    assert end + 0.5 < call.duration < end + 1.0
    assert call.bot.duration_seconds == pytest.approx(call.duration, abs=1 / LINE_RATE)


async def test_the_phrase_is_where_the_detector_heard_it() -> None:
    call = await hold(HELLO)
    ((start, end),) = call.speech
    assert start == pytest.approx(0.5, abs=0.1)
    assert end == pytest.approx(1.5, abs=0.1)


async def test_between_the_phrases_the_line_has_a_faint_noise() -> None:
    line = sound(await hold(HELLO))
    lead_in = line[: round(0.5 * LINE_RATE)]
    assert 20 * np.log10(np.sqrt(np.mean(lead_in**2))) == pytest.approx(-60, abs=1)
    # And none of it is anybody's speech cut off: the phrase is all there.
    phrase = line[round(0.5 * LINE_RATE) : round(1.5 * LINE_RATE)]
    assert np.corrcoef(phrase, HELLO.audio.samples[:, 0])[0, 1] > 0.99


async def test_the_same_call_sounds_the_same_again() -> None:
    first, second = await hold(HELLO), await hold(HELLO)
    n_frames = min(len(sound(first)), len(sound(second)))
    assert np.array_equal(sound(first)[:n_frames], sound(second)[:n_frames])


async def test_the_line_keeps_pace_with_the_clock() -> None:
    told: list[tuple[Moment, Phrase | None]] = []
    await hold(HELLO, told=told)
    detected = [m for m, _ in told if isinstance(m.event, SpeechStarted | SpeechStopped)]
    assert len(detected) == 2
    for moment in detected:
        assert isinstance(moment.event, SpeechStarted | SpeechStopped)
        # Detectors decide at the end of a frame, which the next packet may complete.
        assert -1e-6 < moment.t - moment.event.decided < 2 * PACKET


async def test_the_answer_is_played_when_it_was_made() -> None:
    (turn,) = (await hold(HELLO)).turns
    assert turn.metrics is not None
    assert turn.latency == turn.metrics.time_to_first_audio
    assert turn.reply_start == pytest.approx(turn.end + (turn.latency or 0), abs=PACKET)


async def test_the_host_is_told_everything_in_order_with_the_phrase_it_is_about() -> None:
    told: list[tuple[Moment, Phrase | None]] = []
    call = await hold(HELLO, BYE, told=told)
    assert [moment for moment, _ in told] == [*call.moments]
    times = [moment.t for moment in call.moments]
    assert times == sorted(times)
    phrases = [phrase for moment, phrase in told if isinstance(moment.event, FinalTranscript)]
    assert phrases == [HELLO, BYE]


async def test_a_phrase_that_is_not_heard_does_not_stop_the_call() -> None:
    whisper = Phrase(speech(0.0, LINE_RATE), "hello there")
    call = await hold(whisper, BYE, stt=ScriptedSTTEngine(["good bye"]))
    assert [(turn.phrase, turn.said) for turn in call.turns] == [(1, "good bye")]


async def test_a_turn_that_fails_does_not_stop_the_call() -> None:
    stt = ScriptedSTTEngine([EngineError("scripted", "gone"), "good bye"])
    call = await hold(HELLO, BYE, stt=stt)
    assert [turn.error for turn in call.turns] == ["scripted: gone", None]
    kinds = [type(m.event) for m in call.moments if isinstance(m.event, TurnFailed | TurnEnded)]
    assert kinds == [TurnFailed, TurnEnded]


async def test_a_recording_of_unknown_words_is_played_whatever_answers_meanwhile() -> None:
    pause = np.zeros(2 * LINE_RATE, np.float32)
    parts = (HELLO.audio.samples[:, 0], pause, BYE.audio.samples[:, 0])
    audio = HELLO.audio.from_samples(np.concatenate(parts), LINE_RATE)
    call = await hold(Phrase(audio), tts=ScriptedTTSEngine(seconds_per_character=0.2))
    first, second = call.turns
    assert [turn.said for turn in call.turns] == [None, None]
    assert first.outcome == "interrupted"
    assert first.reply.startswith(first.spoken)
    assert second.reply == "Good bye."


async def test_the_caller_may_speak_over_the_answer() -> None:
    over = Phrase(BYE.audio, "good bye", over=0.7)
    first, second = (await hold(HELLO, over)).turns
    assert first.reply_start is not None
    assert second.start == pytest.approx(first.reply_start + 0.7, abs=0.1)
    assert first.outcome == "interrupted"
    assert second.reply == "Good bye."


async def test_or_over_one_that_never_comes() -> None:
    over = Phrase(BYE.audio, "good bye", over=0.7)
    call = await hold(HELLO, over, stt=ScriptedSTTEngine(["", "good bye"]))
    assert [turn.outcome for turn in call.turns] == ["silent", "answered"]


async def test_no_sound_of_an_answer_is_lost() -> None:
    call = await hold(HELLO)
    made = [m.event.audio for m in call.moments if isinstance(m.event, ReplyAudio)]
    n_sounding = sum(np.count_nonzero(audio.samples) for audio in made)
    assert np.count_nonzero(call.bot.samples) == n_sounding
