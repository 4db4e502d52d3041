"""PURE: an answer, as the server events of the Realtime API."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Literal

from ....audio import AudioData, StreamResampler
from ._telling import Message, Telling, item_of

__all__ = ["AnswerEvents", "Status"]

Status = Literal["completed", "cancelled", "failed"]

_MAX_ITEMS: Final = 256  # answers that a client may still speak of
_NO_USAGE: Final = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}  # nothing counts any


@dataclass(slots=True, eq=False)
class _Response:
    """The answer to one turn."""

    turn: int
    id: str
    item: str
    modality: str
    resampler: StreamResampler
    text: str = ""
    shown: bool = False  # its item
    given: float = 0.0  # s of its sound that the client has
    surplus: float = 0.0  # s of sound to come that the client has already


class AnswerEvents:
    """The answers that one client is given, one at a time."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._conversation = telling.make_id("conv")
        self._items: deque[str] = deque(maxlen=_MAX_ITEMS)
        self._response: _Response | None = None

    @property
    def turn(self) -> int | None:
        """The turn that is being answered, as far as the client knows."""
        return None if self._response is None else self._response.turn

    def has(self, item_id: str) -> bool:
        """Whether there was an answer of that id."""
        return item_id in self._items

    def begin(self, turn: int) -> list[Message]:
        """That there will be an answer; nothing, if there is one."""
        if self._response is not None:
            return []
        config, make_id = self._telling.config, self._telling.make_id
        self._response = response = _Response(
            turn,
            make_id("resp"),
            make_id("item"),
            config.modality,
            StreamResampler(config.output_rate),
        )
        described = self._described(response, "in_progress")
        return [self._telling.event("response.created", response=described)]

    def text(self, turn: int, text: str) -> list[Message]:
        """Its next sentence."""
        messages = self.begin(turn)
        response = self._response
        assert response is not None
        messages += self._shown(response)
        delta = f" {text}" if response.text else text
        response.text += delta
        return [*messages, self._part(response, f"{_kind(response)}.delta", delta=delta)]

    def audio(self, audio: AudioData) -> list[Message]:
        """Its next sound."""
        response = self._response
        if response is None or response.modality == "text":
            return []
        duration = audio.duration_seconds
        response.given += duration
        if response.surplus > 0.0:
            known = min(response.surplus, duration)
            response.surplus -= known
            audio = audio.sliced(known)
        return self._sounding(response, response.resampler.push(audio))

    def held(self, played: float) -> None:
        """It is held after so many seconds of sound; what came after that comes again."""
        if self._response is not None:
            self._response.surplus += max(0.0, self._response.given - played)
            self._response.given = min(self._response.given, played)

    def end(
        self, status: Status, *, reason: str | None = None, error: Message | None = None
    ) -> list[Message]:
        """It is over; nothing, if there is none."""
        response, self._response = self._response, None
        if response is None:
            return []
        messages: list[Message] = []
        if response.shown:
            if status == "completed":
                messages += self._sounding(response, response.resampler.flush())
            messages += self._ended(response, status)
        details = {"type": status, "reason": reason, "error": error}
        done = self._described(response, status, None if status == "completed" else details)
        return [*messages, self._telling.event("response.done", response=done)]

    def _shown(self, response: _Response) -> list[Message]:
        if response.shown:
            return []
        response.shown = True
        self._items.append(response.item)
        previous = self._telling.follow(response.item)
        item = item_of(response.item, "assistant", "in_progress", [])
        added = self._telling.event("conversation.item.added", item=item, previous_item_id=previous)
        return [
            self._of(response, "output_item.added", item=item),
            added,
            self._part(response, "content_part.added", part=_content(response, "", "")),
        ]

    def _sounding(self, response: _Response, audio: AudioData) -> list[Message]:
        if not audio.data:
            return []
        delta = b64encode(audio.data).decode()
        return [self._part(response, "output_audio.delta", delta=delta)]

    def _ended(self, response: _Response, status: Status) -> list[Message]:
        item = self._item(response, status)
        messages = [
            self._part(response, f"{_kind(response)}.done", **_words(response, response.text)),
            self._part(response, "content_part.done", part=_content(response, "", response.text)),
            self._telling.event("conversation.item.done", item=item, previous_item_id=None),
            self._of(response, "output_item.done", item=item),
        ]
        if response.modality == "audio":
            messages.insert(0, self._part(response, "output_audio.done"))
        return messages

    def _item(self, response: _Response, status: str) -> Message:
        whole = "completed" if status == "completed" else "incomplete"
        content = _content(response, "output_", response.text)
        return item_of(response.item, "assistant", whole, [content])

    def _described(
        self, response: _Response, status: str, details: Message | None = None
    ) -> Message:
        config = self._telling.config
        format = {"type": "audio/pcm", "rate": response.resampler.sample_rate}
        return {
            "object": "realtime.response",
            "id": response.id,
            "conversation_id": self._conversation,
            "status": status,
            "status_details": details,
            "output": [self._item(response, status)] if response.shown else [],
            "output_modalities": [response.modality],
            "audio": {"output": {"format": format, "voice": config.voice or "default"}},
            "max_output_tokens": "inf",
            "metadata": None,
            "usage": None if status == "in_progress" else dict(_NO_USAGE),
        }

    def _of(self, response: _Response, type: str, **fields: Any) -> Message:
        return self._telling.event(
            f"response.{type}", response_id=response.id, output_index=0, **fields
        )

    def _part(self, response: _Response, type: str, **fields: Any) -> Message:
        return self._of(response, type, item_id=response.item, content_index=0, **fields)


def _kind(response: _Response) -> str:
    return "output_text" if response.modality == "text" else "output_audio_transcript"


def _words(response: _Response, text: str) -> Message:
    return {"text" if response.modality == "text" else "transcript": text}


def _content(response: _Response, prefix: str, text: str) -> Message:
    return {"type": f"{prefix}{response.modality}", **_words(response, text)}
