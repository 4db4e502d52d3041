"""Which recorded call a call is, and what is said if it is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from realtime_stts.audio import AudioData
from realtime_stts.protocols import (
    ConversationContext,
    Exchange,
    StreamingSTTEngine,
    TranscriptionResult,
)
from realtime_stts.testing import (
    Cassette,
    CassetteMismatch,
    ScriptedResponseGenerator,
    ScriptedTTSEngine,
    ToneSTTEngine,
    chunked,
    speak_tones,
)

pytestmark = pytest.mark.anyio

HELLO, BYE = (speak_tones(text, 16_000) for text in ("hello there", "good bye now"))


async def heard(stt: Any, clip: AudioData, language: str | None = None) -> str:
    async with (
        aclosing(chunked(clip, 0.02, paced=True)) as source,
        aclosing(stt.stream(source, language)) as results,
    ):
        return [result.text async for result in results][-1]


async def recorded(*clips: AudioData, language: str | None = None) -> Cassette:
    cassette = Cassette()
    stt = cassette.recording(ToneSTTEngine(partial_every=None))
    for clip in clips:
        await heard(stt, clip, language)
    return cassette


async def test_calls_are_matched_by_request_in_recorded_order() -> None:
    cassette = Cassette()
    tts = cassette.recording(ScriptedTTSEngine(voices=["ada", "grace"]))
    for text, voice in [("one", "ada"), ("one", "grace"), ("two", "ada"), ("one", "ada")]:
        await tts.synthesize(text, {"voice_id": voice})
    first, *_, last = cassette.calls
    again = cassette.tts()
    assert (await again.synthesize("two", {"voice_id": "ada"})).text == "two"
    results = [await again.synthesize("one", {"voice_id": "ada"}) for _ in range(2)]
    assert results[0] is first.results[0].value
    assert results[1] is last.results[0].value


async def test_streams_are_matched_by_what_they_hear() -> None:
    stt = (await recorded(HELLO, BYE)).stt()
    assert [await heard(stt, clip) for clip in (BYE, HELLO)] == ["good bye now", "hello there"]


async def test_sessions_at_the_same_time_are_told_apart() -> None:
    stt = (await recorded(HELLO, BYE, HELLO)).stt()
    texts: dict[int, str] = {}

    async def listen(number: int, clip: AudioData) -> None:
        texts[number] = await heard(stt, clip)

    async with anyio.create_task_group() as tasks:
        for number, clip in enumerate((BYE, HELLO, HELLO)):
            tasks.start_soon(listen, number, clip)
    assert texts == {0: "good bye now", 1: "hello there", 2: "hello there"}


async def test_who_comes_too_late_among_equals_is_told() -> None:
    stt = (await recorded(HELLO)).stt()
    failures = []

    async def listen() -> None:
        try:
            await heard(stt, HELLO)
        except CassetteMismatch as failure:
            failures.append(str(failure))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(listen)
    assert failures == [
        "this stt call was not recorded: others have replayed all that were like it"
    ]


async def test_a_call_too_many_is_told() -> None:
    cassette = Cassette()
    await cassette.recording(ScriptedTTSEngine()).synthesize("one", {})
    again = cassette.tts()
    await again.synthesize("one", {})
    with pytest.raises(CassetteMismatch, match="there were 1 like it, and none is left for"):
        await again.synthesize("one", {})


async def test_an_empty_cassette_knows_no_call() -> None:
    with pytest.raises(CassetteMismatch, match="there were 0 like it"):
        await Cassette().tts().synthesize("one", {})


async def test_what_differs_in_a_request_is_told() -> None:
    cassette = Cassette()
    await cassette.recording(ScriptedTTSEngine()).synthesize("one", {})
    with pytest.raises(CassetteMismatch, match="its text is 'two' and was 'one'"):
        await cassette.tts().synthesize("two", {})
    with pytest.raises(CassetteMismatch, match=r"its voice_config is {'speed_factor': 2} and was"):
        await cassette.tts().synthesize("one", {"speed_factor": 2})

    responder = cassette.recording(ScriptedResponseGenerator(["Hm."]))
    question = TranscriptionResult("well?", "en", [])
    await responder.generate_response(question, ConversationContext())
    context = ConversationContext(history=(Exchange(1, "hi", "Hello.", "Hello."),))
    with pytest.raises(CassetteMismatch, match=r"its history is \[\['hi', 'Hello.'\]\] and was"):
        await cassette.responder().generate_response(question, context)

    cassette = await recorded(HELLO, language="en")
    with pytest.raises(CassetteMismatch, match="its language is 'de' and was 'en'"):
        await heard(cassette.stt(), HELLO, "de")


@pytest.mark.parametrize(
    ("clip", "difference"),
    [
        (speak_tones("hello where", 16_000), r"from 0\.3 s on it hears another sound"),
        (HELLO.sliced(0.0, 0.3), r"it hears 0\.300 s of audio, and heard 0\.660 s"),
        (HELLO.sliced(0.0, 0.31), r"from 0\.3 s on it hears another sound"),
        (AudioData.concat([HELLO, HELLO]), r"it hears 0\.680 s of audio, and heard 0\.660 s"),
        (AudioData(b"", 16_000), r"it hears 0\.000 s of audio, and heard 0\.660 s"),
    ],
)
async def test_what_differs_in_the_sound_is_told(clip: AudioData, difference: str) -> None:
    with pytest.raises(CassetteMismatch, match=difference):
        await heard((await recorded(HELLO)).stt(), clip)


async def test_the_sources_own_error_comes_out_as_it_is() -> None:
    class UnpluggedError(Exception):
        pass

    async def unplugged() -> AsyncGenerator[AudioData]:
        yield HELLO.sliced(0.0, 0.2)
        raise UnpluggedError

    stt = (await recorded(HELLO)).stt()
    assert isinstance(stt, StreamingSTTEngine)
    async with aclosing(unplugged()) as source, aclosing(stt.stream(source)) as results:
        with pytest.raises(UnpluggedError):
            await anext(results)
