"""The example's bot in a local Discord, and proof that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic, sleep
from typing import Any

import numpy as np
from discord_bot import Limits, SpeechBot

from realtime_stts import AudioData, ConversationEngine, EchoResponseGenerator, TurnPolicy
from realtime_stts.engines import load_pause_detector
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, tone_text

from ._payloads import ANNA, Guild
from ._server import FakeDiscord, Interaction, until
from ._voice import VoiceSession

__all__ = ["bot_in", "echo", "heard", "join", "run", "stereo"]

_ENDING = 15.0  # s for threads; discord.py's that beat do so every 5 s


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run it to its end; no task and no thread of it may be left."""
    before = set(threading.enumerate())

    async def told() -> None:
        await story()
        await until(lambda: len(asyncio.all_tasks()) == 1, seconds=5.0)

    asyncio.run(told())
    end = monotonic() + _ENDING
    while left := set(threading.enumerate()) - before:
        assert monotonic() < end, f"threads left running: {left}"
        sleep(0.01)


def echo(**given: Any) -> ConversationEngine:
    """It hears tones and says them back."""
    parts: dict[str, Any] = {
        "stt": ToneSTTEngine(),
        "tts": ScriptedTTSEngine(),
        "pause_detector": load_pause_detector("energy"),
        "policy": TurnPolicy(end_of_turn=0.4),
        "end_of_turn": None,
        "responder": EchoResponseGenerator(),
        **given,
    }
    return ConversationEngine(**parts)


@asynccontextmanager
async def bot_in(
    discord: FakeDiscord, conversation: ConversationEngine | None = None, **options: Any
) -> AsyncIterator[SpeechBot]:
    """The bot, ready. It is closed at the end, and must not have failed."""
    limits = options.pop("limits", Limits())
    bot = SpeechBot(conversation or echo(), limits=limits, **discord.options(), **options)
    async with bot:
        running = asyncio.create_task(bot.start(discord.token))
        ready = asyncio.create_task(bot.wait_until_ready())
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            ready.cancel()
            await running
        yield bot
    await running


async def join(discord: FakeDiscord, guild: Guild) -> Interaction:
    """Anna has the bot join her, and agrees to be heard if she is asked."""
    asked = await discord.asked(guild, ANNA, "join")
    if asked.message["components"]:
        await discord.press(guild, ANNA, asked.message, "I agree")
        await until(lambda: "listen to you now" in asked.text)
    return asked


def heard(voice: VoiceSession, start: int = 0) -> str:
    """What the bot's packets say, in tones."""
    pcm = voice.pcm(start)
    return tone_text(AudioData(pcm, 48_000, 2)) if pcm else ""


def stereo(audio: AudioData) -> bytes:
    """Sound as a person's client encodes it: 48 kHz, stereo, 16 bits.

    It begins with 0.1 s of silence: the first frame of an Opus encoder fades in.
    """
    pcm = audio.mono().resampled(48_000).converted("pcm")
    return bytes(19_200) + np.repeat(np.frombuffer(pcm.data, "<i2"), 2).tobytes()
