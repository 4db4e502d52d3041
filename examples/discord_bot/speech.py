"""The engines, within the bot's limits: files to text, questions to answers, text to files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar

import discord

from realtime_stts import AudioData, ConversationContext, ConversationEngine, TranscriptionResult
from realtime_stts.errors import OverloadedError

from .limits import Limits
from .words import Refused

__all__ = ["Speech"]

T = TypeVar("T")


class Speech:
    """What the commands need of the engines.

    Raises of all methods: the engines' errors, `Refused`, and `TimeoutError`.
    """

    def __init__(self, conversation: ConversationEngine, limits: Limits) -> None:
        self.conversation, self.limits = conversation, limits
        self._turns = asyncio.Semaphore(limits.tasks)
        self.n_waiting = 0  # with those whose turn it is

    async def transcript(self, attachment: discord.Attachment) -> str:
        """What is said in a file; "" for nothing.

        The file is read and decoded no further than the limits, in a thread.
        """
        limits, stt = self.limits, self.conversation.stt_engine
        if stt is None:
            raise Refused("I have no engine that transcribes.")
        if attachment.size > limits.file_bytes:
            raise Refused(f"I take files of up to {limits.file_bytes / 1e6:g} MB.")
        async with self._turn():
            data = await self._in_time(attachment.read())
            if len(data) > limits.file_bytes:
                raise Refused(f"I take files of up to {limits.file_bytes / 1e6:g} MB.")
            audio = await asyncio.to_thread(
                AudioData.from_file,
                data,
                max_seconds=limits.file_seconds,
                max_bytes=int(limits.file_seconds * 48_000 * 2 * 4),
            )
            result = await self._in_time(stt.transcribe(audio))
        return "" if result is None else result.text.strip()

    async def reply(self, question: str) -> str:
        """The responder's answer to a written question."""
        asked = TranscriptionResult(text=self.checked(question), language="", segments=[])
        responder = self.conversation.response_generator
        async with self._turn():
            answer = responder.generate_response(asked, ConversationContext())
            return (await self._in_time(answer)).strip()

    async def file(self, text: str, voice_config: dict[str, Any]) -> discord.File:
        """The text, spoken, as an Ogg file."""
        tts = self.conversation.tts_engine
        if tts is None:
            raise Refused("I have no engine that speaks.")
        async with self._turn():
            result = await self._in_time(tts.synthesize(text, dict(voice_config)))
            if result is None:
                raise Refused("There is nothing to say in that.")
            sound = await asyncio.to_thread(result.audio_data.encode, "opus")
        return discord.File(BytesIO(sound), "answer.ogg")

    async def voices(self, typed: str = "") -> list[str]:
        """The ids of the engine's voices, as many as Discord shows: those that fit first."""
        tts = self.conversation.tts_engine
        known = [] if tts is None else await self._in_time(tts.list_voices())
        wanted = typed.casefold()
        fitting = [
            str(each["id"])
            for each in known
            if wanted in f"{each['id']} {each['name']} {each.get('language', '')}".casefold()
        ]
        return sorted(fitting, key=lambda each: not each.casefold().startswith(wanted))

    def checked(self, text: str) -> str:
        """Text that can be said."""
        text = text.strip()
        if not text:
            raise Refused("There is nothing to say in that.")
        if len(text) > self.limits.text:
            raise Refused(f"That is longer than {self.limits.text} characters.")
        return text

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self.n_waiting >= self.limits.tasks + self.limits.tasks_waiting:
            raise OverloadedError("too many files and questions wait for their turn")
        self.n_waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self.n_waiting -= 1

    async def _in_time(self, work: Awaitable[T]) -> T:
        return await asyncio.wait_for(work, self.limits.answering)
