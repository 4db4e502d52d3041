"""Where utterances begin and end, and what becomes of each of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

import anyio
import pytest

pytest.importorskip("fastapi")

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts._endpoint import SpeechStarted, SpeechStopped
from realtime_stts.conversation import TurnPolicy
from realtime_stts.errors import (
    AudioFormatError,
    EngineError,
    EngineTimeoutError,
    SessionClosedError,
)
from realtime_stts.integrations._http._transcribing import Failed, Transcribed, Transcriber
from realtime_stts.integrations._http._utterances import (
    Action,
    Begin,
    End,
    InputEnded,
    Quiet,
    Signal,
    Speaking,
    State,
    Tick,
    step,
)
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import ScriptedPauseDetector, ScriptedSTTEngine, speech

POLICY = TurnPolicy(end_of_turn=0.5, pre_roll=0.25, max_turn=10.0)


def run(*signals: Signal) -> list[Action]:
    state: State = Quiet()
    taken: list[Action] = []
    for signal in signals:
        state, actions = step(state, signal, POLICY)
        taken += actions
    return taken


SPOKEN = (SpeechStarted(1.0, 1.1), SpeechStopped(2.0, 2.3))


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        pytest.param((Tick(5.0), InputEnded(6.0)), [], id="silence is no utterance"),
        pytest.param((SpeechStopped(1.0, 1.2),), [], id="nor is the end of none"),
        pytest.param((*SPOKEN, Tick(2.5)), [Begin(0.75), End(2.3)], id="a pause ends one"),
        pytest.param((*SPOKEN, Tick(2.4)), [Begin(0.75)], id="a short one does not"),
        pytest.param(
            (*SPOKEN, SpeechStarted(2.35, 2.45), SpeechStopped(3.0, 3.3), Tick(3.5)),
            [Begin(0.75), End(3.3)],
            id="who goes on in time goes on with it",
        ),
        pytest.param(
            (*SPOKEN, SpeechStarted(2.45, 2.55)),
            [Begin(0.75), End(2.3), Begin(2.3)],
            id="who is heard too late begins another, and takes no sound of the first",
        ),
        pytest.param((SpeechStarted(0.1, 0.2),), [Begin(0.0)], id="no sound before the stream's"),
        pytest.param(
            (SpeechStarted(1.0, 1.1), SpeechStarted(2.0, 2.1)), [Begin(0.75)], id="begun once"
        ),
        pytest.param(
            (SpeechStarted(1.0, 1.1), Tick(10.75), Tick(21.0)),
            [Begin(0.75), End(10.75), Begin(10.75), End(20.75), Begin(20.75)],
            id="a long one is cut, and goes on as the next",
        ),
        pytest.param(
            (SpeechStarted(1.0, 1.1), InputEnded(3.0)), [Begin(0.75), End(3.0)], id="all is said"
        ),
        pytest.param(
            (*SPOKEN, InputEnded(2.4)), [Begin(0.75), End(2.3)], id="all is said, in a pause"
        ),
    ],
)
def test_utterances(signals: tuple[Signal, ...], expected: list[Action]) -> None:
    assert run(*signals) == expected


def test_nothing_is_cut_into_pieces_without_words() -> None:
    _, actions = step(Speaking(0.0), Tick(3.0), TurnPolicy(max_turn=1e-9))
    assert actions == [End(1.0), Begin(1.0), End(2.0), Begin(2.0)]


@given(st.lists(st.floats(0.05, 8.0), min_size=1), st.lists(st.floats(0.0, 60.0)))
def test_however_finely_time_is_sliced_the_utterances_are_the_same(
    gaps: list[float], ticks: list[float]
) -> None:
    now, spoken = 0.0, []
    for i, gap in enumerate(gaps):
        now += gap
        spoken.append(SpeechStopped(now, now) if i % 2 else SpeechStarted(now, now))
    signals = sorted([*spoken, *map(Tick, ticks)], key=lambda each: each.at)
    end = InputEnded(1000.0)
    assert run(*signals, end) == run(*spoken, end)


# -- transcribing


class Recorder(ScriptedSTTEngine):
    """Keeps what each call heard."""

    def __init__(self, script: list[str], **options: float) -> None:
        super().__init__(script, partials=False, **options)
        self.sounds: list[bytes] = []

    def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        mine = len(self.sounds)
        self.sounds.append(b"")

        async def kept() -> AsyncGenerator[AudioData]:
            async for chunk in audio:
                self.sounds[mine] += chunk.data
                yield chunk

        return super().stream(kept(), language)


async def transcribed(
    transcriber: Transcriber, audio: AudioData, chunk: float = 0.02
) -> list[Transcribed | Failed]:
    results: list[Transcribed | Failed] = []

    async def push() -> None:
        for first in range(0, round(audio.duration_seconds / chunk)):
            await transcriber.push(audio.sliced(first * chunk, (first + 1) * chunk))
        await transcriber.finish()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(push)
        async with aclosing(transcriber.results()) as told:
            results.extend([result async for result in told])
    return results


@pytest.mark.anyio
async def test_each_utterance_is_transcribed_with_the_sound_around_it() -> None:
    stt, audio = Recorder(["hello", "again"]), speech(8.0)
    detector = ScriptedPauseDetector([(1.0, 2.0), (4.0, 5.0)], delay=0.1)
    results = await transcribed(Transcriber(stt, detector), audio)
    assert [(each.utterance, each.result.text) for each in results] == [(1, "hello"), (2, "again")]
    first, second = results
    assert (first.start, first.end) == pytest.approx((0.7, 2.1), abs=0.03)
    assert (second.start, second.end) == pytest.approx((3.7, 5.1), abs=0.03)
    assert second.result.segments[0].start == second.start
    assert stt.sounds[0] == audio.sliced(first.start, first.end).data
    assert stt.sounds[1] == audio.sliced(second.start, second.end).data


@pytest.mark.anyio
@pytest.mark.parametrize("chunk", [0.01, 0.1, 0.5, 2.0, 4.0])
async def test_however_it_is_cut_the_engine_hears_the_same(chunk: float) -> None:
    audio = speech(8.0)
    spans = [(1.0, 2.0), (4.0, 5.0)]
    whole, cut = Recorder(["one", "two"]), Recorder(["one", "two"])
    detector = ScriptedPauseDetector(spans, delay=0.1)
    await transcribed(Transcriber(whole, detector), audio)
    await transcribed(Transcriber(cut, detector.clone()), audio, chunk)
    assert cut.sounds == whole.sounds


@pytest.mark.anyio
async def test_partial_results_come_while_it_is_being_said() -> None:
    stt = ScriptedSTTEngine(["one two three"])
    detector = ScriptedPauseDetector([(1.0, 2.0)])
    results = await transcribed(Transcriber(stt, detector), speech(4.0))
    assert [(r.result.text, r.result.partial) for r in results] == [
        ("one", True),
        ("one two", True),
        ("one two three", True),
        ("one two three", False),
    ]


@pytest.mark.anyio
async def test_what_turns_out_to_be_nothing_is_told_only_if_it_seemed_to_be_something() -> None:
    class Doubter(ScriptedSTTEngine):
        async def stream(
            self, audio: AsyncIterable[AudioData], language: str | None = None
        ) -> AsyncGenerator[TranscriptionResult]:
            n_chunks = len([chunk async for chunk in audio])
            if n_chunks and not self.calls:
                yield TranscriptionResult("was it?", "en", [], partial=True)
                yield TranscriptionResult("was it?", "en", [], partial=True)
            async for result in super().stream(audio, language):
                yield result

    detector = ScriptedPauseDetector([(1.0, 2.0), (4.0, 5.0)])
    results = await transcribed(Transcriber(Doubter([""]), detector), speech(8.0))
    assert [(r.utterance, r.result.text, r.result.partial) for r in results] == [
        (1, "was it?", True),
        (1, "", False),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure", [EngineError("fake", "is tired"), RuntimeError("in /etc/passwd")]
)
async def test_a_failure_costs_one_utterance(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stt = ScriptedSTTEngine([failure, "again"], partials=False)
    detector = ScriptedPauseDetector([(1.0, 2.0), (4.0, 5.0)])
    first, second = await transcribed(Transcriber(stt, detector), speech(8.0))
    assert first == Failed(1, failure)
    assert isinstance(second, Transcribed)
    assert second.result.text == "again"
    assert "passwd" not in caplog.text


@pytest.mark.anyio
async def test_an_engine_that_hangs_is_given_up_once_the_utterance_is_over() -> None:
    stt = ScriptedSTTEngine(["never", "again"], latency=3600.0)
    transcriber = Transcriber(stt, ScriptedPauseDetector([(1.0, 2.0)]), patience=5.0)
    (failed,) = [r for r in await transcribed(transcriber, speech(4.0)) if isinstance(r, Failed)]
    assert isinstance(failed.error, EngineTimeoutError)


@pytest.mark.anyio
async def test_no_utterance_waits_for_ever_behind_another() -> None:
    stt = ScriptedSTTEngine(["never", "nor this"], latency=3600.0, partials=False)
    detector = ScriptedPauseDetector([(1.0, 2.0), (4.0, 5.0)])
    results = await transcribed(Transcriber(stt, detector, patience=5.0), speech(8.0))
    assert [each.utterance for each in results if isinstance(each, Failed)] == [1, 2]


@pytest.mark.anyio
async def test_patience_may_have_no_end() -> None:
    stt = ScriptedSTTEngine(["late"], latency=3600.0, partials=False)
    transcriber = Transcriber(stt, ScriptedPauseDetector([(1.0, 2.0)]), patience=None)
    (late,) = await transcribed(transcriber, speech(4.0))
    assert isinstance(late, Transcribed)


@pytest.mark.anyio
async def test_clearing_forgets_what_is_being_transcribed_and_what_waits() -> None:
    stt = ScriptedSTTEngine(["gone", "kept"], latency=30.0, partials=False)
    detector = ScriptedPauseDetector([(1.0, 2.0), (3.0, 4.0), (6.0, 7.0)])
    transcriber = Transcriber(stt, detector, patience=None)
    audio, results = speech(9.0), []

    async def talk() -> None:
        await transcriber.push(audio.sliced(0.0, 5.0))
        await anyio.sleep(1.0)  # the first is with the engine, the second waits
        transcriber.clear()
        await transcriber.push(audio.sliced(5.0, 9.0))
        await transcriber.finish()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(talk)
        results = [each async for each in transcriber.results()]
    (kept,) = results
    assert (kept.utterance, kept.result.text) == (3, "kept")


@pytest.mark.anyio
async def test_clearing_while_somebody_speaks_keeps_what_they_say_afterwards() -> None:
    stt = Recorder(["the rest"])
    transcriber = Transcriber(stt, ScriptedPauseDetector([(1.0, 3.0)]))
    audio = speech(5.0)
    await transcriber.push(audio.sliced(0.0, 2.0))
    transcriber.clear()
    await transcriber.push(audio.sliced(2.0, 5.0))
    await transcriber.finish()
    (rest,) = [each async for each in transcriber.results()]
    assert rest.start == 2.0
    assert stt.sounds == [audio.sliced(2.0, rest.end).data]


@pytest.mark.anyio
async def test_clearing_between_two_results_ends_them() -> None:
    transcriber = Transcriber(ScriptedSTTEngine(["one two"]), ScriptedPauseDetector([(1.0, 2.0)]))
    await transcriber.push(speech(4.0))
    async with aclosing(transcriber.results()) as results:
        assert (await anext(results)).result.text == "one"
        transcriber.clear()
        await transcriber.finish()
        assert [each async for each in results] == []


@pytest.mark.anyio
async def test_who_pushes_waits_while_too_much_is_not_transcribed() -> None:
    stt = ScriptedSTTEngine(["one"] * 100, partials=False)
    detector = ScriptedPauseDetector([(4 * i + 1.0, 4 * i + 3.0) for i in range(100)])
    transcriber = Transcriber(stt, detector)
    with anyio.move_on_after(10.0) as scope:
        await transcriber.push(AudioData.silence(400.0, 16_000))
    assert scope.cancelled_caught
    assert 60.0 < transcriber.clock < 110.0


@pytest.mark.anyio
async def test_a_finished_stream_takes_no_more() -> None:
    transcriber = Transcriber(ScriptedSTTEngine([]), ScriptedPauseDetector())
    await transcriber.push(speech(1.0))
    await transcriber.finish()
    await transcriber.finish()
    with pytest.raises(SessionClosedError):
        await transcriber.push(speech(1.0))
    assert [each async for each in transcriber.results()] == []


@pytest.mark.anyio
async def test_sound_of_another_rate_is_refused_and_changes_nothing() -> None:
    transcriber = Transcriber(ScriptedSTTEngine([]), ScriptedPauseDetector())
    await transcriber.push(speech(1.0))
    with pytest.raises(AudioFormatError):
        await transcriber.push(speech(1.0, 8_000))
    assert transcriber.clock == 1.0
