"""The WebSocket messages of both protocol versions, from events alone."""

from __future__ import annotations

import io
import wave
from base64 import b64decode
from dataclasses import asdict
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import (
    AudioData,
    ConversationState,
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SentenceSpoken,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TranscriptionResult,
    TranscriptionSegment,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    UserIdle,
)
from realtime_stts.conversation._messages import (
    BeginTurn,
    ChangeMode,
    Command,
    CommitTurn,
    Delivery,
    Interrupt,
    MessageEncoder,
    Ping,
    Reset,
    Statistics,
    Stop,
    Version,
    parse_command,
)

RESULT = TranscriptionResult("hi there", "en", [TranscriptionSegment("hi there", 0.5, 1.5)])
SOUND = AudioData.silence(0.1, 24_000)


def encode(version: Version, *events: Event) -> list[dict[str, Any]]:
    encoder = MessageEncoder(version)
    messages = [message for event in events for message in encoder.encode(event)]
    return cast("list[dict[str, Any]]", messages)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            SpeechStarted(1.0, 1.1),
            {"type": "speech_event", "event": "speech_start", "message": "Speech started"},
        ),
        (
            SpeechStopped(2.0, 2.3),
            {"type": "speech_event", "event": "speech_end", "message": "Speech ended"},
        ),
        (
            StateChanged(ConversationState.PROCESSING),
            {"type": "state_update", "state": "processing", "message": "Processing"},
        ),
        (
            FinalTranscript(1, "hi there", RESULT),
            {
                "type": "transcription",
                "text": "hi there",
                "language": "en",
                "partial": False,
                "timing": {"duration": 1.0},
                "segments": [{"text": "hi there", "start": 0.5, "end": 1.5}],
                "committed": "",
            },
        ),
        (
            PartialTranscript(
                1, "hi", TranscriptionResult("hi", "en", [], partial=True, committed="h")
            ),
            {
                "type": "transcription",
                "text": "hi",
                "language": "en",
                "partial": True,
                "timing": {},
                "segments": [],
                "committed": "h",
            },
        ),
        (ReplyText(1, "Hello."), {"type": "response_text", "text": "Hello."}),
        (ReplyPaused(1, 5.0, 0.75), {"type": "reply_paused", "turn": 1, "played_ms": 750}),
        (ReplyResumed(1, 6.0, 0.75), {"type": "reply_resumed", "turn": 1, "played_ms": 750}),
        (Interrupted(1, 6.0, "Once"), {"type": "interrupted", "turn": 1, "heard": "Once"}),
        (UserIdle(5.0, 35.0), {"type": "user_idle", "silence_ms": 30_000}),
        (
            TurnFailed(3, OSError("/secret/path"), "abc-3"),
            {
                "type": "error",
                "message": "The turn failed. Please say it again.",
                "error": "OSError",
                "turn": 3,
                "request_id": "abc-3",
            },
        ),
    ],
)
def test_version_2(event: Event, message: dict[str, Any]) -> None:
    assert encode(2, event) == [message]


def test_version_1_tells_the_state_with_the_speech() -> None:
    messages = encode(
        1,
        StateChanged(ConversationState.SPEAKING),
        SpeechStarted(1.0, 1.1),
        SpeechStopped(2.0, 2.3),
    )
    assert messages[0] == {
        "type": "conversation_state",
        "state": "speaking",
        "is_speaking": True,
        "silence_duration_ms": 0,
        "events": ["speech_start"],
        "pause_detection": {
            "is_speaking": True,
            "silence_duration_ms": 0,
            "events": ["speech_start"],
        },
    }
    assert messages[1]["silence_duration_ms"] == 300


def test_version_1_times_a_transcription_from_start_to_end() -> None:
    [message] = encode(1, FinalTranscript(1, "hi there", RESULT))
    assert message["timing"] == {"start": 0.5, "end": 1.5, "duration": 1.0}


@pytest.mark.parametrize(("version", "kind"), [(1, "response_audio"), (2, "audio_response")])
def test_a_sentence_is_one_whole_wav_file(version: Version, kind: str) -> None:
    spoken = (ReplyAudio(1, SOUND), ReplyAudio(1, SOUND), SentenceSpoken(1, "Hello."))
    [message] = encode(version, *spoken)
    assert (message["type"], message["format"]) == (kind, "wav")
    assert (message["sample_rate"], message["duration_ms"]) == (24_000, 200)
    assert message.get("response_text") == ("Hello." if version == 1 else None)
    with wave.open(io.BytesIO(b64decode(message["audio_data"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (24_000, 4_800)


def test_sound_of_a_failed_turn_never_gets_into_the_next() -> None:
    failed = TurnFailed(1, OSError(), "x-1")
    messages = encode(2, ReplyAudio(1, SOUND), failed, SentenceSpoken(2, "Silent."))
    assert [message["type"] for message in messages] == ["error"]


@pytest.mark.parametrize(
    "event", [ReplyPaused(1, 5.0, 0.1), ReplyResumed(1, 5.0, 0.1), Interrupted(1, 5.0, "")]
)
def test_nor_does_sound_that_was_taken_back(event: Event) -> None:
    messages = encode(2, ReplyAudio(1, SOUND), event, SentenceSpoken(1, "Silent."))
    assert [message["type"] for message in messages][1:] == []


def test_version_1_knows_of_no_interruptions() -> None:
    news = (ReplyPaused(1, 5.0, 0.1), ReplyResumed(1, 5.0, 0.1), Interrupted(1, 5.0, "Once"))
    assert encode(1, *news, UserIdle(0.0, 30.0)) == []


def test_what_has_no_message() -> None:
    ended = TurnEnded(1, "hi", "Hello.", TurnMetrics(0.6))
    over = SessionEnded("input ended")
    assert encode(1, ended, ReplyText(1, "Hello."), SentenceSpoken(1, "Hello."), over) == []


def test_a_turn_that_ended_says_where_its_time_went() -> None:
    metrics = TurnMetrics(0.6, time_to_first_audio=0.9)
    [message] = encode(2, TurnEnded(3, "hi", "Hello.", metrics, "Hel", "interrupted", (1.0, 2.0)))
    assert message.pop("metrics") == {**asdict(metrics)}
    assert message == {
        "type": "turn_ended",
        "turn": 3,
        "outcome": "interrupted",
        "transcript": "hi",
        "reply": "Hello.",
        "heard": "Hel",
    }


class TestStreamedSound:
    def test_is_told_of_once_a_turn_and_then_sent_as_it_is(self) -> None:
        encoder = MessageEncoder(2, "stream")
        spoken = (ReplyAudio(1, SOUND), SentenceSpoken(1, "Hello."), ReplyAudio(1, SOUND))
        messages = [message for event in spoken for message in encoder.encode(event)]
        assert messages == [
            {
                "type": "audio_start",
                "turn": 1,
                "format": "pcm_s16le",
                "sample_rate": 24_000,
                "channels": 1,
            },
            SOUND,
            SOUND,
        ]
        [start, sound] = encoder.encode(ReplyAudio(2, SOUND))
        assert isinstance(start, dict)
        assert (start["turn"], sound) == (2, SOUND)

    def test_is_nothing_that_version_1_knows(self) -> None:
        with pytest.raises(ValueError, match="version 1 of the protocol has no streamed sound"):
            MessageEncoder(1, "stream")

    def test_is_one_of_two_ways(self) -> None:
        with pytest.raises(ValueError, match="as files or as a stream, not as 'pigeons'"):
            MessageEncoder(2, cast("Delivery", "pigeons"))


def test_the_messages_outside_of_turns() -> None:
    first, second = MessageEncoder(1), MessageEncoder(2)
    assert second.ready({"middleware_count": 0})["config"] == {"middleware_count": 0}
    assert second.pong()["type"] == "pong"
    assert second.reset_complete()["type"] == "reset_complete"
    assert second.mode_changed("echo")["type"] == "mode_changed"
    assert second.turn_begun()["type"] == "turn_begun"
    assert second.turn_committed()["type"] == "turn_committed"
    assert second.interrupting()["type"] == "interrupting"
    assert (first.stopping()["type"], second.stopping()["type"]) == (
        "conversation_stopped",
        "stopping",
    )
    assert first.statistics({"n": 1}) == {"type": "statistics", "data": {"n": 1}}
    assert first.error("no") == {"type": "error", "message": "no"}


def test_there_are_two_versions() -> None:
    with pytest.raises(ValueError, match="1 and 2, not 3"):
        MessageEncoder(cast("Version", 3))


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"action": "reset"}, Reset()),
        ({"action": "ping"}, Ping()),
        ({"action": "stop"}, Stop()),
        ({"action": "stats"}, Statistics()),
        ({"action": "begin_turn"}, BeginTurn()),
        ({"action": "commit"}, CommitTurn()),
        ({"action": "interrupt"}, Interrupt()),
        ({"action": "change_mode", "mode": "echo"}, ChangeMode("echo")),
        ({"action": "change_response_mode", "mode": "echo"}, ChangeMode("echo")),
    ],
)
def test_commands(message: dict[str, Any], command: Command) -> None:
    assert parse_command(message) == command


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ([1], "JSON object"),
        (None, "JSON object"),
        ({}, "has an 'action'"),
        ({"action": 3}, "has an 'action'"),
        ({"action": "dance"}, "unknown action 'dance'; known: reset"),
        ({"action": "change_mode"}, "needs a 'mode'"),
        ({"action": "change_mode", "mode": 1}, "needs a 'mode'"),
    ],
)
def test_what_is_no_command_is_named_to_the_client(message: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_command(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("action"), inner),
)


@given(JSON)
def test_no_json_is_worse_than_a_value_error(message: object) -> None:
    try:
        parse_command(message)
    except ValueError:
        return
