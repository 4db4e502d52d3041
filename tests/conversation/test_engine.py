"""The front door: configuration, and whole conversations over a client's connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import anyio
import pytest

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    ConversationEvent,
    EchoResponseGenerator,
    PauseDetector,
    ReplyAudio,
    SessionLimits,
    TurnEnded,
    TurnPolicy,
    WebSocketAdapter,
)
from realtime_stts.testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    chunked,
    no_leaks,
    speech,
)

pytestmark = pytest.mark.anyio

SOUND = speech(4.0)


def engine(**options: Any) -> ConversationEngine:
    return ConversationEngine(
        **{
            "stt": ScriptedSTTEngine(["hello there"] * 9),
            "tts": ScriptedTTSEngine(voices=["one", "two"]),
            "responder": ScriptedResponseGenerator(["Hello."] * 9),
            "pause_detector": ScriptedPauseDetector([(0.5, 1.5)]),
            **options,
        }
    )


class Client:
    """A connection in memory: what was sent is kept, what comes is queued."""

    def __init__(self, *commands: Any, audio: AudioData | None = SOUND) -> None:
        self.sent: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._connected = False
        self._commands = deque(commands)
        self._audio = deque([audio] if audio else [])
        self.hang_up_when = lambda message: False

    async def accept_connection(self) -> None:
        self._connected = True

    async def receive_audio(self) -> AudioData | None:
        return self._audio.popleft() if self._audio else None

    async def receive_command(self) -> dict[str, Any] | None:
        return self._commands.popleft() if self._commands else None

    async def send_json(self, data: dict[str, Any]) -> None:
        self.sent.append(data)
        if self.hang_up_when(data):
            self._connected = False

    async def send_audio(self, audio: AudioData) -> None:
        raise NotImplementedError  # sound travels inside of JSON messages

    async def close(self, code: int = 1000) -> None:
        self._connected = False
        self.close_code = code

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


async def test_a_conversation_over_a_connection_until_the_client_leaves() -> None:
    client = Client()
    assert isinstance(client, WebSocketAdapter)
    client.hang_up_when = lambda message: message["type"] == "audio_response"
    served = engine()
    async with no_leaks():
        await served.handle_conversation(client)
    assert client.types[:1] == ["ready"]
    assert [kind for kind in client.types if kind not in ("state_update", "transcription")] == [
        "ready",
        "speech_event",
        "speech_event",
        "response_text",
        "audio_response",
    ]
    states = [m["state"] for m in client.sent if m["type"] == "state_update"]
    assert states[:2] == ["processing", "speaking"]
    assert not served.is_running


async def test_the_first_version_of_the_protocol() -> None:
    client = Client()
    client.hang_up_when = lambda message: message["type"] == "response_audio"
    await engine().handle_conversation(client, version=1)
    assert {*client.types} == {"ready", "conversation_state", "transcription", "response_audio"}
    assert client.sent[-1]["response_text"] == "Hello."


async def test_commands_are_answered_and_stop_really_stops() -> None:
    client = Client(
        {"action": "ping"},
        {"action": "reset"},
        {"action": "stats"},
        {"action": "dance"},
        [1],
        {"action": "begin_turn"},
        {"action": "commit"},
        {"action": "interrupt"},
        {"action": "change_mode", "mode": "poetry"},
        {"action": "change_mode", "mode": "echo"},
        {"action": "stop"},
        {"action": "ping"},
        audio=None,
    )
    served = engine()
    client.hang_up_when = lambda message: not served.is_running
    await served.handle_conversation(client)
    # There was a turn without a sound in it, which is no answer to a command.
    others = ("state_update", "transcription", "interrupted", "turn_ended")
    assert [kind for kind in client.types if kind not in others] == [
        "ready",
        "pong",
        "reset_complete",
        "statistics",
        "error",
        "error",
        "turn_begun",
        "turn_committed",
        "interrupting",
        "error",
        "mode_changed",
        "stopping",
    ]
    assert client.close_code == 1000


async def test_changing_the_mode_changes_the_answers_of_that_session_alone() -> None:
    served = engine()
    client = Client({"action": "change_mode", "mode": "echo"})
    client.hang_up_when = lambda message: message["type"] == "audio_response"
    await served.handle_conversation(client)
    assert "hello there" in [m.get("text") for m in client.sent if m["type"] == "response_text"]
    other = Client()
    other.hang_up_when = client.hang_up_when
    await served.handle_conversation(other)
    assert "Hello." in [m.get("text") for m in other.sent if m["type"] == "response_text"]


async def test_bad_audio_is_answered_and_the_conversation_goes_on() -> None:
    client = Client(audio=None)
    client._audio.extend([speech(0.1), AudioData.silence(0.1, 8_000), SOUND])
    client.hang_up_when = lambda message: message["type"] == "audio_response"
    await engine().handle_conversation(client)
    assert client.types[1] == "error"
    assert client.types[-1] == "audio_response"


async def test_a_sentence_is_sent_as_soon_as_it_is_made_and_not_when_it_is_due() -> None:
    client, times = Client(), list[float]()
    answers = ScriptedResponseGenerator(["This is one sentence. And here is another one."])
    client.hang_up_when = lambda message: (
        message["type"] == "audio_response"
        and times.append(anyio.current_time()) is None
        and len(times) == 2
    )
    await engine(responder=answers).handle_conversation(client)
    assert times[1] - times[0] < 0.5, "the first of them lasts longer"


async def test_streamed_sound_comes_a_little_before_its_time() -> None:
    class Player(Client):
        async def send_audio(self, audio: AudioData) -> None:
            played.append((anyio.current_time(), audio))

    played: list[tuple[float, AudioData]] = []
    client = Player()
    answers = ScriptedResponseGenerator(["This is one sentence. And here is another one."])
    client.hang_up_when = lambda message: message["type"] == "turn_ended"
    await engine(responder=answers).handle_conversation(client, audio="stream")
    kinds = ("audio_start", "audio_response", "turn_ended")
    assert [kind for kind in client.types if kind in kinds] == ["audio_start", "turn_ended"]
    start = client.sent[client.types.index("audio_start")]
    assert {audio.sample_rate for _, audio in played} == {start["sample_rate"]}
    seconds = sum(audio.duration_seconds for _, audio in played)
    assert seconds > 1.0
    lead = seconds - (played[-1][0] - played[0][0])
    assert 0.2 < lead < 0.4


async def test_a_session_over_a_connection_may_have_its_own_language_voice_and_mode() -> None:
    stt, tts = ScriptedSTTEngine(["hello there"] * 2), ScriptedTTSEngine(voices=["one", "two"])
    client = Client()
    client.hang_up_when = lambda message: message["type"] == "turn_ended"
    await engine(stt=stt, tts=tts, pause_detector=ScriptedPauseDetector([])).handle_conversation(
        client,
        mode="echo",
        language="de",
        voice_config={"voice_id": "two"},
        pause_detector=ScriptedPauseDetector([(0.5, 1.5)]),
    )
    assert {call.language for call in stt.calls} == {"de"}
    assert {call.voice_config["voice_id"] for call in tts.calls} == {"two"}
    assert [m["text"] for m in client.sent if m["type"] == "response_text"] == ["hello there"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "poetry"}, "unknown mode 'poetry'; known: echo, template"),
        ({"version": 1, "audio": "stream"}, "version 1 .* no streamed sound"),
        ({"version": 3}, "versions are 1 and 2"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_accepted(
    options: dict[str, Any], complaint: str
) -> None:
    client = Client()
    with pytest.raises(ValueError, match=complaint):
        await engine().handle_conversation(client, **options)
    assert not client.is_connected
    assert client.close_code is None


async def test_a_client_that_takes_no_messages_counts_as_gone() -> None:
    class Stuck(Client):
        async def send_json(self, data: dict[str, Any]) -> None:
            await super().send_json(data)
            if data["type"] == "speech_event":
                await anyio.sleep_forever()

    client, served = Stuck(), engine(limits=SessionLimits(send=3.0))
    began = anyio.current_time()
    async with no_leaks():
        await served.handle_conversation(client)
    assert anyio.current_time() - began < 10.0
    assert client.close_code == 1000
    assert not served.is_running


async def test_a_client_that_cannot_be_closed_is_left() -> None:
    class Stuck(Client):
        async def close(self, code: int = 1000) -> None:
            await anyio.sleep_forever()

    served = engine()
    with anyio.fail_after(5.0):
        await served.handle_conversation(Stuck({"action": "stop"}, audio=None))
    assert not served.is_running


async def test_a_session_may_be_paced_in_its_own_way() -> None:
    with pytest.raises(ValueError, match="playout_lead"):
        engine(playout_lead=-0.1)
    async with engine().session(playout_lead=inf) as session:
        await session.push(SOUND)
        await session.end_input()
        audio = [event.audio async for event in session if isinstance(event, ReplyAudio)]
    assert [sound.duration_seconds for sound in audio] == [pytest.approx(6 * 0.06)]


async def test_a_session_without_an_engine_is_refused_before_anything_is_accepted() -> None:
    client = Client()
    with pytest.raises(ValueError, match="no TTS engine"):
        await engine(tts=None).handle_conversation(client)
    with pytest.raises(ValueError, match="no STT engine"):
        engine(stt=None).session()
    assert client.sent == []


async def converse(served: ConversationEngine, **options: Any) -> list[TurnEnded]:
    async with served.session(**options) as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, chunked(SOUND, 0.1))
        return [event async for event in session if isinstance(event, TurnEnded)]


async def test_parts_can_be_configured_one_by_one() -> None:
    served = ConversationEngine(pause_detector=ScriptedPauseDetector())
    served.configure_stt(ScriptedSTTEngine(["hi"]))
    served.configure_tts(ScriptedTTSEngine())
    served.configure_response_generation(EchoResponseGenerator(add_prefix=True))
    served.configure_pause_detection(ScriptedPauseDetector([(0.5, 1.5)]))
    assert [turn.reply for turn in await converse(served)] == ["You said: hi"]


class Settings:
    """A provider, as the contract has it."""

    def get_stt_config(self) -> dict[str, Any]:
        return {"language": "de"}

    def get_tts_config(self) -> dict[str, Any]:
        return {"voice_id": "one", "speed_factor": 2.0}

    def get_conversation_config(self) -> dict[str, Any]:
        return {"max_history_length": 0}

    def get_pause_detection_config(self) -> dict[str, Any]:
        return {}

    def get_audio_config(self) -> dict[str, Any]:
        return {}


async def test_a_provider_is_gone_over_by_the_engine_and_that_by_the_session() -> None:
    stt, tts = ScriptedSTTEngine(["hi"] * 3), ScriptedTTSEngine(voices=["one", "two"])
    await converse(engine(config_provider=Settings(), stt=stt, tts=tts))
    served = engine(
        config_provider=Settings(),
        stt=stt,
        tts=tts,
        language="en",
        voice_config={"voice_id": "two"},
    )
    await converse(served)
    await converse(
        served, language="fr", voice_config={"speed_factor": 1.0}, policy=TurnPolicy(end_of_turn=1)
    )
    assert [call.language for call in stt.calls] == ["de", "en", "fr"]
    assert [call.voice_config for call in tts.calls] == [
        {"voice_id": "one", "speed_factor": 2.0},
        {"voice_id": "two", "speed_factor": 2.0},
        {"voice_id": "two", "speed_factor": 1.0},
    ]


class Tag:
    """A conversation middleware that marks what passes."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def process(
        self,
        context: ConversationContext,
        next_middleware: Callable[[ConversationContext], Awaitable[ConversationContext]],
    ) -> ConversationContext:
        assert context.transcription is not None
        self.notes.append(f"{self.name} hears {context.transcription.text}")
        context = await next_middleware(context)
        assert context.synthesis_result is not None
        self.notes.append(f"{self.name} saw {context.response_text}")
        return context


async def test_middleware_wraps_the_answer_the_first_added_outermost() -> None:
    notes: list[str] = []
    served = engine()
    outer, inner, gone = (Tag(name, notes) for name in ("outer", "inner", "gone"))
    for middleware in (outer, inner, gone):
        served.add_middleware(middleware)
    served.remove_middleware(gone)
    with pytest.raises(ValueError, match="not in"):
        served.remove_middleware(gone)
    await converse(served)
    assert notes == [
        "outer hears hello there",
        "inner hears hello there",
        "inner saw Hello.",
        "outer saw Hello.",
    ]


class Notes:
    def __init__(self) -> None:
        self.events: list[ConversationEvent] = []

    async def handle(self, event: ConversationEvent) -> None:
        self.events.append(event)


async def test_subscribers_are_told_of_the_processing() -> None:
    notes, served = Notes(), engine(responder=ScriptedResponseGenerator(["Hello.", OSError("no")]))
    for kind in ("processing_start", "processing_complete", "processing_error"):
        served.subscribe_to_events(kind, notes)
    await converse(served)
    await converse(served)
    assert [event.event_type for event in notes.events] == [
        "processing_start",
        "processing_complete",
        "processing_start",
        "processing_error",
    ]
    assert notes.events[1].data["context"].response_text == "Hello."
    assert isinstance(notes.events[3].data["context"].error, OSError)


async def test_a_detector_that_cannot_be_cloned_is_not_shared() -> None:
    class Lone:
        is_speaking = False

        async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
            return {"is_speaking": False, "events": []}

        def reset(self) -> None: ...

    assert isinstance(Lone(), PauseDetector)
    with pytest.raises(TypeError, match="give a function that makes one"):
        engine(pause_detector=Lone()).session()
    assert await converse(engine(pause_detector=Lone)) == []


def test_there_is_a_detector_by_default() -> None:
    assert isinstance(ConversationEngine().pause_detector, PauseDetector)
