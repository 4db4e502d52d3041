"""The client: its calls, what it is told by Discord, and its end."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Literal

import discord
from discord import app_commands

from realtime_stts import ConversationEngine
from realtime_stts.integrations.discord import receive_support

from .call import Call, Channel
from .commands import add_commands
from .consent import announce
from .limits import Limits
from .speech import Speech
from .words import Refused, answer, in_words, quoted

__all__ = ["SpeechBot"]

_log = logging.getLogger(__name__)


class _Commands(app_commands.CommandTree["SpeechBot"]):
    async def on_error(
        self, interaction: discord.Interaction[SpeechBot], error: app_commands.AppCommandError
    ) -> None:
        await answer(interaction, in_words(error))


class SpeechBot(discord.Client):
    """A bot over the engines and the responder of a conversation, which are loaded already.

    Closing it ends its calls.

    Args:
        mode: ``each`` listener has a conversation of their own, or all in the ``room`` one.
        writes: Whether what is said in a call is written into the text channel too.
        guild: Where its commands are to be, at once; None is everywhere, which may take
            Discord a while.
        options: Of `discord.Client`.
    """

    def __init__(
        self,
        conversation: ConversationEngine,
        *,
        mode: Literal["each", "room"] = "each",
        writes: bool = False,
        guild: int | None = None,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        intents = discord.Intents(
            guilds=True,
            voice_states=True,
            guild_messages=True,
            message_content=True,  # privileged: without it, attachments are not seen
        )
        super().__init__(
            intents=intents, allowed_mentions=discord.AllowedMentions.none(), **options
        )
        self.limits = limits or Limits()
        self.speech = Speech(conversation, self.limits)
        self.mode: Literal["each", "room"] = mode
        self.writes = writes
        self.calls: dict[int, Call] = {}  # by guild
        self.voice_configs: dict[int, dict[str, Any]] = {}  # by guild: what it speaks with
        self.transcribed: set[int] = set()  # channels whose voice messages are
        self.tree = _Commands(self)
        self._guild = None if guild is None else discord.Object(guild)
        add_commands(self.tree)

    async def setup_hook(self) -> None:
        if self._guild is not None:
            self.tree.copy_global_to(guild=self._guild)
        await self.tree.sync(guild=self._guild)

    async def on_ready(self) -> None:
        _log.info("ready as %s, in %d servers", self.user, len(self.guilds))

    async def close(self) -> None:
        await asyncio.gather(*(each.end() for each in [*self.calls.values()]))
        await super().close()

    # -- calls

    def voice_config(self, guild: discord.Guild) -> dict[str, Any]:
        """What it speaks with there; changes count from the next thing it says."""
        return self.voice_configs.setdefault(guild.id, {})

    def call_in(self, guild: discord.Guild) -> Call:
        """The call there.

        Raises:
            Refused: There is none.
        """
        call = self.calls.get(guild.id)
        if call is None:
            raise Refused("I am in no voice channel here: /join brings me to yours.")
        return call

    def channel_of(self, interaction: discord.Interaction[Any]) -> Channel:
        """The voice channel that somebody is in, and that the bot may go to.

        Raises:
            Refused: There is none, or it may not.
        """
        member, guild = interaction.user, interaction.guild
        assert guild is not None
        assert isinstance(member, discord.Member)
        if member.voice is None or member.voice.channel is None:
            raise Refused("Please go into a voice channel first, so that I can follow you.")
        if guild.id in self.calls:
            raise Refused("I am in a voice channel of this server already: /leave ends that.")
        if len(self.calls) >= self.limits.calls:
            raise Refused("I am in as many voice channels as I can be: please try again later.")
        may = member.voice.channel.permissions_for(guild.me)
        if not (may.connect and may.speak):
            raise Refused("I need the permissions to connect and to speak in that channel.")
        return member.voice.channel

    async def join(self, interaction: discord.Interaction[Any], *, hears: bool) -> Call:
        """Begin a call in the channel of whoever asks.

        Raises:
            Refused: As of `channel_of`.
            discord.DiscordException, TimeoutError, MissingExtraError: It cannot be joined.
        """
        channel, guild = self.channel_of(interaction), interaction.guild
        assert guild is not None
        assert isinstance(interaction.channel, discord.abc.Messageable)
        call = self.calls[guild.id] = Call(
            self.speech.conversation,
            channel,
            interaction.channel,
            self.limits,
            hears=hears,
            writes=self.writes,
            mode=self.mode,
            voice_config=self.voice_config(guild),
            on_end=partial(self.calls.pop, guild.id, None),
        )
        await call.begin()
        await announce(self, call)
        return call

    @staticmethod
    def why_deaf() -> str:
        """What is missing to listen; "" for nothing."""
        support = receive_support()
        return "" if support else support.reason

    # -- what Discord tells

    async def on_voice_state_update(
        self, member: discord.Member, before: discord.VoiceState, after: discord.VoiceState
    ) -> None:
        call = self.calls.get(member.guild.id)
        if call is not None:
            heard = call.listeners
            call.look_for_people()
            if call.listeners != heard:
                await announce(self, call)
        elif member == member.guild.me and after.channel is not None:
            # discord.py came back by itself after a call had ended, or another process crashed.
            await member.guild.change_voice_state(channel=None)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        self.voice_configs.pop(guild.id, None)
        if guild.id in self.calls:
            await self.calls[guild.id].end()

    async def on_message(self, message: discord.Message) -> None:
        if message.author.bot or not message.flags.voice or not message.attachments:
            return
        if message.channel.id not in self.transcribed:
            return
        try:
            text = await self.speech.transcript(message.attachments[0])
            said = quoted(text) or "*(nothing that I understood)*"
        except Exception as exc:  # noqa: BLE001 - of engines and of Discord: people get a sentence
            said = in_words(exc)
        await message.reply(said, mention_author=False)
