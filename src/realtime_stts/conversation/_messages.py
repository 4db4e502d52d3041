"""PURE: a conversation as the JSON messages of its WebSocket protocol, and commands from them.

Two versions of the protocol exist. Version 1 is what the bundled browser page of the
first server speaks, version 2 the library's own. They differ in names, and in that
version 1 puts the reply's text into its audio message. Sound goes out once a sentence,
as a whole base64 WAV file, since clients play each message as a file. Version 1 knows of
no interruptions: its client is sent no more of the answer, and plays out what it has.

A client of version 2 may ask for a stream instead: each piece of sound is then a message of
its own, without any JSON around it, and ``audio_start`` says before the first of a turn what
they are.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..audio import AudioData
from ..protocols import ConversationState, TranscriptionResult
from ._events import (
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
    TurnEnded,
    TurnFailed,
    UserIdle,
)

__all__ = [
    "BeginTurn",
    "ChangeMode",
    "Command",
    "CommitTurn",
    "Delivery",
    "Interrupt",
    "MessageEncoder",
    "Ping",
    "Reset",
    "Statistics",
    "Stop",
    "Version",
    "parse_command",
]

Version = Literal[1, 2]
Delivery = Literal["files", "stream"]
_Message = dict[str, Any]


# -- commands ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the conversation so far."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Say that the session is alive."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the session."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Tell how the session goes."""


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """The user holds the key to talk."""


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """The user has finished."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop the answer."""


@dataclass(frozen=True, slots=True)
class ChangeMode:
    """Answer in another way."""

    mode: str


Command = Reset | Ping | Stop | Statistics | BeginTurn | CommitTurn | Interrupt | ChangeMode

_COMMANDS: Mapping[str, Command] = {
    "reset": Reset(),
    "ping": Ping(),
    "stop": Stop(),
    "stats": Statistics(),
    "begin_turn": BeginTurn(),
    "commit": CommitTurn(),
    "interrupt": Interrupt(),
}


def parse_command(message: object) -> Command:
    """The command in a client's JSON; both versions' names are understood.

    Raises:
        ValueError: It is none; the text can be shown to the client.
    """
    if not isinstance(message, Mapping):
        raise ValueError("a command is a JSON object")  # noqa: TRY004 - the client's fault
    match message.get("action"):
        case "change_mode" | "change_response_mode":
            match message.get("mode"):
                case str(mode):
                    return ChangeMode(mode)
            raise ValueError("the command needs a 'mode', a string")
        case str(action) if action in _COMMANDS:
            return _COMMANDS[action]
        case str(action):
            known = ", ".join([*_COMMANDS, "change_mode"])
            raise ValueError(f"unknown action {action[:40]!r}; known: {known}")
    raise ValueError("a command has an 'action', a string")


# -- messages ------------------------------------------------------------------------

_STATE_TEXTS = {
    ConversationState.LISTENING: "Listening",
    ConversationState.PROCESSING: "Processing",
    ConversationState.SPEAKING: "Speaking",
    ConversationState.ERROR: "The turn failed",
}


class MessageEncoder:
    """Turns one session's events, in order, into messages of one version.

    Raises:
        ValueError: There is no such version, or it has no streamed sound.
    """

    def __init__(self, version: Version = 2, audio: Delivery = "files") -> None:
        if version not in (1, 2):
            raise ValueError(f"the protocol's versions are 1 and 2, not {version!r}")
        if audio not in ("files", "stream"):
            raise ValueError(f"sound is sent as files or as a stream, not as {audio!r}")
        if (version, audio) == (1, "stream"):
            raise ValueError("version 1 of the protocol has no streamed sound")
        self._version = version
        self._streams = audio == "stream"
        self._streaming = 0  # the turn whose sound is being streamed
        self._state = ConversationState.LISTENING
        self._sentence: list[AudioData] = []

    def encode(self, event: Event) -> list[_Message | AudioData]:
        """What ``event`` is to the client; nothing, for some."""
        match event:
            case SpeechStarted() | SpeechStopped():
                return [self._speech(event)]
            case StateChanged(state):
                self._state = state
                if self._version == 1:
                    return []
                return [
                    {"type": "state_update", "state": state.value, "message": _STATE_TEXTS[state]}
                ]
            case PartialTranscript(result=result) | FinalTranscript(result=result):
                return [self._transcription(result)]
            case ReplyText(text=text):
                return [{"type": "response_text", "text": text}] if self._version == 2 else []
            case ReplyAudio(turn, audio):
                if self._streams:
                    return self._piece(turn, audio)
                self._sentence.append(audio)
                return []
            case SentenceSpoken(text=text):
                return [*self._audio(text)]
            case ReplyPaused() | ReplyResumed() | Interrupted():
                self._sentence.clear()
                return [self._interruption(event)] if self._version == 2 else []
            case UserIdle(since, at):
                if self._version == 1:
                    return []
                return [{"type": "user_idle", "silence_ms": round((at - since) * 1000)}]
            case TurnFailed():
                self._sentence.clear()
                return [self._failure(event)]
            case TurnEnded():
                return [self._ended(event)] if self._version == 2 else []
            case SessionEnded():
                return []

    def ready(self, config: Mapping[str, Any]) -> _Message:
        """The session can begin."""
        return {"type": "ready", "message": "Ready to listen", "config": dict(config)}

    def pong(self) -> _Message:
        """The session is alive."""
        return {"type": "pong", "message": "pong"}

    def reset_complete(self) -> _Message:
        """The conversation has been forgotten."""
        return {"type": "reset_complete", "message": "The conversation begins anew"}

    def mode_changed(self, mode: str) -> _Message:
        """Answers are made in that way from now on."""
        return {"type": "mode_changed", "message": f"Response mode is now {mode}"}

    def stopping(self) -> _Message:
        """The session ends."""
        kind = "conversation_stopped" if self._version == 1 else "stopping"
        return {"type": kind, "message": "The conversation has ended"}

    def turn_begun(self) -> _Message:
        """The user's turn lasts until it is committed."""
        return {"type": "turn_begun", "message": "Listening until the turn is committed"}

    def turn_committed(self) -> _Message:
        """The user's turn is over."""
        return {"type": "turn_committed", "message": "The turn is over"}

    def interrupting(self) -> _Message:
        """The answer stops, if there is one."""
        return {"type": "interrupting", "message": "The answer stops"}

    def statistics(self, data: Mapping[str, Any]) -> _Message:
        """How the session goes."""
        return {"type": "statistics", "data": dict(data)}

    def error(self, message: str) -> _Message:
        """Something the client sent cannot be done."""
        return {"type": "error", "message": message}

    def _speech(self, event: SpeechStarted | SpeechStopped) -> _Message:
        started = isinstance(event, SpeechStarted)
        kind = "speech_start" if started else "speech_end"
        if self._version == 2:
            text = "Speech started" if started else "Speech ended"
            return {"type": "speech_event", "event": kind, "message": text}
        silence_ms = 0 if started else round((event.decided - event.at) * 1000)
        return {
            "type": "conversation_state",
            "state": self._state.value,
            "is_speaking": started,
            "silence_duration_ms": silence_ms,
            "events": [kind],
            "pause_detection": {
                "is_speaking": started,
                "silence_duration_ms": silence_ms,
                "events": [kind],
            },
        }

    def _interruption(self, event: ReplyPaused | ReplyResumed | Interrupted) -> _Message:
        match event:
            case ReplyPaused(turn, _, played):
                kind, rest = "reply_paused", {"played_ms": round(played * 1000)}
            case ReplyResumed(turn, _, played):
                kind, rest = "reply_resumed", {"played_ms": round(played * 1000)}
            case Interrupted(turn, _, heard):
                return {"type": "interrupted", "turn": turn, "heard": heard}
        return {"type": kind, "turn": turn, **rest}

    def _transcription(self, result: TranscriptionResult) -> _Message:
        timing: _Message = {}
        if result.segments:
            timing = {"duration": result.duration}
            if self._version == 1:
                timing = {
                    "start": result.segments[0].start,
                    "end": result.segments[-1].end,
                    **timing,
                }
        message: _Message = {
            "type": "transcription",
            "text": result.text,
            "language": result.language,
            "partial": result.partial,
            "timing": timing,
            "segments": [
                {"text": segment.text, "start": segment.start, "end": segment.end}
                for segment in result.segments
            ],
        }
        if self._version == 2:
            message["committed"] = result.committed
        return message

    def _piece(self, turn: int, audio: AudioData) -> list[_Message | AudioData]:
        if self._streaming == turn:
            return [audio]
        self._streaming = turn
        start: _Message = {
            "type": "audio_start",
            "turn": turn,
            "format": "pcm_s16le",
            "sample_rate": audio.sample_rate,
            "channels": audio.channels,
        }
        return [start, audio]

    def _ended(self, event: TurnEnded) -> _Message:
        return {
            "type": "turn_ended",
            "turn": event.turn,
            "outcome": event.outcome,
            "transcript": event.transcript,
            "reply": event.reply,
            "heard": event.heard,
            "metrics": asdict(event.metrics),
        }

    def _audio(self, text: str) -> list[_Message]:
        if not self._sentence:
            return []
        audio = AudioData.concat(self._sentence)
        self._sentence.clear()
        message: _Message = {
            "type": "response_audio" if self._version == 1 else "audio_response",
            "audio_data": b64encode(audio.encode("wav")).decode(),
            "format": "wav",
            "sample_rate": audio.sample_rate,
            "duration_ms": audio.duration_ms,
        }
        if self._version == 1:
            message["response_text"] = text
        return [message]

    def _failure(self, event: TurnFailed) -> _Message:
        # The error's own text may hold paths or other people's words: it is for the log.
        return {
            **self.error("The turn failed. Please say it again."),
            "error": type(event.error).__name__,
            "turn": event.turn,
            "request_id": event.request_id,
        }
