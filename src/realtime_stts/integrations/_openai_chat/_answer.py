"""PURE: one answer of the model, put together from the chunks it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ModelAnswer", "ToolCall"]

_MAX_CALLS: Final = 32  # of one answer
_MAX_ARGUMENTS: Final = 1 << 17  # characters, of all calls of one answer
_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(slots=True)
class ToolCall:
    """A function that the model wants to be called."""

    id: str = ""
    name: str = ""
    arguments: str = ""  # JSON, if the model got it right


@dataclass(slots=True)
class ModelAnswer:
    """What an answer has said so far, what it wants to be called, and how it ended."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    _thoughts: _Thoughts = field(default_factory=lambda: _Thoughts())
    _by_index: dict[object, ToolCall] = field(default_factory=dict)
    _n_characters: int = 0

    def take(self, chunk: object) -> str:
        """Take the next chunk: the text in it that is to be spoken.

        A refusal is spoken as any text is. What a model thinks is not, whether the server
        keeps it apart (``reasoning_content``) or it stands in a leading ``<think>``.

        Raises:
            ValueError: It wants more to be called than is taken.
        """
        choices = chunk.get("choices") if isinstance(chunk, Mapping) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            return ""  # the last chunk tells the usage, for one
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        calls = delta.get("tool_calls")
        for each in calls if isinstance(calls, list) else ():
            if isinstance(each, Mapping):
                self._take_call(each)
        said = "".join(
            part for key in ("content", "refusal") if isinstance(part := delta.get(key), str)
        )
        return self._say(self._thoughts.without(said))

    def finish(self) -> str:
        """The end of the text, if some of it was held back."""
        for number, call in enumerate(self.calls):
            call.id = call.id or f"call_{number}"
        return self._say(self._thoughts.rest())

    def message(self) -> dict[str, Any]:
        """The answer as a message of the conversation, which the results of its calls follow."""
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}

    def _say(self, text: str) -> str:
        self.text += text
        return text

    def _take_call(self, delta: Mapping[str, Any]) -> None:
        call = self._call_of(delta)
        function = delta.get("function")
        if not isinstance(function, Mapping):
            return
        if isinstance(name := function.get("name"), str):
            call.name += name
        if isinstance(arguments := function.get("arguments"), str):
            call.arguments += arguments
            self._n_characters += len(arguments)
        if self._n_characters > _MAX_ARGUMENTS or len(call.name) > _MAX_ARGUMENTS:
            raise ValueError("has arguments of a tool that do not end")

    def _call_of(self, delta: Mapping[str, Any]) -> ToolCall:
        """The call that a piece belongs to: by its index, or else the one that its id begins."""
        id, index = delta.get("id"), delta.get("index")
        known = isinstance(index, int)
        call = self._by_index.get(index) if known else (self.calls[-1] if self.calls else None)
        begins = isinstance(id, str) and id != "" and call is not None and id != call.id != ""
        if call is None or (begins and not known):
            if len(self.calls) >= _MAX_CALLS:
                raise ValueError(f"has more than {_MAX_CALLS} calls of tools")
            call = ToolCall()
            self.calls.append(call)
            if known:
                self._by_index[index] = call
        if isinstance(id, str) and not call.id:
            call.id = id
        return call


class _Thoughts:
    """Leaves out the ``<think>`` with which some models' answers begin."""

    def __init__(self) -> None:
        self._held = ""
        self._inside: bool | None = None  # None until it is known how the text begins

    def without(self, text: str) -> str:
        """What may be said of the text and of what was held back."""
        if self._inside is False:
            return text
        self._held += text
        if self._inside is None:
            begin = self._held.lstrip()
            if begin.startswith(_OPEN):
                self._inside = True
                self._held = begin[len(_OPEN) :]
            elif _OPEN.startswith(begin):
                return ""
        if self._inside:
            _, closed, after = self._held.partition(_CLOSE)
            after = after.lstrip()
            if not closed:
                self._held = self._held[-len(_CLOSE) :]
                return ""
            if not after:
                self._held = _CLOSE  # white space goes on being left out
                return ""
            self._held = after
        said, self._held, self._inside = self._held, "", False
        return said

    def rest(self) -> str:
        """What was held back and is no thought, now that nothing follows."""
        held, self._held = self._held, ""
        return "" if self._inside else held
