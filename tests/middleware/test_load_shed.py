"""Load shedding: how load is measured, who is refused, and who goes on undisturbed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError, OverloadedError
from realtime_stts.middleware import Chain, LoadShedMiddleware
from realtime_stts.middleware._load import Load, Sessions, Waiting
from realtime_stts.protocols import ConversationContext, SynthesisResult, TranscriptionResult
from realtime_stts.testing import MiddlewareSuite, ScriptedResponseGenerator, ScriptedTTSEngine

pytestmark = pytest.mark.anyio


def second(seconds: float = 1.0) -> AudioData:
    return AudioData.silence(seconds, 16_000)


class Mouth:
    """Makes a second of audio for each character, of which each takes ``rtf`` seconds, or
    as many times that as there are calls: they take turns.
    """

    model_loaded = True

    def __init__(self, rtf: float) -> None:
        self.rtf = rtf
        self.calls = 0

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        async with aclosing(self.stream(text, voice_config)) as chunks:
            return SynthesisResult(AudioData.concat([chunk async for chunk in chunks]), text, "")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.calls += 1
        try:
            for character in text:
                await anyio.sleep(self.rtf * self.calls)
                if character == "!":
                    raise EngineError("mouth", "hoarse")
                yield second()
        finally:
            self.calls -= 1

    async def list_voices(self) -> list[dict[str, Any]]:
        return []


class Ears:
    """Takes ``rtf`` seconds for each second that it hears."""

    model_loaded = True

    def __init__(self, rtf: float) -> None:
        self.rtf = rtf

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await anyio.sleep(self.rtf * audio.duration_seconds)
        return TranscriptionResult("", "", [])

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async for chunk in audio:
            await anyio.sleep(self.rtf * chunk.duration_seconds)
            yield TranscriptionResult("", "", [], partial=True)
        yield TranscriptionResult("", "", [])

    async def is_available(self) -> bool:
        return True


async def speaker(seconds: int) -> AsyncIterator[AudioData]:
    """Somebody who speaks as fast as people do."""
    for _ in range(seconds):
        await anyio.sleep(1.0)
        yield second()


async def asks(tts: Any, session: str | None = None, text: str = "xxxxxx") -> bool:
    """Whether a call of the session was admitted; it makes 6 s of audio."""
    with request_scope(session_id=session):
        try:
            await tts.synthesize(text, {})
        except OverloadedError:
            return False
    return True


@pytest.mark.parametrize("what", ["max_rtf", "window", "min_audio", "idle", "max_sessions"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_impossible_limits_are_refused(what: str, value: float) -> None:
    with pytest.raises(ValueError, match=what):
        LoadShedMiddleware(**{what: value})


async def test_an_engine_that_keeps_up_takes_on_everybody() -> None:
    shed = LoadShedMiddleware()
    tts = Chain(shed).wrap(Mouth(rtf=0.8))
    assert all([await asks(tts, f"session {n}") for n in range(9)])
    now = shed.statistics()
    assert (now.shedding, now.sessions, now.admitted, now.refused) == (False, 9, 9, 0)
    assert now.rtf == {"tts": pytest.approx(0.8)}


async def test_new_sessions_are_refused_while_the_engine_cannot_keep_up() -> None:
    shed = LoadShedMiddleware()
    mouth = Mouth(rtf=1.0)
    tts = Chain(shed).wrap(mouth)
    assert await asks(tts, "old")
    assert not await asks(tts, "new")
    assert not await asks(tts)  # a call outside of any session is one of its own
    assert [await asks(tts, "old") for _ in range(9)] == [True] * 9
    with pytest.raises(OverloadedError, match="sessions there are need all") as refused:
        await tts.synthesize("x", {})
    assert refused.value.retry_after == 30.0
    now = shed.statistics()
    assert (now.shedding, now.sessions, now.admitted, now.refused) == (True, 1, 1, 3)


async def test_sessions_slow_each_other_down_until_no_more_are_let_in() -> None:
    shed = LoadShedMiddleware()
    tts = Chain(shed).wrap(Mouth(rtf=0.3))  # enough for three at a time
    admitted: list[str] = []

    async def converse(session: str) -> None:
        for _ in range(20):
            if not await asks(tts, session):
                return
            if session not in admitted:
                admitted.append(session)

    async with anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(converse, str(number))
            await anyio.sleep(12.0)
    assert admitted[:4] == ["0", "1", "2", "3"]
    assert len(admitted) < 9
    assert shed.statistics().refused > 0


async def test_the_door_opens_again_once_it_is_quiet() -> None:
    shed = LoadShedMiddleware(window=10.0)
    tts = Chain(shed).wrap(Mouth(rtf=2.0))
    assert await asks(tts, "old")
    assert not await asks(tts, "new")
    await anyio.sleep(11.0)
    assert await asks(tts, "new")


async def test_it_does_not_flap() -> None:
    """Once closed, the door opens at 0.8 of the limit and not just below it."""
    shed, mouth = LoadShedMiddleware(max_rtf=1.0, window=10.0), Mouth(rtf=1.1)
    tts = Chain(shed).wrap(mouth)
    doors = []
    for rtf in (1.1, 0.9, 0.9, 0.9, 0.7, 0.7, 0.9, 0.9, 0.9, 1.2, 1.2):
        mouth.rtf = rtf
        await asks(tts, "old")
        await asks(tts, "old")
        doors.append(await asks(tts, None, "x"))
    assert doors == [False] * 4 + [True] * 5 + [False] * 2


async def test_a_session_that_was_idle_is_new_again() -> None:
    tts = Chain(LoadShedMiddleware(idle=5.0, window=100.0)).wrap(Mouth(rtf=1.0))
    assert await asks(tts, "old")
    await anyio.sleep(4.0)
    assert await asks(tts, "old")
    await anyio.sleep(6.0)
    assert not await asks(tts, "old")


async def test_a_session_is_not_idle_while_a_call_is_under_way() -> None:
    tts = Chain(LoadShedMiddleware(idle=5.0, window=1000.0)).wrap(Mouth(rtf=1.0))
    with request_scope(session_id="old"):
        slow = tts.stream("xxxxxxxxx", {})
        await anext(slow)
        for _ in range(6):
            await anext(slow)
        await anyio.sleep(100.0)
        assert await asks(tts, "old")
        assert not await asks(tts, "new")
        await slow.aclose()


async def test_little_audio_says_nothing() -> None:
    shed = LoadShedMiddleware(min_audio=3.0)
    tts = Chain(shed).wrap(Mouth(rtf=5.0))
    assert [await asks(tts, None, "x") for _ in range(4)] == [True, True, True, False]
    assert shed.statistics().rtf == {"tts": pytest.approx(5.0)}


async def test_a_stream_counts_while_it_goes_on() -> None:
    tts = Chain(LoadShedMiddleware()).wrap(Mouth(rtf=1.0))
    async with aclosing(tts.stream("xxxxxxxxx", {})) as chunks:
        for _ in range(6):
            await anext(chunks)
        assert not await asks(tts, "new")


async def test_what_the_reader_takes_is_not_the_engines_load() -> None:
    shed = LoadShedMiddleware()
    tts = Chain(shed).wrap(Mouth(rtf=0.5))
    async with aclosing(tts.stream("xxxxxxxxx", {})) as chunks:
        async for _ in chunks:
            await anyio.sleep(2.0)
    assert shed.statistics().rtf == {"tts": pytest.approx(0.5)}


@pytest.mark.parametrize("rtf", [0.25, 1.5])
async def test_what_the_speaker_takes_is_not_the_engines_load(rtf: float) -> None:
    shed = LoadShedMiddleware()
    stt = Chain(shed).wrap(Ears(rtf))
    async with aclosing(stt.stream(speaker(10))) as results:
        assert len([result async for result in results]) == 11
    assert shed.statistics().rtf == {"stt": pytest.approx(rtf)}


async def test_clips_count_as_long_as_they_are() -> None:
    shed = LoadShedMiddleware()
    stt = Chain(shed).wrap(Ears(1.5))
    await stt.transcribe(second(6.0))
    assert shed.statistics().rtf == {"stt": pytest.approx(1.5)}
    with pytest.raises(OverloadedError):
        await stt.transcribe(second())


async def test_encoded_clips_are_not_decoded_to_be_counted() -> None:
    shed = LoadShedMiddleware()

    class Deaf(Ears):
        async def transcribe(
            self, audio: AudioData, language: str | None = None
        ) -> TranscriptionResult:
            await anyio.sleep(100.0)
            return TranscriptionResult("", "", [])

    stt = Chain(shed).wrap(Deaf(0.0))
    await stt.transcribe(AudioData(second(6.0).encode("wav"), 16_000, 1, "wav"))
    assert shed.statistics().rtf == {}


async def test_one_of_two_engines_too_slow_is_enough() -> None:
    shed = LoadShedMiddleware()
    stt, tts = Chain(shed).wrap(Ears(2.0)), Chain(shed).wrap(Mouth(rtf=0.1))
    with request_scope(session_id="old"):
        await stt.transcribe(second(6.0))
    assert not await asks(tts, "new")
    assert await asks(tts, "old")


async def test_a_call_that_failed_counts_and_one_withdrawn_does_not() -> None:
    shed = LoadShedMiddleware(window=1000.0)
    assert await asks(Chain(shed).wrap(Mouth(rtf=0.5)))
    with anyio.move_on_after(30.0):
        await Chain(shed).wrap(Mouth(rtf=100.0)).synthesize("x", {})
    assert shed.statistics().rtf == {"tts": pytest.approx(0.5)}
    with pytest.raises(EngineError):
        await Chain(shed).wrap(Mouth(rtf=12.0)).synthesize("!", {})
    assert shed.statistics().rtf == {"tts": pytest.approx((3.0 + 12.0) / 6.0)}


async def test_responders_pass_by() -> None:
    shed = LoadShedMiddleware()
    tts = Chain(shed).wrap(Mouth(rtf=2.0))
    responder = Chain(shed).wrap(ScriptedResponseGenerator(["hello"]))
    assert await asks(tts, "old")
    assert not await asks(tts, "new")
    said = TranscriptionResult("hi", "en", [])
    assert await responder.generate_response(said, ConversationContext()) == "hello"


async def test_fakes_of_the_library_are_measured_too() -> None:
    shed = LoadShedMiddleware(min_audio=1.0)
    tts = Chain(shed).wrap(ScriptedTTSEngine(latency=0.0, real_time_factor=1.5))
    await tts.synthesize("a sentence that is long enough to be judged by", {})
    assert shed.statistics().rtf == {"tts": pytest.approx(1.5, rel=0.1)}


async def test_nothing_is_kept_of_calls_that_were_closed() -> None:
    shed = LoadShedMiddleware()
    tts = Chain(shed).wrap(Mouth(rtf=0.1))
    with request_scope(session_id="a"):
        await tts.stream("never read", {}).aclose()
        assert shed.statistics().sessions == 0
        async with aclosing(tts.stream("xxx", {})) as chunks:
            await anext(chunks)
            assert shed.statistics().sessions == 1
    assert shed._sessions._calls == {}


# -- the measure -------------------------------------------------------------------------


@given(
    adds=st.lists(
        st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 5.0), st.floats(0.0, 5.0)), max_size=40
    )
)
def test_only_the_window_counts(adds: list[tuple[float, float, float]]) -> None:
    load = Load(window=30.0, max_rtf=0.9, resume_rtf=0.7, min_audio=1e-9)
    now, noted = 0.0, list[tuple[float, float, float]]()
    for gap, waited, audio in adds:
        now += gap
        load.add(waited, audio, now)
        noted.append((now, waited, audio))
    assert len(load._parts) <= 30
    # Parts leave the window whole: it ends within one of where it should.
    inside = [each for each in noted if each[0] // 1.0 > now // 1.0 - 30]
    audio = sum(each[2] for each in inside)
    rtf = load.rtf(now)
    if audio > 1e-6:
        assert rtf == pytest.approx(sum(each[1] for each in inside) / audio)
    assert load.rtf(now + 31.0) is None


def test_waiting_is_waiting_for_work() -> None:
    now = 0.0
    waiting = Waiting(lambda: now)

    def at(time: float) -> Waiting:
        nonlocal now
        now = time
        return waiting

    at(1.0).ask(True)
    at(3.0).listen(True)  # 2 s of work
    at(10.0).listen(False)
    at(11.0).ask(False)  # 1 s
    at(20.0).listen(True)  # it reads on while its reader is busy
    at(21.0).ask(True)
    at(25.0).listen(False)
    at(25.5).ask(False)  # 0.5 s
    assert waiting.taken() == 3.5
    assert waiting.taken() == 0.0


def test_of_silent_sessions_so_many_are_remembered() -> None:
    sessions = Sessions(idle=60.0, max_sessions=3)
    for number in range(5):
        sessions.begin(str(number))
    assert len(sessions) == 5  # each has a call under way
    for number in range(5):
        sessions.end(str(number), float(number))
    assert [sessions.known(str(number), 5.0) for number in range(5)] == [False] * 2 + [True] * 3
    sessions.begin("busy")
    sessions.begin("busy")
    sessions.end("busy", 6.0)
    assert sessions.known("busy", 1000.0)
    sessions.end("busy", 1000.0)
    assert len(sessions) == 2  # two of those idle are forgotten, and the third next time


class TestLoadShedPromises(MiddlewareSuite):
    kinds = ("stt", "tts")

    def middleware(self) -> LoadShedMiddleware:
        return LoadShedMiddleware(max_rtf=100.0)
