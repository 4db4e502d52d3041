"""The commands. What they answer is seen by whoever asked, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from .consent import Question, announce
from .words import Refused, answer, quoted

if TYPE_CHECKING:
    from .bot import SpeechBot

__all__ = ["add_commands"]

_Asked = discord.Interaction["SpeechBot"]  # as a string: the bot imports this module


def add_commands(tree: app_commands.CommandTree[SpeechBot]) -> None:
    """All of them, in servers only."""
    all_of_them: tuple[Any, ...] = (
        join,
        agree,
        forget,
        leave,
        say,
        ask,
        voice,
        transcribe,
        voice_messages,
        transcribe_message,
    )
    for command in all_of_them:
        tree.add_command(command)


# -- calls


@app_commands.command(description="Come into my voice channel")
@app_commands.guild_only()
async def join(interaction: _Asked) -> None:
    bot = interaction.client
    channel = bot.channel_of(interaction)
    missing = bot.why_deaf()
    if not missing:
        question = Question(bot, channel, None)
        await answer(interaction, question.text, view=question)
        return
    await interaction.response.defer(ephemeral=True)
    await bot.join(interaction, hears=False)
    await answer(interaction, f"I can speak here, but not listen: {missing}"[:1_900])


@app_commands.command(name="listen-to-me", description="Let the bot hear you")
@app_commands.guild_only()
async def agree(interaction: _Asked) -> None:
    call = interaction.client.call_in(_guild(interaction))
    if not call.hears:
        raise Refused("I hear nobody in this call.")
    question = Question(interaction.client, call.channel, call)
    await answer(interaction, question.text, view=question)


@app_commands.command(description="Do not let the bot hear you any more")
@app_commands.guild_only()
async def forget(interaction: _Asked) -> None:
    call = interaction.client.call_in(_guild(interaction))
    if not call.forget(interaction.user):
        raise Refused("I do not listen to you.")
    await answer(interaction, "I do not hear you any more.")
    await announce(interaction.client, call)


@app_commands.command(description="Leave the voice channel")
@app_commands.guild_only()
async def leave(interaction: _Asked) -> None:
    call = interaction.client.call_in(_guild(interaction))
    await interaction.response.defer(ephemeral=True)
    await call.end()
    await answer(interaction, "I have left.")


# -- speaking


@app_commands.command(description="Say something in the voice channel")
@app_commands.describe(text="What to say")
@app_commands.guild_only()
async def say(interaction: _Asked, text: str) -> None:
    text = interaction.client.speech.checked(text)
    call = interaction.client.call_in(_guild(interaction))
    await interaction.response.defer(ephemeral=True)
    whole = await call.say(text)
    await answer(interaction, "Said." if whole else "I was interrupted.")


@app_commands.command(description="Ask something")
@app_commands.describe(text="The question")
@app_commands.guild_only()
async def ask(interaction: _Asked, text: str) -> None:
    bot, guild = interaction.client, _guild(interaction)
    await interaction.response.defer(ephemeral=True)
    reply = await bot.speech.reply(text)
    if not reply:
        raise Refused("I do not know what to say to that.")
    call = bot.calls.get(guild.id)
    if call is not None:
        await answer(interaction, quoted(reply))
        await call.say(reply)
    else:
        sound = await bot.speech.file(reply, bot.voice_config(guild))
        await answer(interaction, quoted(reply), file=sound)


@app_commands.command(description="Choose the voice that I speak with")
@app_commands.describe(name="One of the engine's voices")
@app_commands.guild_only()
async def voice(interaction: _Asked, name: str) -> None:
    bot = interaction.client
    if name not in await bot.speech.voices():
        raise Refused("There is no such voice.")
    bot.voice_config(_guild(interaction))["voice_id"] = name
    await answer(interaction, f"I speak as {quoted(name)} from now on.")


@voice.autocomplete("name")
async def _voices(interaction: _Asked, typed: str) -> list[app_commands.Choice[str]]:
    found = await interaction.client.speech.voices(typed)
    return [app_commands.Choice(name=each, value=each) for each in found if len(each) <= 100][:25]


# -- listening to files


@app_commands.command(description="Write down what is said in a file")
@app_commands.describe(file="A wav, flac, ogg, opus or mp3 file")
@app_commands.guild_only()
async def transcribe(interaction: _Asked, file: discord.Attachment) -> None:
    await _transcribe(interaction, file)


@app_commands.context_menu(name="Transcribe")
@app_commands.guild_only()
async def transcribe_message(interaction: _Asked, message: discord.Message) -> None:
    if not message.attachments:
        raise Refused("That message has no file.")
    await _transcribe(interaction, message.attachments[0])


async def _transcribe(interaction: _Asked, file: discord.Attachment) -> None:
    await interaction.response.defer(ephemeral=True)
    text = await interaction.client.speech.transcript(file)
    await answer(interaction, quoted(text) or "I understood nothing in that.")


@app_commands.command(
    name="voice-messages", description="Write down all voice messages in this channel, or do not"
)
@app_commands.describe(on="Whether to")
@app_commands.default_permissions(manage_channels=True)
@app_commands.guild_only()
async def voice_messages(interaction: _Asked, on: bool) -> None:
    channels, channel_id = interaction.client.transcribed, interaction.channel_id
    assert channel_id is not None
    if not on:
        channels.discard(channel_id)
    elif len(channels) < interaction.client.limits.channels:
        channels.add(channel_id)
    else:
        raise Refused("I do that in as many channels as I can.")
    does = "I answer voice messages here with" if on else "Voice messages here get no"
    await answer(interaction, f"{does} their text.")


def _guild(interaction: discord.Interaction[Any]) -> discord.Guild:
    assert interaction.guild is not None, "the commands are for servers only"
    return interaction.guild
