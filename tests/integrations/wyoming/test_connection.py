"""A connection: what is offered on it, how it ends, and what it does with nonsense."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

pytest.importorskip("wyoming")

from wyoming.audio import AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop

from realtime_stts import __version__
from realtime_stts._request import current_origin
from realtime_stts.integrations._wyoming._framing import MAX_LINE, encoded
from realtime_stts.integrations._wyoming._offer import WyomingLimits
from realtime_stts.middleware import Chain
from realtime_stts.testing import (
    FaultySTTEngine,
    Hang,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    no_leaks,
    speech,
)
from tests.integrations.wyoming.peers import chunks, kinds, peer
from tests.integrations.wyoming.test_transcribing import Whole

pytestmark = pytest.mark.anyio


async def described(stt: Any = None, tts: Any = None) -> Info:
    async with peer(stt, tts) as client:
        await client.send(Describe())
        return Info.from_event(await client.next())


async def test_it_is_described_as_home_assistant_needs_it() -> None:
    info = await described(ScriptedSTTEngine([]), ScriptedTTSEngine(voices=("anna", "ben")))
    (asr,), (tts,) = info.asr, info.tts
    assert (asr.name, asr.installed, asr.version) == ("ScriptedSTTEngine", True, __version__)
    assert asr.supports_transcript_streaming
    assert asr.requires_external_vad, "the client says when a command has ended"
    assert [(model.name, model.languages) for model in asr.models] == [
        ("ScriptedSTTEngine", ["en"])
    ]
    assert tts.supports_synthesize_streaming
    assert [(voice.name, voice.description, voice.languages) for voice in tts.voices] == [
        ("anna", "Anna", ["en"]),
        ("ben", "Ben", ["en"]),
    ]
    artifacts = [asr, tts, *asr.models, *tts.voices]
    assert all(each.installed and each.attribution.url for each in artifacts)


async def test_what_there_is_not_is_not_described() -> None:
    assert (await described(tts=ScriptedTTSEngine())).asr == []
    info = await described(Whole())
    assert info.tts == []
    assert not info.asr[0].supports_transcript_streaming


async def test_it_answers_pings_and_drops_what_it_does_not_know() -> None:
    async with peer(ScriptedSTTEngine([])) as client:
        await client.send(Event("detect"), Ping("a"), Event("run-pipeline", {"a": 1}, b"123"))
        await client.send(Ping(7), Ping())  # type: ignore[arg-type]
        answers = [Pong.from_event(await client.next()).text for _ in range(3)]
    assert answers == ["a", None, None]


async def test_it_is_described_while_it_answers() -> None:
    async with peer(tts=ScriptedTTSEngine(), unread=0) as client:
        await client.send(Synthesize("a long text " * 20))
        await client.until("audio-chunk")
        await client.send(Describe())
        assert {*kinds(await client.until("info"))} <= {"audio-chunk", "info"}


async def test_calls_know_their_request_and_what_is_one_connection() -> None:
    origins = []

    async def notes(context: Any, call_next: Any) -> Any:
        origins.append(current_origin())
        async for result in call_next(context):
            yield result

    tts = Chain(notes).wrap(ScriptedTTSEngine())
    for _ in range(2):
        async with peer(tts=tts) as client:
            await client.send(Synthesize("a"), Synthesize("b"))
            await client.until("audio-stop")
            await client.until("audio-stop")
    assert len({origin.request_id for origin in origins}) == 4
    assert len({origin.session_id for origin in origins}) == 2


# -- nonsense


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n",
        b"\n",
        b"[]\n",
        b'{"type": "a", "payload_length": 4000000000}\n',
        b'{"type": "a", "data_length": 4000000000}\n',
        b'{"type": "a", "data_length": 2}\n[]',
        b'{"type": "a", "data_length": 2}\n\xff\xff',
        b"[" * MAX_LINE,
    ],
)
async def test_what_is_no_event_ends_the_connection(raw: bytes) -> None:
    stt = FaultySTTEngine([Hang()])
    async with no_leaks(), peer(stt) as client:
        await client.send(*chunks(speech(0.3, sample_rate=16_000)), raw)
        events = await client.rest()
    assert (events[-1].type, events[-1].data["code"]) == ("error", "malformed")
    assert stt.running == 0


async def test_events_may_be_cut_anywhere() -> None:
    raw = encoded(AudioStart(16_000, 2, 1)) + b"".join(
        encoded(chunk) for chunk in chunks(speech(0.2, sample_rate=16_000))
    )
    async with peer(ScriptedSTTEngine(["hello"])) as client:
        raw += encoded(AudioStop())
        for n in range(0, len(raw), 77):
            await client.send(raw[n : n + 77])
        assert (await client.until("transcript"))[-1].data["text"] == "hello"


@pytest.mark.parametrize("raw", [b"", b'{"ty', b'{"type": "a", "payload_length": 9}\n123'])
async def test_a_client_may_leave_anywhere(raw: bytes) -> None:
    async with no_leaks(), peer(ScriptedSTTEngine([])) as client:
        if raw:
            await client.send(raw)
        await anyio.sleep(1)
        await client.leave()
        await client.ended.wait()


async def test_who_asks_for_too_much_at_once_is_sent_away() -> None:
    async with no_leaks(), peer(tts=ScriptedTTSEngine(latency=100.0)) as client:
        await client.send(*[Synthesize("a")] * 20)
        (error,) = await client.rest()
    assert error.data["code"] == "overloaded"


async def test_a_text_that_is_no_text_ends_the_connection() -> None:
    async with peer(tts=ScriptedTTSEngine()) as client:
        await client.send(SynthesizeStart(), Event("synthesize-chunk", {"text": 7}))
        (error,) = await client.rest()
    assert error.data["code"] == "invalid_request"


# -- time


@pytest.mark.parametrize("began", [[], [AudioStart(16_000, 2, 1)], [SynthesizeStart()]])
async def test_a_client_that_says_nothing_is_sent_away(began: list[Any]) -> None:
    limits = WyomingLimits(max_idle_seconds=30.0)
    engines = ScriptedSTTEngine([]), ScriptedTTSEngine()
    async with no_leaks(), peer(*engines, limits=limits) as client:
        await client.send(*began)
        started = anyio.current_time()
        (error,) = await client.rest()
        assert anyio.current_time() - started == pytest.approx(30.0)
    assert error.data == {"text": "No event came for 30 s.", "code": "idle"}


async def test_a_client_that_waits_for_an_answer_is_not() -> None:
    limits = WyomingLimits(max_idle_seconds=30.0, patience=None)
    async with peer(tts=ScriptedTTSEngine(latency=300.0), limits=limits) as client:
        await client.send(Synthesize("a"))
        await client.until("audio-stop")
        started = anyio.current_time()
        await client.rest()
        assert anyio.current_time() - started == pytest.approx(30.0)


async def test_who_is_sent_away_and_does_not_go_is_left() -> None:
    async with no_leaks(), peer(ScriptedSTTEngine([])) as client:
        began = anyio.current_time()
        await client.send(b"nonsense\n", b"more")
        await client.rest()
        await client.ended.wait()
        assert anyio.current_time() - began == pytest.approx(2.0)


# -- a server that is being stopped


async def test_a_client_that_asks_for_nothing_is_left_at_once() -> None:
    async with no_leaks(), peer(ScriptedSTTEngine([])) as client:
        await anyio.sleep(1)
        client.connection.leave()
        assert await client.rest() == []


async def test_what_was_asked_for_is_answered_and_nothing_else() -> None:
    async with no_leaks(), peer(tts=ScriptedTTSEngine()) as client:
        await client.send(SynthesizeStart(), SynthesizeChunk("one, two"))
        await anyio.sleep(1)
        client.connection.leave()
        await client.send(SynthesizeChunk(" and three"), SynthesizeStop())
        events = await client.rest()
        assert events[-1].type == "synthesize-stopped"

    async with peer(tts=ScriptedTTSEngine(latency=5.0)) as client:
        await client.send(Synthesize("one"))
        await anyio.sleep(1)
        client.connection.leave()
        await client.send(Synthesize("two"))
        (error,) = await client.rest()
    assert error.data["code"] == "closing"


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_limits_are_over_0(value: float) -> None:
    with pytest.raises(ValueError, match="max_text is over 0"):
        WyomingLimits(max_text=value)  # type: ignore[arg-type]
