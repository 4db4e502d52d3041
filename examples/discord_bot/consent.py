"""Nobody is heard who did not agree: the question, and the announcement with its button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord

from .call import Call, Channel
from .words import CONSENT, Refused, answer, in_words

if TYPE_CHECKING:
    from .bot import SpeechBot

__all__ = ["Announcement", "Question", "announcement"]


class _View(discord.ui.View):
    async def on_error(
        self, interaction: discord.Interaction, error: Exception, item: discord.ui.Item[Any]
    ) -> None:
        await answer(interaction, in_words(error))


class Question(_View):
    """Asked of one person, and seen by them alone.

    Args:
        call: The call that they want to be heard in; None for one that begins if they agree.
    """

    def __init__(self, bot: SpeechBot, channel: Channel, call: Call | None) -> None:
        super().__init__(timeout=bot.limits.consent)
        self._bot, self._channel, self._call = bot, channel, call

    @property
    def text(self) -> str:
        written = " It is also written into the text channel." if self._bot.writes else ""
        return CONSENT.format(channel=self._channel.mention, written=written)

    @discord.ui.button(label="I agree", style=discord.ButtonStyle.primary)
    async def agree(
        self, interaction: discord.Interaction, button: discord.ui.Button[Question]
    ) -> None:
        self.stop()
        await interaction.response.edit_message(content="One moment…", view=None)
        try:
            said = await self._listen(interaction)
        except Exception as exc:  # noqa: BLE001 - of Discord and of engines: people get a sentence
            said = in_words(exc)
        await interaction.edit_original_response(content=said)

    async def _listen(self, interaction: discord.Interaction) -> str:
        assert isinstance(interaction.user, discord.Member)
        call = self._call or self._bot.calls.get(self._channel.guild.id)
        if call is None:
            call = await self._bot.join(interaction, hears=True)
        if not call.allow(interaction.user):
            raise Refused("I can only listen to you in the voice channel that I am in.")
        await announce(self._bot, call)
        return "I listen to you now. /forget ends that."

    @discord.ui.button(label="No", style=discord.ButtonStyle.secondary)
    async def refuse(
        self, interaction: discord.Interaction, button: discord.ui.Button[Question]
    ) -> None:
        self.stop()
        await interaction.response.edit_message(content="Then I do not listen to you.", view=None)


class Announcement(_View):
    """Below the announcement: everybody may ask to be heard too. It lasts as long as the call."""

    def __init__(self, bot: SpeechBot, call: Call) -> None:
        super().__init__(timeout=None)
        self._bot, self._call = bot, call

    @discord.ui.button(label="Listen to me too", style=discord.ButtonStyle.primary)
    async def ask(
        self, interaction: discord.Interaction, button: discord.ui.Button[Announcement]
    ) -> None:
        question = Question(self._bot, self._call.channel, self._call)
        await answer(interaction, question.text, view=question)


def announcement(call: Call) -> str:
    """What all can read about the call."""
    where = call.channel.mention
    if not call.hears:
        return f"I am in {where} to speak, and I hear nobody."
    heard = ", ".join(f"<@{each}>" for each in sorted(call.listeners)) or "nobody yet"
    written = " What they say is written here." if call.writes else ""
    return f"I am in {where}, and **listen** to those who agreed: {heard}.{written}"


async def announce(bot: SpeechBot, call: Call) -> None:
    """Say what the call does and to whom it listens, or correct what was said of it."""
    nobody = discord.AllowedMentions.none()
    if call.announcement is not None:
        await call.announcement.edit(content=announcement(call), allowed_mentions=nobody)
    elif call.hears:
        call.view = Announcement(bot, call)
        call.announcement = await call.text_channel.send(
            announcement(call), view=call.view, allowed_mentions=nobody
        )
    else:
        call.announcement = await call.text_channel.send(
            announcement(call), allowed_mentions=nobody
        )
