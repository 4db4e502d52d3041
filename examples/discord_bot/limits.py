"""What the bot takes on, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds."""

    calls: int = 8  # voice channels at a time, one in each server
    text: int = 500  # characters of /say and /ask
    file_bytes: int = 8_000_000
    file_seconds: float = 300.0
    tasks: int = 2  # files and questions at a time
    tasks_waiting: int = 8  # for their turn; more are refused
    sayings: int = 4  # texts that are said or wait for it, in a call; more are refused
    channels: int = 1_000  # whose voice messages are transcribed
    alone: float = 60.0  # in a voice channel without people, until the bot leaves
    connecting: float = 20.0
    answering: float = 60.0  # for an engine or the responder
    consent: float = 120.0  # until the question is withdrawn
