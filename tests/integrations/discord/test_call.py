"""A conversation in a voice channel, on virtual time: who hears what, and who stops whom."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

import discord

from realtime_stts import AudioData, ConversationEngine, OverloadedError
from realtime_stts.conversation import (
    FinalTranscript,
    Interrupted,
    SessionEnded,
    SessionLimits,
    TurnEnded,
    TurnFailed,
)
from realtime_stts.engines import load_pause_detector
from realtime_stts.errors import EngineError, MissingExtraError, SessionClosedError
from realtime_stts.integrations.discord import CallEnded, CallEvent, VoiceBridge, VoiceCall
from realtime_stts.protocols import ConversationContext, TranscriptionResult
from realtime_stts.testing import Failure, ScriptedTTSEngine, ToneSTTEngine, no_leaks, tone_text

from .people import Client, talk, until

pytestmark = pytest.mark.anyio

ANN, BEN, EVE = 1, 2, 3
LONG = "this is a long answer that goes on and on and on until somebody says stop"


async def answer(said: TranscriptionResult, context: ConversationContext) -> AsyncIterator[str]:
    yield LONG if "long" in said.text else f"you said {said.text}"


def engine(**options: Any) -> ConversationEngine:
    return ConversationEngine(
        **{
            "stt": ToneSTTEngine(),
            "tts": ScriptedTTSEngine(),
            "responder": answer,
            "pause_detector": load_pause_detector("energy"),
            **options,
        }
    )


@asynccontextmanager
async def calling(
    client: Client, engine: ConversationEngine, users: Sequence[int] = (), **options: Any
) -> AsyncGenerator[tuple[VoiceCall, list[CallEvent]]]:
    """A call whose player plays, and whose events are noted."""
    noted: list[CallEvent] = []
    options.setdefault("bridge", VoiceBridge(clock=anyio.current_time))
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        async with VoiceCall(engine, client, **options) as call:  # type: ignore[arg-type]
            tasks.start_soon(_note, call, noted)
            for user in users:
                call.allow(user)
            yield call, noted
        tasks.cancel_scope.cancel()


async def _note(call: VoiceCall, noted: list[CallEvent]) -> None:
    async for event in call:
        noted.append(event)  # noqa: PERF401 - it is looked at meanwhile


def told(noted: list[CallEvent], kind: type, user: int | None) -> list[Any]:
    return [one.event for one in noted if one.user_id == user and isinstance(one.event, kind)]


async def test_who_speaks_is_answered() -> None:
    client = Client()
    async with calling(client, engine(), [ANN]) as (call, noted):
        await talk(call.bridge, ANN, "good morning")
        await until(lambda: told(noted, TurnEnded, ANN))
        assert [event.text for event in told(noted, FinalTranscript, ANN)] == ["good morning"]
        turn = told(noted, TurnEnded, ANN)[0]
        assert turn.heard == "you said good morning"
        assert call.source.underruns == 0
        assert call.dropped_events == 0
        session = call.session_of(ANN)
        assert session is not None
        assert session.history[0].heard == turn.heard
    assert tone_text(client.heard()) == "you said good morning"
    assert noted[-1] == CallEvent(None, CallEnded("closed"))


async def test_two_people_speak_at_once_and_each_has_a_conversation_of_their_own() -> None:
    client = Client()
    async with calling(client, engine(), [ANN, BEN]) as (call, noted):
        async with anyio.create_task_group() as talking:
            talking.start_soon(talk, call.bridge, ANN, "one two three")
            talking.start_soon(talk, call.bridge, BEN, "red green blue", 1)
        await until(lambda: told(noted, TurnEnded, ANN) and told(noted, TurnEnded, BEN))
        for user, text in ((ANN, "one two three"), (BEN, "red green blue")):
            assert [event.text for event in told(noted, FinalTranscript, user)] == [text]
            assert told(noted, TurnEnded, user)[0].heard == f"you said {text}"
    # One answer is heard after the other, whole.
    assert tone_text(client.heard()) in (
        "you said one two three you said red green blue",
        "you said red green blue you said one two three",
    )


async def test_a_room_is_one_conversation() -> None:
    client = Client()
    async with calling(client, engine(), [ANN, BEN], sessions="room") as (call, noted):
        await talk(call.bridge, ANN, "good")
        await anyio.sleep(0.1)
        await talk(call.bridge, BEN, "morning", 1)
        await until(lambda: told(noted, TurnEnded, None))
        assert [event.text for event in told(noted, FinalTranscript, None)] == ["good morning"]
        assert call.session_of(None) is not None
        assert call.session_of(ANN) is None
        call.forget(BEN)
        await talk(call.bridge, BEN, "not any more", 1)
        await anyio.sleep(2.0)
        assert len(told(noted, FinalTranscript, None)) == 1
    assert tone_text(client.heard()) == "you said good morning"


async def test_whom_nobody_allowed_is_not_heard() -> None:
    client = Client()
    async with calling(client, engine(), [ANN]) as (call, noted):
        await talk(call.bridge, EVE, "listen to me")
        await anyio.sleep(2.0)
        assert call.session_of(EVE) is None
        assert call.bridge.refused > 0
    assert [event for event in noted if event.user_id is not None] == []


async def test_who_speaks_over_an_answer_stops_it_at_once() -> None:
    client = Client()
    async with calling(client, engine(), [ANN]) as (call, noted):
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 1.5)
        async with anyio.create_task_group() as talking:
            talking.start_soon(talk, call.bridge, ANN, "stop that please")
            await until(lambda: told(noted, Interrupted, ANN))
            n_played = len(client.played)
            await anyio.sleep(0.5)
            after = client.played[n_played + 1 :]
            assert after
            assert not any(frame.strip(b"\0") for frame in after)
        heard = told(noted, Interrupted, ANN)[0].heard
        assert heard
        assert LONG.startswith(heard)
        await until(lambda: len(told(noted, TurnEnded, ANN)) == 2)
        assert told(noted, TurnEnded, ANN)[-1].heard == "you said stop that please"
    assert tone_text(client.heard()).startswith(heard[:10])


async def test_an_answer_that_waits_its_turn_is_taken_back_when_its_person_goes_on() -> None:
    client = Client()
    async with calling(client, engine(), [ANN, BEN]) as (call, noted):
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 0.2)
        await talk(call.bridge, BEN, "hello bot", 1)  # its answer has to wait
        await anyio.sleep(1.0)
        await talk(call.bridge, BEN, "are you there", 1)
        await until(lambda: len(told(noted, TurnEnded, BEN)) == 2)
        assert told(noted, TurnEnded, ANN)[0].heard == LONG
        first, second = told(noted, TurnEnded, BEN)
        assert (first.heard, first.outcome) == ("", "interrupted")
        assert second.heard == "you said are you there"
    assert tone_text(client.heard()) == f"{LONG} you said are you there"


async def test_who_leaves_is_forgotten_with_what_is_being_said_to_them() -> None:
    client = Client()
    async with calling(client, engine(), [ANN, BEN]) as (call, noted):
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 0.5)
        call.forget(ANN)
        await anyio.sleep(0.05)
        assert call.source.is_idle
        assert call.session_of(ANN) is None
        await talk(call.bridge, BEN, "and me", 1)  # the others go on
        await until(lambda: told(noted, TurnEnded, BEN))
        call.forget(ANN)
        call.allow(ANN)  # they come again, and begin anew
        await talk(call.bridge, ANN, "back again")
        await until(lambda: told(noted, TurnEnded, ANN))
        assert told(noted, TurnEnded, ANN)[0].turn == 1
        call.allow(ANN)  # again does nothing


async def test_a_session_that_comes_to_its_limit_begins_anew_with_the_next_sound() -> None:
    client = Client()
    limits = SessionLimits(duration=5.0)
    async with calling(client, engine(limits=limits), [ANN]) as (call, noted):
        await talk(call.bridge, ANN, "first")
        await until(lambda: told(noted, SessionEnded, ANN))
        await anyio.sleep(10.0)
        assert call.session_of(ANN) is None
        await talk(call.bridge, ANN, "second")
        await until(lambda: len(told(noted, TurnEnded, ANN)) == 2)


async def test_a_stream_that_ends_in_the_bridge_ends_the_session() -> None:
    client = Client()
    async with calling(client, engine(), [ANN]) as (call, noted):
        await talk(call.bridge, ANN, "hello")
        await anyio.sleep(0.1)  # what waits in the bridge would be dropped
        call.bridge.forget(ANN)
        await until(lambda: told(noted, SessionEnded, ANN))
        assert told(noted, TurnEnded, ANN)[0].heard == "you said hello"
        await until(lambda: call.session_of(ANN) is None)
        call.allow(ANN)
        await talk(call.bridge, ANN, "hello again")
        await until(lambda: len(told(noted, TurnEnded, ANN)) == 2)


async def test_a_turn_that_fails_gives_the_floor_to_the_next() -> None:
    client = Client()
    tts = ScriptedTTSEngine(failures=[Failure(EngineError("tts", "no voice"), after=2)])
    async with calling(client, engine(tts=tts), [ANN, BEN]) as (call, noted):
        await talk(call.bridge, ANN, "hello")
        await until(lambda: told(noted, TurnFailed, ANN))
        await talk(call.bridge, BEN, "hello you", 1)
        await until(lambda: told(noted, TurnEnded, BEN))
        assert await call.say("done")


# -- saying


async def test_it_says_what_it_is_told_to_and_returns_when_it_was_heard() -> None:
    client = Client()
    async with calling(client, engine(stt=None)) as (call, _):
        began = anyio.current_time()
        assert await call.say("Hello there. I speak, *and* do not listen!")
        assert anyio.current_time() - began >= 2.0
        assert call.source.is_idle
        assert await call.say("***") is True  # nothing that could be said
    assert tone_text(client.heard()).lower() == "hello there. i speak, and do not listen!"


async def test_what_is_said_has_the_voice_of_the_call() -> None:
    class Provider:
        def get_stt_config(self) -> dict[str, Any]:
            return {}

        def get_tts_config(self) -> dict[str, Any]:
            return {"voice_id": "c", "warmth": 1}

        def get_conversation_config(self) -> dict[str, Any]:
            return {}

    tts = ScriptedTTSEngine(voices=("a", "b", "c"))
    configured = engine(tts=tts, config_provider=Provider(), voice_config={"voice_id": "b"})
    async with calling(Client(), configured, voice_config={"speed_factor": 2.0}) as (call, _):
        await call.say("hi")
    assert tts.calls[0].voice_config == {"voice_id": "b", "warmth": 1, "speed_factor": 2.0}


async def test_several_sayings_are_heard_one_after_the_other() -> None:
    client = Client()
    async with calling(client, engine()) as (call, _), anyio.create_task_group() as tasks:
        tasks.start_soon(call.say, "first")
        tasks.start_soon(call.say, "second")
    assert tone_text(client.heard()) in ("first second", "second first", "firstsecond")


async def test_a_saying_that_is_cancelled_stops_at_once() -> None:
    client = Client()
    async with calling(client, engine()) as (call, _):
        with anyio.move_on_after(1.0):
            await call.say(LONG)
        n_played = len(client.played)
        await anyio.sleep(0.5)
        assert not any(frame.strip(b"\0") for frame in client.played[n_played + 1 :])
        assert await call.say("and it speaks again")
    assert tone_text(client.heard()).endswith("and it speaks again")


async def test_interrupt_stops_a_saying_that_waits_its_turn() -> None:
    results = list[bool]()
    async with calling(Client(), engine()) as (call, _):

        async def say() -> None:
            results.append(await call.say(LONG))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            tasks.start_soon(say)
            await until(lambda: call.source.played > 0.5)
            await call.interrupt()
        assert results == [False, False]


async def test_interrupt_stops_whatever_is_being_said() -> None:
    client, results = Client(), list[bool]()
    async with calling(client, engine(), [ANN]) as (call, noted):

        async def say() -> None:
            results.append(await call.say(LONG))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            await until(lambda: call.source.played > 0.5)
            await call.interrupt()
        assert results == [False]
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 1.5)
        await call.interrupt()
        await until(lambda: told(noted, TurnEnded, ANN))
        assert told(noted, TurnEnded, ANN)[0].outcome == "interrupted"
        assert call.source.is_idle


async def test_a_voice_that_fails_is_heard_as_far_as_it_came() -> None:
    client = Client()
    tts = ScriptedTTSEngine(failures=[Failure(EngineError("tts", "no voice"), after=5)])
    async with calling(client, engine(tts=tts)) as (call, _):
        with pytest.raises(EngineError, match="no voice"):
            await call.say("only the beginning of this is heard")
        assert call.source.played == pytest.approx(0.5, abs=0.02)


# -- its life


async def test_a_client_that_is_gone_ends_the_call_and_says_so() -> None:
    client = Client()
    async with calling(client, engine(), [ANN]) as (call, noted):
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 0.5)
        client.stop()  # as discord.py does when the bot was kicked
        await until(lambda: noted and noted[-1] == CallEvent(None, CallEnded("disconnected")))
        await until(lambda: call.session_of(ANN) is None)
        with pytest.raises(SessionClosedError):
            await call.say("nobody hears that")
        with pytest.raises(SessionClosedError):
            call.allow(BEN)
        assert call.bridge.allowed == frozenset()


async def test_a_client_that_goes_while_something_is_said_ends_that() -> None:
    client = Client()
    async with calling(client, engine()) as (call, _), anyio.create_task_group() as tasks:

        async def say() -> None:
            with pytest.raises(SessionClosedError):
                await call.say(LONG * 5)

        tasks.start_soon(say)
        await until(lambda: call.source.played > 0.5)
        client.stop()


async def test_an_error_of_the_host_leaves_the_block_as_it_is() -> None:
    client = Client()
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        with pytest.raises(KeyError, match="mine"):
            async with VoiceCall(engine(), client):  # type: ignore[arg-type]
                raise KeyError("mine")
        tasks.cancel_scope.cancel()


async def test_a_call_may_be_cancelled() -> None:
    client = Client()
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        with anyio.move_on_after(1.0) as scope:
            async with VoiceCall(engine(), client):  # type: ignore[arg-type]
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert client.source is None
        tasks.cancel_scope.cancel()


async def test_a_detector_that_fails_ends_the_call_with_its_error() -> None:
    class Broken(Exception):
        pass

    class Detector:
        is_speaking = False

        def reset(self) -> None: ...

        def clone(self) -> Detector:
            return self

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            raise Broken

    client = Client()

    async def call() -> None:
        async with calling(client, engine(pause_detector=Detector()), [ANN]) as (call, _):
            await talk(call.bridge, ANN, "hello")
            await anyio.sleep(5.0)

    with pytest.raises(Exception) as raised:  # noqa: PT011 - a group, which Python 3.10 has not
        await call()
    failure: Any = raised.value
    while hasattr(failure, "exceptions"):
        (failure,) = failure.exceptions
    assert isinstance(failure, Broken)
    assert client.source is None


async def test_leaving_in_the_middle_leaves_nothing_behind() -> None:
    client = Client()
    async with calling(client, engine(), [ANN, BEN]) as (call, _):
        await talk(call.bridge, ANN, "a long one please")
        await until(lambda: call.source.played > 0.5)
        await talk(call.bridge, BEN, "me too", 1)
    assert client.source is None


async def test_a_client_that_is_not_connected_is_refused_by_discord_itself() -> None:
    client = Client()
    client.is_connected = False
    with pytest.raises(discord.ClientException, match="Not connected"):
        async with VoiceCall(engine(), client):  # type: ignore[arg-type]
            pass


async def test_no_libopus_is_said_with_what_helps() -> None:
    class Deaf(Client):
        def play(self, source: Any, **options: Any) -> None:
            raise discord.opus.OpusNotLoaded

    with pytest.raises(MissingExtraError, match="libopus"):
        async with VoiceCall(engine(), Deaf()):  # type: ignore[arg-type]
            pass


async def test_somebody_else_plays_now_and_is_left_alone() -> None:
    client = Client()
    async with no_leaks(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        async with VoiceCall(engine(), client) as call:  # type: ignore[arg-type]
            client.stop()
            client.play(other := object())  # type: ignore[arg-type]
            tasks.cancel_scope.cancel()
    assert client.source is other
    assert call.source.is_over


async def test_a_client_that_also_receives_stops_only_playing() -> None:
    class Both(Client):
        def stop_playing(self) -> None:
            super().stop()

        def stop(self) -> None:
            raise AssertionError("that would stop receiving too")

    async with calling(Both(), engine()) as (call, _):
        await call.say("hi")


async def test_what_is_missing_is_said_when_it_is_asked_for() -> None:
    client = Client()
    async with calling(client, engine(stt=None)) as (call, _):
        with pytest.raises(ValueError, match="no STT engine"):
            call.allow(ANN)
    async with calling(Client(), engine(tts=None)) as (call, _):
        with pytest.raises(ValueError, match="no TTS engine"):
            await call.say("hello")
    full = VoiceBridge(max_speakers=1, clock=anyio.current_time)
    async with calling(Client(), engine(), [ANN], bridge=full) as (call, _):
        with pytest.raises(OverloadedError):
            call.allow(BEN)
    with pytest.raises(SessionClosedError):
        VoiceCall(engine(), client).allow(ANN)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'each' or 'room'"):
        VoiceCall(engine(), client, sessions="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lead"):
        VoiceCall(engine(), client, playout_lead=0.0)  # type: ignore[arg-type]


async def test_a_member_is_as_good_as_their_id() -> None:
    async with calling(Client(), engine()) as (call, _):
        call.allow(discord.Object(ANN))
        assert call.bridge.allowed == {ANN}
        assert call.session_of(discord.Object(ANN)) is None
        call.forget(discord.Object(ANN))
        assert call.bridge.allowed == frozenset()
