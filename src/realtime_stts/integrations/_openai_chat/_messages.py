"""PURE: a conversation as the messages of a chat, the way it was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...protocols import Exchange

__all__ = ["CUT_OFF", "conversation"]

CUT_OFF: Final = "[cut off]"
_ABOUT_CUTS: Final = (
    f"Where an answer of yours ends in {CUT_OFF}, the user spoke over it there and has not heard "
    f"the rest. Never write {CUT_OFF} yourself."
)


def conversation(
    instructions: str,
    history: Sequence[Exchange],
    said: str,
    *,
    max_history: int,
    max_characters: int,
) -> list[dict[str, Any]]:
    """Instructions, the last exchanges, and what the user says now.

    Of an answer there is what was heard of it, and a mark where it was cut off, which the
    instructions then explain. Roles take turns, as some models' templates insist: what was
    said without an answer is joined with what was said next.

    Args:
        max_history: How many exchanges, at most.
        max_characters: How many characters of them, at most: the oldest exchange goes first.
    """
    turns: list[tuple[str, str]] = []
    for exchange in _latest(history, max_history, max_characters):
        turns.append(("user", exchange.user.strip()))
        turns.append(("assistant", _heard(exchange)))
    turns.append(("user", said))
    if any(text.endswith(CUT_OFF) for role, text in turns if role == "assistant"):
        instructions = f"{instructions}\n\n{_ABOUT_CUTS}".strip()
    messages = [{"role": "system", "content": instructions}] if instructions else []
    for role, text in turns:
        if not text:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{text}"
        else:
            messages.append({"role": role, "content": text})
    return messages


def _latest(history: Sequence[Exchange], length: int, characters: int) -> Sequence[Exchange]:
    kept = len(history)
    while kept and len(history) - kept < length:
        exchange = history[kept - 1]
        characters -= len(exchange.user) + len(exchange.heard)
        if characters < 0:
            break
        kept -= 1
    return history[kept:]


def _heard(exchange: Exchange) -> str:
    heard, reply = exchange.heard.strip(), exchange.reply.strip()
    return heard if heard == reply else f"{heard} {CUT_OFF}".strip()
