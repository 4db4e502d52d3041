"""Who is taken to have finished, and when: held against the truth of the line."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from realtime_stts import AudioData, MissingExtraError, TurnPolicy
from realtime_stts.benchmark import _turn_taking
from realtime_stts.benchmark._check import CheckError
from realtime_stts.benchmark._spoken_turns import RATE, spoken_turn
from realtime_stts.benchmark._turn_taking import Taken, measure, take_turns
from realtime_stts.conversation import AdaptiveEndOfTurn
from realtime_stts.engines import load_pause_detector
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.protocols import PauseDetector
from realtime_stts.testing import ScriptedPauseDetector, speech

from .conversations import by_case, job

pytestmark = pytest.mark.anyio


async def taken(
    *texts: str,
    pauses: tuple[float, ...] = (),
    silence: float,
    judge: AdaptiveEndOfTurn | None = None,
    detector: PauseDetector | None = None,
) -> Taken:
    turn = spoken_turn([(text, speech(1.0, RATE)) for text in texts], pauses)
    policy = TurnPolicy(end_of_turn=silence)
    [found] = await take_turns([turn], detector or EnergyPauseDetector(), policy, judge)
    return found


@pytest.mark.parametrize(
    ("pause", "silence", "cut"),
    [(0.5, 0.3, True), (0.5, 0.6, False), (0.2, 0.3, False), (0.9, 0.6, True)],
)
async def test_a_pause_that_is_longer_than_the_timer_is_a_false_cut_off(
    pause: float, silence: float, cut: bool
) -> None:
    found = await taken("I would like", "a ticket", pauses=(pause,), silence=silence)
    assert found.cut is cut


@pytest.mark.parametrize("silence", [0.3, 0.6, 1.0])
async def test_the_delay_is_the_timers(silence: float) -> None:
    found = await taken("I would like a ticket", silence=silence)
    assert found.delay is not None
    assert (
        silence - 0.06 <= found.delay <= silence + 0.06
    )  # a frame of the detector, and one pushed


async def test_who_was_cut_off_is_answered_late_none_the_less() -> None:
    found = await taken("I would like", "a ticket", pauses=(0.9,), silence=0.3)
    assert found.cut
    assert found.delay == pytest.approx(0.3, abs=0.06)


async def test_the_words_decide_if_they_are_judged() -> None:
    """After "and" it waits twice as long, and after a full stop not as long."""
    judge = AdaptiveEndOfTurn(0.6)
    hanging = await taken("a ticket and", "a seat.", pauses=(0.9,), silence=0.6, judge=judge)
    assert not hanging.cut
    assert hanging.delay == pytest.approx(0.36, abs=0.06)
    finished = await taken("A ticket.", "And a seat.", pauses=(0.5,), silence=0.6, judge=judge)
    assert finished.cut


async def test_what_a_detector_takes_for_speech_before_anybody_speaks_cuts_nobody_off() -> None:
    early = ScriptedPauseDetector([(0.0, 0.05), (0.5, 1.5)])
    found = await taken("hello", silence=0.3, detector=early)
    assert not found.cut


async def test_a_turn_whose_end_nobody_notices_has_no_delay() -> None:
    deaf = ScriptedPauseDetector([(0.5, 0.8)])
    assert await taken("hello", silence=0.3, detector=deaf) == Taken(cut=True, delay=None)


async def test_a_turn_that_fails_fails_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> AsyncGenerator[Any]:
        raise RuntimeError("out of ink")
        yield

    monkeypatch.setattr(_turn_taking._Scribe, "stream", broken)
    with pytest.raises(CheckError, match=r"a turn failed: .*out of ink"):
        await taken("hello", silence=0.3)


async def test_every_detector_is_measured_with_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_energy(name: str) -> PauseDetector:
        if name != "energy":
            raise MissingExtraError(name, "local")
        return load_pause_detector(name)

    monkeypatch.setattr(_turn_taking, "load_pause_detector", only_energy)
    monkeypatch.setattr(_turn_taking, "_TURNS_QUICK", 2)
    told: list[str] = []
    figures = by_case(await measure(replace(job(), tell=told.append)))
    assert told == ["energy, 300 ms timer", "energy, 600 ms timer", "energy, adaptive, 600 ms"]
    assert [*figures] == [
        f"{case}: {what}" for case in told for what in ("cut off", "delay", "delay, p95")
    ]
    for case in told:
        cut = figures[f"{case}: cut off"]
        assert (cut.unit, cut.statistic, len(cut.samples)) == ("%", "mean", 2)
        assert {*cut.samples} <= {0.0, 100.0}
    assert all(500 <= ms <= 700 for ms in figures["energy, 600 ms timer: delay"].samples)


async def test_where_no_end_was_noticed_there_is_no_delay_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaf = ScriptedPauseDetector([(0.5, 0.8)])
    monkeypatch.setattr(_turn_taking, "load_pause_detector", lambda name: deaf)
    monkeypatch.setattr(_turn_taking, "_DETECTORS", ("deaf",))
    monkeypatch.setattr(_turn_taking, "_TURNS_QUICK", 1)
    assert {figure.statistic for figure in await measure(job())} == {"mean"}


async def test_the_scribe_can_be_asked_for_a_whole_clip_too() -> None:
    turn = spoken_turn([("hello there", speech(1.0, RATE))], [])
    scribe = _turn_taking._Scribe(turn)
    assert await scribe.is_available()
    scribe.clock = lambda: turn.end
    assert (await scribe.transcribe(AudioData.silence(1.0, RATE))).text == "hello there"
    await anyio.lowlevel.checkpoint()
