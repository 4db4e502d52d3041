"""The messages of the WebSocket protocol: real ones, of a conversation held for this."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from functools import cache, lru_cache, partial
from typing import Any, Literal

import anyio

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    Event,
    SessionLimits,
    TranscriptionResult,
    TurnPolicy,
)
from realtime_stts.conversation._messages import MessageEncoder
from realtime_stts.engines import load_pause_detector
from realtime_stts.testing import (
    Caller,
    MemoryWebSocketClient,
    ScriptedTTSEngine,
    ToneSTTEngine,
    connected_pair,
    virtual_time,
)

__all__ = ["COMMANDS", "answers_section", "examples", "messages_section"]

Version = Literal[1, 2]

# What a client can send, in the order in which it is sent here, with what it is for.
COMMANDS: Mapping[str, tuple[dict[str, str], str]] = {
    "ping": ({"action": "ping"}, "Say that the session is alive."),
    "stats": ({"action": "stats"}, "Tell how the session goes."),
    "change_mode": (
        {"action": "change_mode", "mode": "echo"},
        "Answer in another of the engine's `modes`. Also called `change_response_mode`.",
    ),
    "begin_turn": ({"action": "begin_turn"}, "The user holds the key to talk."),
    "commit": ({"action": "commit"}, "The user has finished, whatever is heard."),
    "interrupt": ({"action": "interrupt"}, "Stop the answer, if there is one."),
    "reset": ({"action": "reset"}, "Forget the conversation so far."),
    "unknown": ({"action": "dance"}, "What cannot be understood is answered and ends nothing."),
    "stop": ({"action": "stop"}, "End the session."),
}

_NEWS = ("speech_event", "state_update", "transcription", "interrupted", "turn_ended")
_LONG = 48  # characters of a text that are shown


async def _answer(said: TranscriptionResult, context: ConversationContext) -> AsyncGenerator[str]:
    if "fail" in said.text:
        raise ValueError("as asked for")
    yield "It will be sunny tomorrow, with a light wind."
    yield " In the evening there may be a little rain."


def _engine() -> ConversationEngine:
    return ConversationEngine(
        stt=ToneSTTEngine(),
        tts=ScriptedTTSEngine(),
        responder=_answer,
        pause_detector=load_pause_detector("energy"),
        policy=TurnPolicy(idle_after=4.0),
        limits=SessionLimits(),
    )


async def _hold() -> list[Event]:
    call = (
        await Caller(_engine())
        .says("what is the weather")
        .mumbles(0.5, after=1.0)
        .says("and tomorrow")
        .interrupts("thank you", after=1.0)
        .says("now fail")
        .waits(6.0)
        .run()
    )
    return [event for _, event in call.events]


@lru_cache(maxsize=1)
def _events() -> tuple[Event, ...]:
    backend, options = virtual_time()
    return tuple(anyio.run(_hold, backend=backend, backend_options=options))


@cache
def examples(version: Version, audio: Literal["files", "stream"] = "files") -> dict[str, Any]:
    """The first message of each kind that the conversation brought, by its type.

    A sound between the messages is of the type ``(binary)``.
    """
    encoder = MessageEncoder(version, audio)
    found: dict[str, Any] = {}
    for event in _events():
        for message in encoder.encode(event):
            if isinstance(message, AudioData):
                found.setdefault("(binary)", message)
                continue
            kind = message["type"]
            if kind == "transcription" and not message["partial"]:
                kind = "transcription (final)"
            elif kind == "speech_event":
                kind = f"speech_event ({message['event']})"
            found.setdefault(kind, message)
    return found


@cache
def _answered(version: Version) -> dict[str, Any]:
    """What each command is answered with, by a real session; ``ready`` is before them all."""
    backend, options = virtual_time()
    return anyio.run(_ask, version, backend=backend, backend_options=options)


async def _ask(version: Version) -> dict[str, Any]:
    adapter, client = connected_pair()
    answers: dict[str, Any] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_engine().handle_conversation, adapter, version=version))
        answers["ready"] = await client.receive()
        for name, (command, _) in COMMANDS.items():
            await client.send_command(dict(command))
            answers[name] = await _answer_to(client)
        await client.leave()
    return answers


async def _answer_to(client: MemoryWebSocketClient) -> Any:
    """The next message that is no news of the conversation."""
    while True:
        message = await client.receive()
        if not isinstance(message, dict) or message["type"] not in _NEWS:
            return message


def messages_section(version: Version) -> str:
    """What a server sends, kind by kind."""
    shown = dict(examples(version))
    if version == 2:
        streamed = examples(2, "stream")
        shown["audio_start"] = streamed["audio_start"]
    return "\n\n".join(f"### {kind}\n\n{_shown(message)}" for kind, message in shown.items())


def answers_section(version: Version) -> str:
    """The commands, each with the answer to it."""
    answers = _answered(version)
    parts = [f"### ready\n\nThe session can begin.\n\n{_shown(answers['ready'])}"]
    for name, (command, said) in COMMANDS.items():
        parts.append(
            f"### {name}\n\n{said}\n\n{_shown(command)}\n\nanswers\n\n{_shown(answers[name])}"
        )
    return "\n\n".join(parts)


def _shown(message: Mapping[str, Any]) -> str:
    return f"```json\n{json.dumps(_shortened(message), indent=2, ensure_ascii=False)}\n```"


def _shortened(value: Any) -> Any:
    match value:
        case Mapping():
            return {name: _shortened(each) for name, each in value.items()}
        case list():
            return [_shortened(each) for each in value]
        case float():
            return round(value, 3)
        case str() if len(value) > _LONG and " " not in value:
            return f"{value[:_LONG]}…"
    return value
