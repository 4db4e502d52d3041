"""What the bot says: in one clear sentence, with nothing in it that Discord would act upon."""

from __future__ import annotations

import asyncio
import logging

import discord
from discord import app_commands

from realtime_stts.errors import (
    AudioFormatError,
    AudioLimitError,
    EngineError,
    MissingExtraError,
    OverloadedError,
    SessionClosedError,
    VoiceError,
)

__all__ = ["CONSENT", "Refused", "answer", "in_words", "quoted"]

_log = logging.getLogger(__name__)

_LONGEST = 1_900  # characters; Discord takes 2,000

CONSENT = (
    "If you agree, I listen to you in {channel} while I am in it. What you say is transcribed "
    "by the speech engine of whoever runs me, and answered.{written} The sound is not kept. I "
    "forget you when you leave the channel, and when you say /forget. Others are heard only if "
    "they agree themselves."
)


class Refused(Exception):
    """The bot does not do that. The message is for whoever asked."""


def in_words(error: BaseException) -> str:
    """A sentence for people. What nobody foresaw is logged, and not shown."""
    match error:
        case Refused() | MissingExtraError():
            return str(error)
        case app_commands.CommandInvokeError():
            return in_words(error.original)
        case app_commands.NoPrivateMessage():
            return "That works in servers only."
        case app_commands.CheckFailure():
            return "You may not do that here."
        case AudioLimitError():
            return "That sound is too long for me."
        case AudioFormatError():
            return "I cannot read that as sound: I know wav, flac, ogg, opus and mp3."
        case VoiceError():
            return "There is no such voice."
        case OverloadedError():
            return "I have too much to do right now: please try again in a moment."
        case SessionClosedError():
            return "The call is over."
        case asyncio.TimeoutError() | TimeoutError():
            return "That took too long, and I gave up."
        case discord.Forbidden():
            return "I lack the permission to do that here."
        case discord.NotFound():
            return "That is not there any more."
        case EngineError():
            _log.warning("%s", error)
            return "The speech engine failed: please try again later."
        case _:
            _log.error("unforeseen", exc_info=error)
            return "Something went wrong; it is in my log."


def quoted(text: str) -> str:
    """Text of others, which mentions nobody, formats nothing, and is not too long."""
    safe = discord.utils.escape_mentions(discord.utils.escape_markdown(text))
    return safe if len(safe) <= _LONGEST else safe[:_LONGEST] + "…"


async def answer(
    interaction: discord.Interaction,
    text: str,
    *,
    view: discord.ui.View = discord.utils.MISSING,
    file: discord.File = discord.utils.MISSING,
) -> None:
    """Tell this to whoever asked, and nobody else."""
    if interaction.client.is_closed():
        return
    send = (
        interaction.followup.send
        if interaction.response.is_done()
        else interaction.response.send_message
    )
    await send(
        text,
        ephemeral=True,
        view=view,
        file=file,
        allowed_mentions=discord.AllowedMentions.none(),
    )
