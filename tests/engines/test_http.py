"""The HTTP engines and one server: what they ask, what they make of it, and when it fails."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from io import BytesIO
from typing import Any, TypeVar

import anyio
import pytest
from anyio import to_thread

pytest.importorskip("openai")
pytest.importorskip("starlette")
pytest.importorskip("multipart")
pytest.importorskip("uvicorn")

import openai

from realtime_stts.audio import AudioData
from realtime_stts.engines.http import HttpSTTEngine, HttpTTSEngine
from realtime_stts.errors import (
    AudioFormatError,
    AudioLimitError,
    EngineError,
    EngineLoadError,
    EngineRefusedError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
    VoiceError,
)
from realtime_stts.protocols import ManagedTTSEngine, STTEngine
from realtime_stts.testing import no_leaks, speech
from tests.integrations.openai.scripted import (
    Act,
    Scripted,
    hangs,
    refuses,
    says,
    scripted,
    sends,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

EngineT = TypeVar("EngineT", HttpSTTEngine, HttpTTSEngine)

CLIP = speech(1.5, 48_000)
PCM = b"\1\0\2\0" * 600


@pytest.fixture(scope="module")
def running() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def server(running: Scripted) -> Scripted:
    running.will()
    return running


def listening(server: Scripted, **options: Any) -> HttpSTTEngine:
    return HttpSTTEngine("whisper-1", base_url=server.url, api_key="key", **options)


def speaking(server: Scripted, **options: Any) -> HttpTTSEngine:
    return HttpTTSEngine("tts-1", base_url=server.url, api_key="key", **options)


@asynccontextmanager
async def used(engine: EngineT) -> AsyncGenerator[EngineT]:
    """``engine``, not loaded: the script has only what the test asks. Unloaded afterwards."""
    try:
        yield engine
    finally:
        await engine.unload()


async def gone(server: Scripted) -> None:
    """Wait until the server has seen the client leave."""
    assert await to_thread.run_sync(server.left.wait, 20)


# -- what is asked, and understood ---------------------------------------------------------


async def test_sends_speech_as_a_recogniser_wants_it(server: Scripted) -> None:
    server.will(says({"text": " Guten Tag. "}))
    async with used(listening(server, prompt="Greetings", temperature=0.2)) as stt:
        result = await stt.transcribe(CLIP, "de")

    assert (result.text, result.language) == ("Guten Tag.", "de")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/audio/transcriptions")
    assert asked.headers["authorization"] == "Bearer key"
    sent = AudioData.from_file(BytesIO(asked.body.pop("file")))
    assert (sent.sample_rate, sent.channels, sent.format) == (16_000, 1, "pcm")
    assert sent.duration_seconds == pytest.approx(CLIP.duration_seconds, abs=0.01)
    assert asked.body == {
        "model": "whisper-1",
        "language": "de",
        "prompt": "Greetings",
        "temperature": "0.2",
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word", "segment"],
    }


async def test_hears_times_words_and_confidence(server: Scripted) -> None:
    segments = [
        {"start": 0.0, "end": 0.8, "text": " Hello", "avg_logprob": 0.0, "no_speech_prob": 0.1},
        {"start": 0.8, "end": 1.6, "text": " you.", "avg_logprob": -0.7, "no_speech_prob": 0.4},
    ]
    words = [{"word": "Hello", "start": 0.1, "end": 0.6}, {"word": "you", "start": 0.9, "end": 9}]
    answer = {"text": "Hello you.", "language": "english", "segments": segments, "words": words}
    server.will(says(answer))
    async with used(listening(server)) as stt:
        result = await stt.transcribe(CLIP)

    assert (result.text, result.language, result.partial) == ("Hello you.", "en", False)
    assert [(each.text, each.start, each.end) for each in result.segments] == [
        ("Hello", 0.0, 0.8),
        ("you.", 0.8, 1.5),  # the clip ends there
    ]
    assert [(each.text, each.start, each.end) for each in result.words] == [
        ("Hello", 0.1, 0.6),
        ("you", 0.9, 1.5),
    ]
    assert result.segments[1].confidence == pytest.approx(0.497, abs=0.001)
    assert result.confidence == pytest.approx(0.765, abs=0.001)
    assert result.no_speech_probability == 0.1


async def test_goes_without_times_where_the_server_has_none(server: Scripted) -> None:
    """It is asked for them once, and never again."""
    refusal = refuses(400, "verbose_json is not compatible with this", param="response_format")
    server.will(refusal, says({"text": "one"}), says({"text": "two"}))
    async with used(listening(server)) as stt:
        assert [(await stt.transcribe(CLIP)).text for _ in range(2)] == ["one", "two"]
    formats = [body["response_format"] for body in server.bodies]
    assert formats == ["verbose_json", "json", "json"]


async def test_asks_for_no_times_if_none_are_wanted(server: Scripted) -> None:
    server.will(says({"text": "one"}))
    async with used(listening(server, timestamps=False, extra_body={"vad_filter": True})) as stt:
        await stt.transcribe(CLIP)
    (body,) = server.bodies
    assert body["response_format"] == "json"
    assert "timestamp_granularities[]" not in body
    assert body["vad_filter"] == "true"


async def test_sends_flac_at_the_rate_it_has(server: Scripted) -> None:
    server.will(says({"text": "one"}))
    async with used(listening(server, upload="flac", sample_rate=None)) as stt:
        await stt.transcribe(CLIP)
    file = server.bodies[0]["file"]
    assert file[:4] == b"fLaC"
    assert AudioData.from_file(file).sample_rate == 48_000


async def test_sends_no_clip_that_is_empty_or_too_long(server: Scripted) -> None:
    async with used(listening(server, max_upload=10_000)) as stt:
        assert (await stt.transcribe(AudioData(b"", 16_000), "de")).language == "de"
        with pytest.raises(AudioLimitError, match="may be 10000"):
            await stt.transcribe(CLIP)
    assert server.asked == []


async def test_makes_a_clip_longer_that_is_too_short_to_be_taken(server: Scripted) -> None:
    server.will(says({"text": ""}))
    async with used(listening(server)) as stt:
        await stt.transcribe(CLIP.sliced(0, 0.01))
    assert AudioData.from_file(server.bodies[0]["file"]).duration_seconds == 0.1


async def test_asks_for_samples(server: Scripted) -> None:
    server.will(sends(PCM[:5], PCM[5:1001], PCM[1001:], kind="audio/pcm", pause=0.01))
    config = {"voice_id": "nova", "speed_factor": 1.5, "other": object(), "instructions": None}
    tts = speaking(server, voice="alloy", instructions="Whisper.", extra_body={"seed": 3})
    async with used(tts), aclosing(tts.stream("Good morning", config)) as stream:
        chunks = [chunk async for chunk in stream]
    assert AudioData.concat(chunks) == AudioData(PCM, 24_000)
    assert server.bodies == [
        {
            "model": "tts-1",
            "input": "Good morning",
            "voice": "nova",
            "speed": 1.5,
            "instructions": "Whisper.",
            "response_format": "pcm",
            "seed": 3,
        }
    ]


async def test_believes_the_rate_that_the_server_tells(server: Scripted) -> None:
    file = AudioData(PCM, 22_050).encode("wav")
    server.will(sends(PCM, kind="audio/pcm;rate=16000;channels=2"), sends(PCM), sends(file))
    async with used(speaking(server, sample_rate=48_000)) as tts:
        sounds = [(await tts.synthesize("Hi")).audio_data for _ in range(3)]
    assert sounds == [
        AudioData(PCM, 16_000, 2),
        AudioData(PCM, 48_000),
        AudioData(PCM, 22_050),
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"voices": ["af", "bm", "af"]}, [("af", "af", ""), ("bm", "bm", "")]),
        ([{"id": "a", "name": "Anna", "language": "de"}, {"x": 1}, 7], [("a", "Anna", "de")]),
        ({"data": [{"voice_id": "b"}]}, [("b", "b", "")]),
        ({"voices": "none"}, [("alloy", "alloy", ""), ("nova", "nova", "")]),
    ],
)
async def test_lists_the_voices_that_the_server_lists(
    server: Scripted, answer: object, expected: list[tuple[str, str, str]]
) -> None:
    server.will(says(answer))
    async with used(speaking(server, voices=["nova"])) as tts:
        voices = await tts.list_voices()
    assert [(each["id"], each["name"], each["language"]) for each in voices] == expected


async def test_lists_its_own_voices_where_the_server_lists_none(server: Scripted) -> None:
    server.will(refuses(404), refuses(500), says({}))
    async with used(speaking(server)) as tts:
        assert [voice["id"] for voice in await tts.list_voices()] == ["alloy"]
        with pytest.raises(EngineError, match="failed"):
            await tts.list_voices()


# -- loading -------------------------------------------------------------------------------


async def test_is_loaded_once_the_server_has_answered(server: Scripted) -> None:
    server.will(says({"data": []}), says({"data": []}))
    async with listening(server) as stt:
        assert stt.model_loaded
        await stt.load()
        assert [each.path for each in server.asked] == ["/v1/models"]
        assert await stt.is_available()
    assert not stt.model_loaded


async def test_loading_waits_for_the_server_whoever_asks(server: Scripted) -> None:
    server.will(says({"data": []}))
    async with used(listening(server)) as stt, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(stt.load)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [404, 405])
async def test_needs_no_list_of_models(server: Scripted, status: int) -> None:
    server.will(refuses(status))
    async with listening(server) as stt:
        assert stt.model_loaded


@pytest.mark.parametrize("act", [refuses(401), refuses(500), refuses(503)])
async def test_is_not_loaded_from_a_server_that_fails(server: Scripted, act: Act) -> None:
    server.will(act, says({"data": []}))
    stt = listening(server)
    with pytest.raises(EngineLoadError):
        await stt.load()
    assert not stt.model_loaded
    async with stt:
        assert stt.model_loaded, "a later load tries again"


async def test_is_not_available_without_a_server(server: Scripted) -> None:
    server.will(refuses(503))
    assert not await listening(server).is_available()
    nobody = HttpTTSEngine(base_url="http://127.0.0.1:9/v1")
    assert not await nobody.is_available()
    assert not nobody.model_loaded
    with pytest.raises(EngineError, match=r"no connection to 127\.0\.0\.1:9"):
        await nobody.synthesize("Hi")
    await nobody.unload()


async def test_warms_up_with_a_small_call(server: Scripted) -> None:
    server.will(says({}), says({"text": ""}), says({}), sends(PCM, ending="open"))
    async with used(listening(server)) as stt, used(speaking(server)) as tts:
        await stt.warmup()
        await tts.warmup()
    assert [each.path.rpartition("/")[2] for each in server.asked] == [
        "models",
        "transcriptions",
        "models",
        "speech",
    ]


async def test_uses_a_client_that_is_given_and_leaves_it_open(server: Scripted) -> None:
    server.will(says({"text": "one"}), says({"text": "two"}))
    async with openai.AsyncOpenAI(base_url=server.url, api_key="other") as client:
        for expected in ("one", "two"):
            async with used(HttpSTTEngine(client=client)) as stt:
                assert (await stt.transcribe(CLIP)).text == expected
    assert server.asked[0].headers["authorization"] == "Bearer other"


async def test_unloading_that_is_cancelled_leaves_the_rest_to_the_last_call(
    server: Scripted,
) -> None:
    server.will(sends(PCM, PCM, kind="audio/pcm", pause=0.05))
    tts = speaking(server)
    async with no_leaks(), aclosing(tts.stream("Hi")) as stream:
        first = await anext(stream)
        with anyio.move_on_after(0.01) as scope:
            await tts.unload()
        assert scope.cancelled_caught
        assert not tts.model_loaded
        rest = [chunk async for chunk in stream]
    assert AudioData.concat([first, *rest]) == AudioData(PCM + PCM, 24_000)


def test_takes_the_key_and_the_address_from_the_environment(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    async def heard() -> str:
        async with used(HttpSTTEngine()) as stt:
            return (await stt.transcribe(CLIP)).text

    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    for key, sent in (("secret", "Bearer secret"), ("", "Bearer none")):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        server.will(says({"text": "one"}))
        assert anyio.run(heard, backend=anyio_backend) == "one"
        assert server.asked[0].headers["authorization"] == sent
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        HttpTTSEngine()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (HttpSTTEngine, {"upload": "mp3"}),
        (HttpSTTEngine, {"sample_rate": 1}),
        (HttpSTTEngine, {"timeout": 0}),
        (HttpTTSEngine, {"response_format": "mp3"}),
        (HttpTTSEngine, {"sample_rate": 1}),
        (HttpTTSEngine, {"timeout": float("inf")}),
        (HttpTTSEngine, {"client": object()}),
    ],
)
def test_refuses_options_out_of_range(
    make: Any, options: dict[str, Any], anyio_backend: str
) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        make(base_url="http://localhost/v1", **options)


# -- failing -------------------------------------------------------------------------------

LATER = format_datetime(datetime.now(timezone.utc) + timedelta(hours=10), usegmt=True)


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (refuses(401, "wrong key: sk-123"), EngineLoadError, "does not accept the key"),
        (refuses(403), EngineLoadError, "does not accept the key"),
        (refuses(404, "no such\nmodel"), EngineLoadError, r"\(404\): no such model; .* /v1"),
        (refuses(400, "no"), EngineRefusedError, r"refuses the request \(400\): no"),
        (says(["odd"], 422), EngineRefusedError, r"refuses the request \(422\)"),
        (refuses(429, code="insufficient_quota"), EngineLoadError, "used up"),
        (refuses(408), EngineError, "failed"),
        (refuses(500, "x" * 900), EngineError, "x{200}$"),
        (refuses(503), EngineError, "failed"),
        (sends(b"<html>", status=502, kind="text/html"), EngineError, "failed"),
        (refuses(429, code="rate_limit"), OverloadedError, "too much to do"),
        (sends(b"{", ending="broken"), EngineError, "broke off"),
        (hangs, EngineTimeoutError, "0.3 s"),
        (sends(b"{", ending="open"), EngineTimeoutError, "0.3 s"),
    ],
)
async def test_says_what_a_failure_means(
    server: Scripted, act: Act, error: type[Exception], says: str
) -> None:
    server.will(act, act)
    timeout = 0.3 if error is EngineTimeoutError else 20.0
    async with (
        used(listening(server, timeout=timeout)) as stt,
        used(speaking(server, timeout=timeout)) as tts,
    ):
        with pytest.raises(error, match=says) as heard:
            await stt.transcribe(CLIP)
        with pytest.raises(error, match=says) as spoken:
            await tts.synthesize("Hi")
    assert type(heard.value) is type(spoken.value) is error
    assert "sk-123" not in str(heard.value)


@pytest.mark.parametrize(
    ("status", "header", "expected"),
    [
        (429, "7", 7.0),
        (529, "-1", 0.0),
        (503, "0.5", 0.5),
        pytest.param(429, LATER, 3600.0, id="a date, of which an hour at most"),
        (429, "soon", None),
        (429, "nan", None),
    ],
)
async def test_tells_when_a_busy_server_may_be_asked_again(
    server: Scripted, status: int, header: str, expected: float | None
) -> None:
    server.will(refuses(status, headers={"retry-after": header}))
    async with used(speaking(server)) as tts:
        with pytest.raises(OverloadedError) as caught:
            await tts.synthesize("Hi")
    assert caught.value.retry_after == expected


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (refuses(413), AudioLimitError),
        (refuses(415), AudioFormatError),
        (refuses(400, param="file"), AudioFormatError),
        (refuses(422, code="unusable_audio"), AudioFormatError),
    ],
)
async def test_says_when_the_clip_is_to_blame(
    server: Scripted, act: Act, error: type[Exception]
) -> None:
    server.will(act)
    async with used(listening(server)) as stt:
        with pytest.raises(error, match="server"):
            await stt.transcribe(CLIP)


async def test_says_when_the_voice_is_to_blame(server: Scripted) -> None:
    server.will(refuses(404, code="unknown_voice"))
    async with used(speaking(server)) as tts:
        with pytest.raises(VoiceError, match="no voice 'nobody'"):
            await tts.synthesize("Hi", {"voice_id": "nobody"})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>", "no transcription"),
        (b"[" * 100_000, "no transcription"),
        (b'{"txt": 1}', "no transcription"),
        (b'{"text": "', "longer than"),
    ],
)
async def test_refuses_what_is_no_transcription(server: Scripted, answer: bytes, says: str) -> None:
    endless = [b" " * (1 << 20)] * 17 if says == "longer than" else []
    server.will(sends(answer, *endless, kind="application/json"))
    async with used(listening(server)) as stt:
        with pytest.raises(EngineError, match=says):
            await stt.transcribe(CLIP)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (sends(b"<html>", kind="text/html; charset=utf-8"), "is text/html"),
        (sends(b"{}", kind="application/problem+json"), "is application/problem"),
        (sends(PCM, kind="audio/mpeg"), "is audio/mpeg"),
        (sends(b""), "no sound"),
        (sends(b"RIFF1234WAVE"), "inside the header"),
        (sends(PCM, ending="broken"), "broke off"),
    ],
)
async def test_refuses_what_is_no_speech(server: Scripted, act: Act, says: str) -> None:
    server.will(act)
    async with used(speaking(server)) as tts:
        with pytest.raises(EngineError, match=says):
            await tts.synthesize("Hi")


async def test_gives_up_speech_that_does_not_end(server: Scripted) -> None:
    minutes = bytes(8_000 * 2 * 60 * 10)
    server.will(sends(*[minutes] * 7, kind="audio/pcm;rate=8000", ending="open"))
    async with used(speaking(server)) as tts:
        with pytest.raises(EngineError, match="does not end"):
            await tts.synthesize("Hi")
    await gone(server)


async def test_refuses_what_it_cannot_ask_for(server: Scripted) -> None:
    async with used(speaking(server)) as tts:
        for text, speed in ((" ", 1.0), ("Hi", 4.1), ("Hi", "fast")):
            with pytest.raises(ValueError, match=r"blank|0\.25 to 4\.0"):
                await tts.synthesize(text, {"speed_factor": speed})
    assert server.asked == []


async def test_speaks_the_shortest_sound_there_is(server: Scripted) -> None:
    server.will(sends(b"\1\0", kind="audio/pcm"))
    async with used(speaking(server)) as tts:
        assert (await tts.synthesize("Hi")).audio_data == AudioData(b"\1\0", 24_000)


async def test_a_client_that_cannot_ask_is_a_failure_too(server: Scripted) -> None:
    async def key() -> str:
        raise openai.OpenAIError("secret")

    async with openai.AsyncOpenAI(base_url=server.url, api_key=key) as client:
        with pytest.raises(EngineError, match=r"failed: OpenAIError$"):
            await HttpTTSEngine(client=client).synthesize("Hi")


async def test_what_is_no_failure_of_the_server_comes_out_as_it_is(server: Scripted) -> None:
    async def key() -> str:
        raise LookupError

    async with openai.AsyncOpenAI(base_url=server.url, api_key=key) as client:
        with pytest.raises(LookupError):
            await HttpTTSEngine(client=client).synthesize("Hi")


@pytest.mark.parametrize("module", ["http", "_http_client"])
def test_without_the_package_the_extra_is_named(
    module: str, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, f"realtime_stts.engines.{module}")
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[openai\]"):
        importlib.import_module(f"realtime_stts.engines.{module}")


# -- leaving -------------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_leaves_the_server(server: Scripted) -> None:
    server.will(hangs)
    async with used(listening(server)) as stt, no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stt.transcribe, CLIP)
            while not server.asked:  # noqa: ASYNC110 - another thread's list wakes nobody
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        await gone(server)


async def test_speech_that_is_closed_leaves_the_server(server: Scripted) -> None:
    server.will(sends(PCM, kind="audio/pcm", ending="open"))
    async with used(speaking(server)) as tts, no_leaks():
        async with aclosing(tts.stream("Hi")) as stream:
            await anext(stream)
        await gone(server)


async def test_speech_that_is_cancelled_leaves_the_server(server: Scripted) -> None:
    server.will(sends(PCM, kind="audio/pcm", ending="open"))
    heard = anyio.Event()

    async def hear() -> None:
        async with aclosing(tts.stream("Hi")) as stream:
            async for _ in stream:
                heard.set()

    async with used(speaking(server)) as tts, no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear)
            await heard.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await gone(server)


async def test_a_connection_serves_one_call_after_the_other(server: Scripted) -> None:
    server.will(*[sends(PCM, kind="audio/pcm")] * 3)
    async with used(speaking(server)) as tts:
        for _ in range(3):
            await tts.synthesize("Hi")
    assert len({asked.port for asked in server.asked}) == 1
    assert isinstance(tts, ManagedTTSEngine)
    assert isinstance(listening(server), STTEngine)
