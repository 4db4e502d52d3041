"""A conversation's events in the words of OpenAI's Realtime API."""

from __future__ import annotations

from base64 import b64decode
from itertools import count
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")

from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from realtime_stts import AudioData
from realtime_stts.conversation import (
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    TurnPolicy,
    UserIdle,
)
from realtime_stts.errors import EngineError, EngineTimeoutError
from realtime_stts.integrations._http._openai._commands import (
    Append,
    Truncate,
    event_id_of,
    parsed,
)
from realtime_stts.integrations._http._openai._config import (
    RealtimeConfig,
    RealtimeRefusal,
    configured,
    described,
    initial,
    policy_of,
)
from realtime_stts.integrations._http._openai._realtime import RealtimeEvents
from realtime_stts.protocols import ConversationState, Exchange, TranscriptionResult

POLICY = TurnPolicy()
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

PROCESSING = StateChanged(ConversationState.PROCESSING)
SPEAKING = StateChanged(ConversationState.SPEAKING)


def events(**config: Any) -> RealtimeEvents:
    numbers = count(1)
    chosen = configured(initial("gpt-realtime", POLICY), config, POLICY)
    return RealtimeEvents(chosen, lambda kind: f"{kind}_{next(numbers)}")


def told(to: RealtimeEvents, *happened: Event) -> list[dict[str, Any]]:
    """What the client is told, each message as OpenAI's own types have it."""
    messages = [message for event in happened for message in to.told(event)]
    for message in messages:
        SERVER_EVENT.validate_python(message)
    return messages


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def said(turn: int, text: str, committed: str = "", *, partial: bool = False) -> Event:
    result = TranscriptionResult(text, "en", [], partial=partial, committed=committed)
    return (PartialTranscript if partial else FinalTranscript)(turn, text, result)


def sound(turn: int, seconds: float) -> ReplyAudio:
    return ReplyAudio(turn, AudioData.silence(seconds, 24_000))


def ended(turn: int, outcome: Any = "answered") -> TurnEnded:
    return TurnEnded(turn, "", "", TurnMetrics(0.0), outcome=outcome)


def seconds(messages: list[dict[str, Any]]) -> float:
    deltas = [m["delta"] for m in messages if m["type"] == "response.output_audio.delta"]
    return sum(len(b64decode(delta)) for delta in deltas) / 48_000


TRANSCRIBED: Any = {"audio": {"input": {"transcription": {}}}}
UNASKED: Any = {"audio": {"input": {"turn_detection": {"create_response": False}}}}
MANUAL: Any = {"audio": {"input": {"turn_detection": None}}}


# -- the user's part


def test_words_are_told_as_they_become_certain() -> None:
    to = events(**TRANSCRIBED)
    messages = told(
        to,
        SpeechStarted(0.5, 0.6),
        said(1, "good", "good", partial=True),
        said(1, "good mourning", "good", partial=True),
        SpeechStopped(1.5, 1.8),
        PROCESSING,
        said(1, "good morning"),
    )
    deltas = [m["delta"] for m in messages if m["type"].endswith("transcription.delta")]
    assert deltas == ["good", " morning"]
    assert messages[-1]["transcript"] == "good morning"
    assert messages[-1]["usage"] == {"type": "duration", "seconds": 1.0}
    assert {m["item_id"] for m in messages if "item_id" in m} == {messages[0]["item_id"]}
    assert messages[0]["audio_start_ms"] == 500


def test_what_is_taken_back_by_the_engine_is_not_told_twice() -> None:
    to = events(**TRANSCRIBED)
    messages = told(
        to,
        SpeechStarted(0.5, 0.6),
        said(1, "good mourning", "good mourning", partial=True),
        said(1, "good morning"),
    )
    assert [m["delta"] for m in messages if "delta" in m] == ["good mourning"]
    assert messages[-1]["transcript"] == "good morning"


def test_a_pause_within_a_turn_ends_nothing() -> None:
    to = events()
    messages = told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3), SpeechStarted(1.4, 1.5))
    assert kinds(messages) == ["input_audio_buffer.speech_started"]
    assert "input_audio_buffer.committed" in kinds(told(to, SpeechStopped(2.0, 2.3), PROCESSING))


def test_a_turn_that_is_cut_while_somebody_speaks_is_committed() -> None:
    to = events()
    messages = told(to, SpeechStarted(0.5, 0.6), PROCESSING, said(1, "and on"))
    stopped = [m for m in messages if m["type"].endswith("speech_stopped")]
    assert [m["audio_end_ms"] for m in stopped] == [500]
    # The next turn has no start of its own.
    assert kinds(told(to, said(2, "and on"))) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]


@pytest.mark.parametrize("outcome", ["silent", "short"])
def test_a_turn_without_words_is_committed_and_not_answered(outcome: Any) -> None:
    to = events()
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3))
    final = [said(1, "")] if outcome == "silent" else [said(1, "", partial=True)]
    messages = told(to, *final, ended(1, outcome))
    assert kinds(messages).count("input_audio_buffer.committed") == 1
    assert "response.created" not in kinds(messages)


def test_a_noise_over_an_answer_is_not_told() -> None:
    to = events()
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3), PROCESSING, said(1, "hello"))
    told(to, ReplyText(1, "Hello."), sound(1, 0.2))
    messages = told(
        to,
        SpeechStarted(2.0, 2.1),
        said(2, "", partial=True),
        SpeechStopped(2.2, 2.5),
        said(2, ""),
        ended(2, "silent"),
    )
    assert messages == []
    assert not to.hearing
    assert kinds(told(to, ended(1)))[-1] == "response.done"


def test_a_noise_before_another_is_forgotten() -> None:
    to = events()
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3), PROCESSING, said(1, "hello"))
    told(to, ReplyText(1, "Hello."), SpeechStarted(2.0, 2.1), said(2, "hm", partial=True))
    to._user._open = None  # as if another turn had been opened by a key
    assert told(to, said(2, "")) == []


def test_words_over_an_answer_wait_for_theirs() -> None:
    to = events()
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3), PROCESSING, said(1, "hello"))
    told(to, ReplyText(1, "Hello."), sound(1, 0.2))
    told(to, SpeechStarted(2.0, 2.1), SpeechStopped(2.2, 2.5))
    assert kinds(told(to, said(2, "mm-hm"))) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    told(to, SpeechStarted(3.0, 3.1), SpeechStopped(3.5, 3.8), ended(1))
    # The answer that begins now is to the turn that waited.
    assert told(to, PROCESSING) == []


def test_without_turn_detection_speech_is_not_told() -> None:
    assert told(events(**MANUAL), SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3)) == []


def test_what_concerns_nobody_is_not_told() -> None:
    assert told(events(), UserIdle(0.0, 30.0), SPEAKING, ReplyResumed(1, 0.0, 0.0)) == []


# -- the answer


def test_an_answer_that_was_held_goes_on_where_the_client_is() -> None:
    to = events()
    told(to, ReplyText(1, "Hello there."))
    before = told(to, sound(1, 0.4), ReplyPaused(1, 1.0, 0.3), ReplyResumed(1, 2.0, 0.3))
    assert seconds(before) == pytest.approx(0.4)
    again = told(to, sound(1, 0.06), sound(1, 0.06), sound(1, 0.06))
    assert seconds(again) == pytest.approx(0.08)
    # And held once more, before any of it was played.
    assert seconds(told(to, ReplyPaused(1, 3.0, 0.3), sound(1, 0.2))) == pytest.approx(0.02)


def test_the_sound_has_the_rate_that_is_asked_for() -> None:
    to = events(audio={"output": {"format": {"type": "audio/pcm", "rate": 48_000}}})
    messages = [*to.told(ReplyText(1, "Hi.")), *to.told(sound(1, 1.0)), *to.told(ended(1))]
    assert seconds(messages) == pytest.approx(2.0)
    assert messages[-1]["response"]["audio"]["output"]["format"]["rate"] == 48_000


def test_sentences_are_parted() -> None:
    to = events()
    messages = told(to, ReplyText(1, "One."), ReplyText(1, "Two."), sound(1, 0.1), ended(1))
    deltas = [m["delta"] for m in messages if m["type"].endswith("transcript.delta")]
    assert deltas == ["One.", " Two."]
    assert messages[-1]["response"]["output"][0]["content"][0]["transcript"] == "One. Two."


def test_speech_that_stops_an_answer_is_told_first() -> None:
    to = events()
    told(to, ReplyText(1, "Hello."), sound(1, 0.2), SpeechStarted(2.0, 2.1))
    messages = told(to, Interrupted(1, 2.5, "Hel"), ended(1, "interrupted"))
    assert kinds(messages)[0] == "input_audio_buffer.speech_started"
    done = messages[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert done["output"][0]["status"] == "incomplete"


def test_an_answer_is_stopped_before_it_has_words() -> None:
    to = events()
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3), PROCESSING, said(1, "hello"))
    to.cancelling()
    messages = told(to, Interrupted(1, 2.5, ""))
    assert kinds(messages) == ["response.created", "response.done"]
    assert messages[-1]["response"]["status_details"]["reason"] == "client_cancelled"


def test_an_answer_nobody_asked_for_is_stopped_in_silence() -> None:
    to = events(**UNASKED)
    assert told(to, Interrupted(1, 2.5, ""), ended(1, "interrupted")) == []
    assert told(to, ended(2)) == []


def test_a_failure_ends_the_answer_with_what_there_was() -> None:
    to = events()
    told(to, said(1, "hello"), ReplyText(1, "Hel"), sound(1, 0.1))
    messages = told(to, TurnFailed(1, EngineTimeoutError("tts", 15.0), "request"))
    details = messages[-1]["response"]["status_details"]
    assert (details["type"], details["error"]["code"]) == ("failed", "engine_timeout")
    assert kinds(messages)[0] == "response.output_audio.done"


def test_a_failure_before_anything_was_understood_is_told_of_the_item() -> None:
    to = events(**TRANSCRIBED)
    told(to, SpeechStarted(0.5, 0.6), SpeechStopped(1.0, 1.3))
    messages = told(to, TurnFailed(1, EngineError("stt", "secret"), "request"))
    assert kinds(messages)[-3:] == [
        "conversation.item.input_audio_transcription.failed",
        "response.created",
        "response.done",
    ]
    assert "secret" not in str(messages)


def test_the_failure_of_a_turn_that_nobody_asks_about_is_not_told() -> None:
    to = events(**UNASKED)
    told(to, said(1, "hello"))
    assert told(to, TurnFailed(1, EngineTimeoutError("responder", 30.0), "request")) == []
    assert told(to, ReplyPaused(1, 1.0, 0.0)) == []


def test_the_failure_of_one_turn_is_not_anothers() -> None:
    to = events()
    told(to, said(1, "hello"), ReplyText(1, "Hello."))
    assert told(to, TurnFailed(2, EngineError("stt", ""), "request")) == []
    assert to.responding


# -- what the client asks for


def test_turns_are_answered_if_they_are_asked_for() -> None:
    to = events(**UNASKED)
    told(to, said(1, "one"))
    assert to.verdict(1) is None
    told(to, said(2, "two"))
    assert to.verdict(1) is False
    to.ask(2)
    assert to.verdict(2) is True
    assert to.responding
    assert kinds(told(to, ended(2, "silent"))) == ["response.done"]


def test_what_is_taken_back_is_not_told() -> None:
    to = events(**MANUAL)
    to.commit(1)
    to.drop(1)
    assert to.verdict(1) is False
    assert told(to, said(1, "wrong"), ended(1)) == []
    history = [Exchange(1, "wrong", "", ""), Exchange(2, "right", "", "")]
    assert [each.user for each in to.kept(history)] == ["right"]


def test_speech_that_is_taken_back_is_another_items() -> None:
    to = events()
    first = told(to, SpeechStarted(0.5, 0.6))[0]["item_id"]
    to.drop(1)
    second = told(to, SpeechStarted(1.5, 1.6))[0]["item_id"]
    assert first != second
    committed = told(to, SpeechStopped(2.0, 2.3), said(2, "right"))
    assert {m["item_id"] for m in committed if "item_id" in m} == {second}


def test_times_go_on_where_a_session_was_replaced() -> None:
    to = events()
    told(to, ReplyText(1, "Hello."))
    assert kinds(to.restart(10.0))[-1] == "response.done"
    assert told(to, SpeechStarted(0.5, 0.6))[0]["audio_start_ms"] == 10_500
    assert to.restart(1.0) == []


def test_sessions_are_as_openais_types_have_them() -> None:
    to = events()
    for message in (to.created(), to.update(to.config), to.cleared()):
        SERVER_EVENT.validate_python(message)
    refusal = to.refused(RealtimeRefusal("No.", "field", "code"), "mine")
    SERVER_EVENT.validate_python(refusal)
    assert refusal["error"] == {
        "type": "invalid_request_error",
        "code": "code",
        "message": "No.",
        "param": "field",
        "event_id": "mine",
    }


TURNS = st.integers(1, 3)
ANYTHING: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(
        [PROCESSING, SpeechStarted(1.0, 1.1), SpeechStopped(2.0, 2.3), ReplyPaused(1, 1.0, 0.1)]
    ),
    st.builds(said, TURNS, st.sampled_from(["", "hi"]), partial=st.booleans()),
    st.builds(ReplyText, TURNS, st.just("Hello.")),
    st.builds(sound, TURNS, st.just(0.1)),
    st.builds(Interrupted, TURNS, st.just(1.0), st.just("")),
    st.builds(ended, TURNS, st.sampled_from(["answered", "interrupted", "silent", "short"])),
    st.builds(TurnFailed, TURNS, st.just(EngineError("tts", "")), st.just("request")),
)


@given(st.lists(ANYTHING, max_size=40), st.sampled_from([{}, TRANSCRIBED, UNASKED]))
def test_whatever_happens_answers_and_speech_begin_before_they_end(
    happened: list[Event], session: Any
) -> None:
    under_way, speaking, committed = None, set(), set()
    for message in told(events(**session), *happened):
        kind = message["type"]
        if kind == "response.created":
            assert under_way is None
            under_way = message["response"]["id"]
        elif kind == "response.done":
            assert message["response"]["id"] == under_way
            under_way = None
        elif kind.startswith("response."):
            assert message["response_id"] == under_way
        elif kind == "input_audio_buffer.speech_started":
            assert message["item_id"] not in speaking | committed
            speaking.add(message["item_id"])
        elif kind == "input_audio_buffer.speech_stopped":
            speaking.remove(message["item_id"])
        elif kind == "input_audio_buffer.committed":
            assert message["item_id"] not in speaking | committed
            committed.add(message["item_id"])


# -- how a session is set up


def config(**session: Any) -> RealtimeConfig:
    return configured(initial("gpt-realtime", POLICY), session, POLICY)


def test_server_vad_is_the_policys_numbers() -> None:
    detection = {
        "type": "server_vad",
        "silence_duration_ms": 800,
        "prefix_padding_ms": 100,
        "interrupt_response": False,
    }
    chosen = config(audio={"input": {"turn_detection": detection}})
    policy = policy_of(chosen, POLICY)
    assert (policy.end_of_turn, policy.pre_roll, policy.barge_in) == (0.8, 0.1, None)
    shown = described(chosen, "sess_1")["audio"]["input"]["turn_detection"]
    assert shown == {**detection, "create_response": True, "idle_timeout_ms": None}


@pytest.mark.parametrize(
    ("eagerness", "silence"), [("low", 1.5), ("auto", 0.6), ("medium", 0.6), ("high", 0.35)]
)
def test_eagerness_is_how_long_a_pause_may_be(eagerness: str, silence: float) -> None:
    detection = {"type": "semantic_vad", "eagerness": eagerness}
    chosen = config(audio={"input": {"turn_detection": detection}})
    assert policy_of(chosen, POLICY).end_of_turn == silence
    shown = described(chosen, "sess_1")["audio"]["input"]["turn_detection"]
    assert shown["eagerness"] == eagerness


def test_what_is_left_out_stays() -> None:
    before = config(
        instructions="Be brief.",
        output_modalities=["text"],
        audio={
            "input": {
                "turn_detection": {"silence_duration_ms": 800},
                "transcription": {"model": "whisper-1", "language": "de"},
            },
            "output": {"voice": "anna"},
        },
    )
    after = configured(
        before, {"audio": {"input": {"turn_detection": {"create_response": False}}}}, POLICY
    )
    assert after.turn_detection is not None
    assert after.turn_detection.silence == 0.8
    assert after.turn_detection.create_response is False
    assert (after.language, after.voice, after.modality) == ("de", "anna", "text")
    off = configured(after, {"audio": {"input": {"transcription": None}}}, POLICY)
    assert described(off, "sess_1")["audio"]["input"]["transcription"] is None


def test_push_to_talk_is_a_policy_too() -> None:
    manual = TurnPolicy(manual=True)
    chosen = initial("gpt-realtime", manual)
    assert chosen.turn_detection is None
    assert policy_of(chosen, POLICY).manual
    found = configured(chosen, {"audio": {"input": {"turn_detection": {}}}}, manual)
    assert not policy_of(found, manual).manual


@pytest.mark.parametrize("modalities", [["audio"], ["audio", "text"], ["text", "audio"]])
def test_sound_has_its_words(modalities: list[str]) -> None:
    assert config(output_modalities=modalities).modality == "audio"


@pytest.mark.parametrize(
    "session",
    [
        [],
        {"type": "transcription"},
        {"instructions": 1},
        {"instructions": "\ud800"},
        {"instructions": "a" * 20_001},
        {"output_modalities": ["smell"]},
        {"output_modalities": "text"},
        {"audio": [1]},
        {"audio": {"input": [1]}},
        {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000.5}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": "24000"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": float("nan")}}}},
        {"audio": {"input": {"transcription": {"language": 1}}}},
        {"audio": {"input": {"transcription": {"model": "a" * 201}}}},
        {"audio": {"input": {"transcription": True}}},
        {"audio": {"input": {"turn_detection": {"type": "none"}}}},
        {"audio": {"input": {"turn_detection": {"type": {}}}}},
        {"audio": {"input": {"turn_detection": {"create_response": 1}}}},
        {"audio": {"input": {"turn_detection": {"silence_duration_ms": -1}}}},
        {"audio": {"input": {"turn_detection": {"prefix_padding_ms": True}}}},
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "x"}}}},
        {"audio": {"output": {"speed": 9}}},
        {"audio": {"output": {"voice": {"name": "anna"}}}},
    ],
)
def test_what_cannot_be_is_refused(session: Any) -> None:
    with pytest.raises(RealtimeRefusal) as refused:
        configured(initial("gpt-realtime", POLICY), session, POLICY)
    assert refused.value.param is not None
    assert refused.value.param.startswith("session")


# -- what a client may say


def test_messages_become_commands() -> None:
    assert parsed({"type": "input_audio_buffer.append", "audio": "AAE="}) == Append(b"\0\1")
    truncate = {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 20,
    }
    assert parsed(truncate) == Truncate("item_1", 0, 20)
    for wrong in ({"audio_end_ms": -1}, {"content_index": True}, {"item_id": ""}):
        with pytest.raises(RealtimeRefusal):
            parsed({**truncate, **wrong})


@pytest.mark.parametrize(
    ("message", "id"),
    [
        ({}, None),
        ({"event_id": "x"}, "x"),
        ({"event_id": 1}, None),
        ({"event_id": "x" * 513}, None),
        ({"event_id": "\udfff"}, None),
    ],
)
def test_an_event_id_is_a_short_text(message: dict[str, Any], id: str | None) -> None:
    assert event_id_of(message) == id
