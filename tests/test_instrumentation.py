"""What a program is told of work that has ended, and how private each fact of it is."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import Any, get_args

import anyio
import pytest

from realtime_stts import AudioData, ConversationEngine, EngineError, SessionLimits, TurnEnded
from realtime_stts.instrumentation import (
    TURN_STAGES,
    CallDetails,
    Details,
    Sensitivity,
    SessionDetails,
    TurnDetails,
    operational,
    sensitivity,
)
from realtime_stts.testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    chunked,
    speech,
)

CALL = CallDetails(
    request_type="tts",
    engine="mouth",
    streaming=False,
    outcome="completed",
    started_at=1.0,
    duration=0.5,
    request_id="r1",
    session_id="s1",
    subject="ada",
    voice="bo",
    engine_time=0.4,
    audio_seconds=2.0,
)


# -- details -----------------------------------------------------------------------------


@pytest.mark.parametrize("of", get_args(Details))
def test_each_fact_is_classified(of: Any) -> None:
    for each in fields(of):
        assert isinstance(sensitivity(of, each.name), Sensitivity)


def test_a_fact_that_nobody_classified_is_an_error() -> None:
    @dataclass
    class Careless:
        mood: str

    with pytest.raises(KeyError):
        sensitivity(Careless, "mood")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        sensitivity(CallDetails, "mood")


def test_what_is_operational_is_about_no_person() -> None:
    facts = operational(CALL)
    assert facts["engine"] == "mouth"
    assert not {"request_id", "session_id", "subject", "voice"} & set(facts)
    assert operational(CALL, Sensitivity.IDENTIFIER)["session_id"] == "s1"
    assert operational(CALL, *Sensitivity)["voice"] == "bo"


def test_the_real_time_factor_is_of_calls_with_audio() -> None:
    assert CALL.rtf == 0.2
    without = CallDetails(**{**operational(CALL), "request_id": "r1", "audio_seconds": 0.0})
    assert without.rtf is None


def test_the_stages_are_facts_of_a_turn() -> None:
    assert {*TURN_STAGES} <= {each.name for each in fields(TurnDetails)}


# -- conversations -----------------------------------------------------------------------


def conversation(*told: Any, **options: Any) -> ConversationEngine:
    parts: dict[str, Any] = {
        "stt": ScriptedSTTEngine(["hello there"] * 3, latency=0.2),
        "tts": ScriptedTTSEngine(),
        "responder": ScriptedResponseGenerator(["Hello. How are you?"] * 3),
        "pause_detector": ScriptedPauseDetector([(1.0, 2.0)], delay=0.1),
        **options,
    }
    return ConversationEngine(**parts, instrumentation=told)


async def line(seconds: float) -> AsyncGenerator[AudioData]:
    began, heard = anyio.current_time(), 0.0
    async with aclosing(chunked(speech(seconds), 0.02)) as chunks:
        async for chunk in chunks:
            heard += chunk.duration_seconds
            await anyio.sleep_until(began + heard)
            yield chunk


async def talk(engine: ConversationEngine, seconds: float = 8.0) -> list[Any]:
    session = engine.session()
    async with session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, line(seconds))
        return [event async for event in session]
    raise AssertionError


@pytest.mark.anyio
async def test_a_turn_and_its_session_are_told_once_they_are_over() -> None:
    told: list[Any] = []
    events = await talk(conversation(told.append))
    turn, session = told
    [ended] = [event for event in events if isinstance(event, TurnEnded)]
    assert isinstance(turn, TurnDetails)
    assert isinstance(session, SessionDetails)
    assert (turn.turn, turn.outcome, turn.error_type) == (1, "answered", None)
    assert turn.request_id == f"{turn.session_id}-1"
    assert turn.session_id == session.session_id
    stages = [getattr(turn, stage) for stage in TURN_STAGES]
    assert sum(stages) == pytest.approx(turn.time_to_first_audio)
    assert turn.time_to_first_audio == ended.metrics.time_to_first_audio
    assert 1.0 < turn.duration < 8.0
    assert (session.reason, session.turns, session.dropped_turns) == ("input ended", 1, 0)
    assert session.audio_seconds == pytest.approx(8.0)
    assert session.duration == pytest.approx(8.0)
    assert session.undelivered_events == 0


@pytest.mark.anyio
async def test_a_turn_that_failed_says_of_what() -> None:
    told: list[Any] = []
    failing = ScriptedTTSEngine(failures=[EngineError("mouth", "cannot say Hello.")])
    await talk(conversation(told.append, tts=failing))
    assert (told[0].outcome, told[0].error_type) == ("failed", "EngineError")
    assert "Hello" not in repr(told)


@pytest.mark.anyio
async def test_a_turn_cut_short_with_its_session_is_told_too() -> None:
    told: list[Any] = []
    session = conversation(told.append).session()
    with anyio.move_on_after(1.8):
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.feed, line(8.0))
            async for _ in session:
                pass
    turn, over = told
    assert (turn.outcome, turn.end_of_turn_delay) == ("closed", None)
    assert (over.reason, over.turns, over.undelivered_events) == ("closed", 1, 0)


@pytest.mark.anyio
async def test_events_that_no_host_took_are_counted() -> None:
    told: list[Any] = []
    async with conversation(told.append).session() as session:
        await session.feed(line(3.0))
    assert told[-1].undelivered_events > 0


@pytest.mark.anyio
async def test_a_turn_that_failed_while_the_user_spoke_is_told_once() -> None:
    told: list[Any] = []
    deaf = ScriptedSTTEngine([EngineError("ear", "deaf")])
    session = conversation(told.append, stt=deaf).session()
    with anyio.move_on_after(1.8):
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.feed, line(8.0))
            async for _ in session:
                pass
    assert [type(each) for each in told] == [TurnDetails, SessionDetails]
    assert told[0].outcome == "failed"


@pytest.mark.anyio
async def test_a_session_that_a_limit_ended_says_so() -> None:
    told: list[Any] = []
    async with conversation(told.append, limits=SessionLimits(duration=0.5)).session() as session:
        async for _ in session:
            pass
    [over] = told
    assert (over.reason, over.duration) == ("duration limit", pytest.approx(0.5))


@pytest.mark.anyio
async def test_who_fails_to_listen_breaks_no_session_and_hides_it_from_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(details: Details) -> None:
        raise ValueError("hello there")

    told: list[Any] = []
    caplog.set_level(logging.INFO)
    events = await talk(conversation(broken, told.append))
    assert [event.outcome for event in events if isinstance(event, TurnEnded)] == ["answered"]
    assert len(told) == 2
    assert [message.partition("] ")[2] for message in caplog.messages] == [
        "an instrumentation failed"
    ] * 2
    assert "ValueError" in caplog.text


@pytest.mark.anyio
async def test_nobody_need_listen() -> None:
    assert [event for event in await talk(conversation()) if isinstance(event, TurnEnded)]
