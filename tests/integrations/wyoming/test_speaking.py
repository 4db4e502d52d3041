"""What a client hears when it has something spoken: whole texts, and texts that still come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

pytest.importorskip("wyoming")

from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)

from realtime_stts import AudioData
from realtime_stts.errors import EngineError, UnknownVoiceError
from realtime_stts.integrations._wyoming._offer import WyomingLimits
from realtime_stts.protocols import SynthesisResult
from realtime_stts.testing import (
    Failure,
    FaultyTTSEngine,
    Hang,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    no_leaks,
    tone_text,
)
from tests.integrations.wyoming.peers import kinds, peer, sound

pytestmark = pytest.mark.anyio

TEXT = "Good morning to you"


class Voices:
    """Speaks at a rate that grows from call to call, with the voices it is given."""

    name = "voices"
    model_loaded = True

    def __init__(self, *voices: dict[str, Any], rates: tuple[int, ...] = (24_000,)) -> None:
        self.voices, self._rates = list(voices), iter(rates)
        self.configs: list[dict[str, Any] | None] = []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        raise NotImplementedError

    async def list_voices(self) -> list[dict[str, Any]]:
        return [*self.voices]

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        self.configs.append(voice_config)
        rate = next(self._rates, 24_000)
        for _ in range(0 if text == "mute" else 2):
            yield AudioData(b"\1\0\2\0" * rate, rate, 2)


async def test_a_text_is_spoken_in_chunks() -> None:
    tts = ScriptedTTSEngine()
    async with no_leaks(), peer(tts=tts) as client:
        await client.send(Synthesize(TEXT))
        start, *middle, stop = await client.until("audio-stop")
    assert (start.type, stop.type) == ("audio-start", "audio-stop")
    assert start.data == {"rate": 24_000, "width": 2, "channels": 1, "timestamp": 0}
    assert {*kinds(middle)} == {"audio-chunk"}
    assert len(middle) > 5
    assert [event.data["timestamp"] for event in middle[:3]] == [0, 100, 200]
    assert tone_text(sound(middle)) == TEXT
    assert [call.text for call in tts.calls] == [TEXT]


async def test_sound_comes_before_the_last_text_and_sentence_by_sentence() -> None:
    tts = ScriptedTTSEngine()
    async with no_leaks(), peer(tts=tts) as client:
        await client.send(SynthesizeStart(), SynthesizeChunk("Good mor"))
        await client.send(SynthesizeChunk("ning to you all, my friends. It is"))
        await client.until("audio-chunk")
        await client.send(SynthesizeChunk(" late"))
        # As Home Assistant does, for servers that take no streams.
        await client.send(Synthesize("Good morning to you all, my friends. It is late"))
        await client.send(SynthesizeStop())
        events = await client.until("synthesize-stopped")
    assert kinds(events)[-2:] == ["audio-stop", "synthesize-stopped"]
    assert kinds(events).count("audio-stop") == 1
    assert "audio-start" not in kinds(events)
    assert [call.text for call in tts.calls] == [
        "Good morning to you all,",  # an answer's opening may end at a clause
        "my friends.",
        "It is late",
    ]


async def test_a_stream_without_text_ends_without_sound() -> None:
    async with peer(tts=ScriptedTTSEngine()) as client:
        await client.send(SynthesizeStart(), SynthesizeChunk("***\n…\n"), SynthesizeStop())
        assert kinds([await client.next()]) == ["synthesize-stopped"]


async def test_sentences_of_engines_with_other_rates_and_channels_have_one_format() -> None:
    tts = Voices({"id": "a", "language": "en"}, rates=(16_000, 48_000, 24_000))
    async with peer(tts=tts) as client:
        text = "Good morning to you all, my friends. It is late"
        await client.send(SynthesizeStart(), SynthesizeChunk(text), SynthesizeStop())
        events = await client.until("synthesize-stopped")
    spoken = sound(events)
    assert spoken.sample_rate == 16_000
    assert spoken.duration_seconds == pytest.approx(6.0, abs=0.01)
    assert kinds(events).count("audio-start") == 1


async def test_requests_are_answered_in_order() -> None:
    tts = ScriptedTTSEngine()
    async with peer(tts=tts) as client:
        await client.send(Synthesize("one"), Synthesize("two"))
        assert tone_text(sound(await client.until("audio-stop"))) == "one"
        assert tone_text(sound(await client.until("audio-stop"))) == "two"


# -- voices

ANNA = {"id": "anna", "name": "Anna", "language": "de-at"}
BEN = {"id": "ben", "name": "Ben", "language": "en-us"}
NOBODY = {"id": "nobody", "name": "", "language": None}


@pytest.mark.parametrize(
    ("voice", "config"),
    [
        (None, {}),
        (SynthesizeVoice(name="ben"), {"voice_id": "ben"}),
        (SynthesizeVoice(language="de"), {"voice_id": "anna"}),
        (SynthesizeVoice(language="en_US"), {"voice_id": "ben"}),
        (SynthesizeVoice(language="en-GB"), {"voice_id": "ben"}),
    ],
)
async def test_a_voice_is_chosen_by_name_or_language(
    voice: SynthesizeVoice | None, config: dict[str, Any]
) -> None:
    tts = Voices(ANNA, NOBODY, BEN)
    async with peer(tts=tts) as client:
        await client.send(Synthesize("hello", voice))
        await client.until("audio-stop")
    assert tts.configs == [config]


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ({"name": "carl"}, "No voice is called 'carl': describe lists them."),
        ({"language": "fr"}, "No voice speaks 'fr': describe lists them."),
        ({"name": "ben", "speaker": "2"}, "The voice 'ben' has no speakers."),
        ({"name": 7}, "A name is a string of at most 200 characters."),
        ("ben", "A voice is an object with a name or a language."),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_voice_that_there_is_not_is_an_error_and_the_connection_lives(
    voice: Any, text: str, streamed: bool
) -> None:
    async with peer(tts=Voices(ANNA, BEN)) as client:
        request: Any = SynthesizeStart if streamed else Synthesize
        event = (request() if streamed else request("hello")).event()
        event.data["voice"] = voice
        await client.send(event)
        if streamed:
            await client.send(SynthesizeChunk("hello"), SynthesizeStop())
        refused = await client.next()
        assert (refused.type, refused.data["text"]) == ("error", text)
        assert (await client.next()).type == ("synthesize-stopped" if streamed else "audio-stop")
        await client.send(Synthesize("hello"))
        assert (await client.until("audio-stop"))[0].type == "audio-start"


async def test_a_voice_that_has_come_since_is_found() -> None:
    tts = Voices(ANNA)
    async with peer(tts=tts) as client:
        tts.voices.append(BEN)
        await client.send(Synthesize("hello", SynthesizeVoice(name="ben")))
        assert (await client.until("audio-stop"))[0].type == "audio-start"


async def test_an_engine_that_names_no_voice_has_a_default() -> None:
    tts = Voices()
    async with peer(tts=tts) as client:
        await client.send(Synthesize("hello", SynthesizeVoice(name="default")))
        assert (await client.until("audio-stop"))[0].type == "audio-start"
    assert tts.configs == [{}]


# -- failures


async def test_markup_is_not_spoken() -> None:
    async with peer(tts=ScriptedTTSEngine()) as client:
        await client.send(Synthesize("<speak>", text_format="ssml"))
        assert (await client.next()).data["code"] == "unsupported_format"


@pytest.mark.parametrize("text", ["", "  ", "…", None, 7])
async def test_nothing_to_say_is_an_error(text: Any) -> None:
    async with peer(tts=ScriptedTTSEngine()) as client:
        await client.send(Synthesize(text))
        error, stop = await client.until("audio-stop")
    assert (error.data["code"], stop.type) == ("invalid_request", "audio-stop")


async def test_a_text_that_is_too_long_is_refused() -> None:
    limits = WyomingLimits(max_text=10)
    async with peer(tts=ScriptedTTSEngine(), limits=limits) as client:
        await client.send(Synthesize("eleven chars"))
        assert (await client.next()).data["code"] == "text_too_long"
        await client.next()
        await client.send(SynthesizeStart(), SynthesizeChunk("five.\n"))
        await client.until("audio-chunk")
        await client.send(SynthesizeChunk("and more"), SynthesizeChunk("still"), SynthesizeStop())
        events = await client.until("synthesize-stopped")
    assert kinds(events)[-3:] == ["error", "audio-stop", "synthesize-stopped"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineError("tts", "secret"), "engine_failed"),
        (UnknownVoiceError("secret", []), "unknown_voice"),
        (OSError("secret"), "internal_error"),
    ],
)
async def test_a_failure_ends_the_answer_and_the_connection_lives(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    tts = ScriptedTTSEngine(failures=[Failure(error, after=2)])
    async with no_leaks(), peer(tts=tts) as client:
        await client.send(Synthesize(TEXT), Synthesize("two"))
        events = await client.until("audio-stop")
        assert kinds(events) == ["audio-start", "audio-chunk", "audio-chunk", "error", "audio-stop"]
        assert events[3].data["code"] == code
        assert "secret" not in str(events[3].data) + caplog.text
        assert tone_text(sound(await client.until("audio-stop"))) == "two"


async def test_an_engine_that_makes_no_sound_has_failed() -> None:
    async with peer(tts=Voices()) as client:
        await client.send(Synthesize("mute"))
        error, _ = await client.until("audio-stop")
    assert error.data["code"] == "engine_failed"


async def test_an_engine_that_hangs_is_given_up_after_its_time() -> None:
    tts = FaultyTTSEngine([Hang(1)])
    async with no_leaks(), peer(tts=tts, limits=WyomingLimits(patience=5.0)) as client:
        began = anyio.current_time()
        await client.send(Synthesize(TEXT))
        events = await client.until("audio-stop")
        assert anyio.current_time() - began == pytest.approx(5.0)
        assert events[-2].data["code"] == "engine_timeout"
        assert tts.running == 0
        await client.send(Synthesize(TEXT))
        assert (await client.until("audio-stop"))[-2].type == "audio-chunk"


async def test_without_a_limit_an_engine_is_waited_for() -> None:
    limits = WyomingLimits(patience=None)
    async with peer(tts=ScriptedTTSEngine(latency=3000.0), limits=limits) as client:
        await client.send(Synthesize(TEXT))
        assert (await client.until("audio-stop"))[-2].type == "audio-chunk"


async def test_when_the_client_leaves_the_engine_is_released_at_once() -> None:
    tts = FaultyTTSEngine([Hang(1)])
    async with no_leaks(), peer(tts=tts) as client:
        await client.send(Synthesize(TEXT))
        await client.until("audio-chunk")
        began = anyio.current_time()
        await client.leave()
        await client.ended.wait()
        assert anyio.current_time() == began
    assert tts.running == 0


async def test_an_engine_runs_no_further_ahead_than_the_client_reads() -> None:
    tts = ScriptedTTSEngine(real_time_factor=0.0)
    async with no_leaks(), peer(tts=tts, unread=0) as client:
        await client.send(Synthesize("a long text " * 20))
        await client.until("audio-chunk")
        await anyio.sleep(60)
        assert tts.calls[0].delivered <= 0.3
        await client.until("audio-stop")
    assert tts.calls[0].finished


async def test_a_client_that_takes_nothing_is_left() -> None:
    tts = ScriptedTTSEngine()
    limits = WyomingLimits(max_idle_seconds=30.0)
    async with no_leaks(), peer(tts=tts, unread=0, limits=limits) as client:
        await client.send(Synthesize(TEXT))
        await client.next()
        began = anyio.current_time()
        await client.ended.wait()
        assert 30.0 <= anyio.current_time() - began < 33.0
    assert tts.open_streams == 0


async def test_out_of_order_is_refused() -> None:
    for events, why in [
        ([SynthesizeChunk("a")], "synthesize-chunk came out of order: no text has begun"),
        ([SynthesizeStop()], "synthesize-stop came out of order: no text has begun"),
        ([SynthesizeStart(), SynthesizeStart()], "synthesize-start came out of order: the text"),
    ]:
        async with peer(tts=ScriptedTTSEngine()) as client:
            await client.send(*events)
            (error,) = await client.rest()
        assert error.data["text"].startswith(why)


async def test_where_nothing_is_spoken_it_is_said() -> None:
    async with peer(ScriptedSTTEngine([])) as client:
        await client.send(Synthesize("hello"))
        assert (await client.next()).data["code"] == "not_offered"
