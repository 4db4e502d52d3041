"""The example's Discord bot by its commands: the real discord.py, a local Discord."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

pytest.importorskip("discord")
pytest.importorskip("nacl")
pytest.importorskip("cryptography")
pytest.importorskip("soundfile")

from discord import app_commands
from discord_bot import Limits
from discord_bot.words import Refused, in_words, quoted

from realtime_stts import AudioData
from realtime_stts.errors import (
    AudioLimitError,
    EngineError,
    OverloadedError,
    SessionClosedError,
    UnknownVoiceError,
)
from realtime_stts.testing import (
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speak_tones,
    tone_text,
)
from tests.fake_discord import ANNA, BEN, FakeDiscord, Guild, User, until
from tests.fake_discord._world import bot_in, echo, heard, join, run

VOICE_MESSAGE = 1 << 13


def wav(text: str = "good morning") -> bytes:
    return speak_tones(text).encode("wav")


def test_it_joins_to_speak_and_says_why_it_does_not_listen() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                asked = await join(discord, guild)
                assert asked.is_ephemeral
                assert "not listen" in asked.text
                assert "discord-ext-voice-recv" in asked.text
                [announced] = discord.posted(guild.text_channel)
                assert "hear nobody" in announced["content"]
                assert not announced["components"]

                said = await discord.asked(guild, ANNA, "say", text="hello you")
                assert said.text == "Said."
                assert heard(discord.voice(guild)) == "hello you"

                left = await discord.asked(guild, ANNA, "leave")
                assert left.text == "I have left."
                assert not discord.is_in_voice(guild)
                await until(lambda: "I have left" in announced["content"])

    run(story)


def test_an_answer_is_a_file_where_there_is_no_call() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord):
                question = "hi *all* @everyone"
                asked = await discord.asked(guild, ANNA, "ask", text=question)
                assert asked.text == "hi \\*all\\* @\u200beveryone"
                assert asked.message["allowed_mentions"] == {"parse": []}
                [file] = asked.message["attachments"]
                assert file["filename"] == "answer.ogg"
                path = file["url"].partition("/attachments/")[2]
                assert tone_text(AudioData.from_file(discord.rest.files[path])) == question

    run(story)


def test_an_answer_is_spoken_in_a_call() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                await join(discord, guild)
                asked = await discord.asked(guild, ANNA, "ask", text="who is")
                assert asked.text == "who is"
                assert not asked.message["attachments"]
                await until(lambda: heard(discord.voice(guild)) == "who is")

    run(story)


def test_the_voice_is_chosen_from_the_engines() -> None:
    tts = ScriptedTTSEngine()

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, echo(tts=tts)):
                [known, *_] = [each["id"] for each in await tts.list_voices()]
                typing = await discord.complete(guild, ANNA, "voice", "name", known[:2])
                assert known in (await typing.acknowledged()).choices

                wrong = await discord.asked(guild, ANNA, "voice", name="x")
                assert wrong.text == "There is no such voice."
                await join(discord, guild)
                await discord.asked(guild, ANNA, "voice", name=known)
                await discord.asked(guild, ANNA, "say", text="so")
                assert tts.calls[-1].voice_config["voice_id"] == known

    run(story)


def test_files_are_transcribed_for_whoever_asks() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord):
                file = discord.rest.attachment("talk.wav", wav())
                asked = await discord.command(guild, ANNA, "transcribe", file=file)
                assert (await asked.answered()).text == "good morning"
                assert asked.is_ephemeral

                message = await discord.post(guild, BEN, files=[file])
                asked = await discord.menu(guild, ANNA, "Transcribe", message)
                assert (await asked.answered()).text == "good morning"

                bare = await discord.post(guild, BEN, "no file")
                asked = await discord.menu(guild, ANNA, "Transcribe", bare)
                assert (await asked.answered()).text == "That message has no file."
                assert not discord.posted(guild.text_channel)

    run(story)


def test_voice_messages_are_answered_where_that_was_switched_on() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord):
                file = discord.rest.attachment("voice-message.ogg", wav("one"))
                await discord.post(guild, BEN, files=[file], flags=VOICE_MESSAGE)
                await discord.asked(guild, ANNA, "voice-messages", on=True)
                await discord.post(guild, BEN, files=[file])  # a file, but no voice message
                file = discord.rest.attachment("voice-message.ogg", wav("two"))
                second = await discord.post(guild, BEN, files=[file], flags=VOICE_MESSAGE)
                broken = discord.rest.attachment("voice-message.ogg", b"no sound")
                await until(lambda: discord.posted(guild.text_channel))
                await discord.post(guild, BEN, files=[broken], flags=VOICE_MESSAGE)
                await until(lambda: len(discord.posted(guild.text_channel)) == 2)
                transcript, sorry = discord.posted(guild.text_channel)
                assert transcript["content"] == "two"
                assert transcript["message_reference"]["message_id"] == int(second["id"])
                assert "cannot read" in sorry["content"]
                off = await discord.asked(guild, ANNA, "voice-messages", on=False)
                assert "no" in off.text

    run(story)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"this is text", "I cannot read that as sound"),
        (AudioData.silence(700, 8_000).encode("flac"), "That sound is too long for me"),
        (b"\0" * 2_000, "I take files of up to 0.001 MB"),
    ],
    ids=["text", "bomb", "large"],
)
def test_what_cannot_be_transcribed_is_refused_in_a_sentence(file: bytes, told: str) -> None:
    limit = 1_000 if told.startswith("I take") else 8_000_000

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord, limits=Limits(file_bytes=limit, file_seconds=600.0)):
                attached = discord.rest.attachment("talk.wav", file)
                asked = await discord.command(guild, ANNA, "transcribe", file=attached)
                assert (await asked.answered()).text.startswith(told)
                assert asked.is_ephemeral
                lies = discord.rest.attachment("talk.wav", file, size=10)
                asked = await discord.command(guild, ANNA, "transcribe", file=lies)
                assert (await asked.answered()).text.startswith(told)

    run(story)


def test_an_engines_failure_is_a_sentence_and_its_words_are_not_told() -> None:
    stt = ScriptedSTTEngine(repeat(EngineError("whisper", "the secret of /etc/passwd")))

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord, echo(stt=stt)):
                file = discord.rest.attachment("talk.wav", wav())
                asked = await discord.command(guild, ANNA, "transcribe", file=file)
                assert "failed" in (await asked.answered()).text
                assert "secret" not in asked.text

    run(story)


def test_no_more_tasks_wait_than_may() -> None:
    stt = ScriptedSTTEngine(repeat("so"))

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            limits = Limits(tasks=1, tasks_waiting=0)
            async with bot_in(discord, echo(stt=stt), limits=limits) as bot:
                discord.rest.stalled = asyncio.Event()
                file = discord.rest.attachment("talk.wav", wav())
                first = await discord.command(guild, ANNA, "transcribe", file=file)
                await until(lambda: bot.speech.n_waiting)
                second = await discord.command(guild, ANNA, "transcribe", file=file)
                assert "too much to do" in (await second.answered()).text
                discord.rest.stalled.set()
                assert (await first.answered()).text == "so"

    run(story)


def test_what_makes_no_sense_is_answered_in_a_sentence() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA, BEN], voice=[ANNA])
            full = discord.add_guild("full", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(calls=1)):

                async def told(where: Guild, who: User, name: str, **options: object) -> str:
                    asked = await discord.asked(where, who, name, **options)
                    assert asked.is_ephemeral
                    return asked.text

                assert "voice channel first" in await told(guild, BEN, "join")
                for name in ("leave", "forget", "listen-to-me"):
                    assert "in no voice channel" in await told(guild, ANNA, name)
                assert "in no voice channel" in await told(guild, ANNA, "say", text="so")
                assert "longer than 500" in await told(guild, ANNA, "say", text="so " * 300)
                assert "nothing to say" in await told(guild, ANNA, "ask", text=" ")
                await join(discord, guild)
                assert "already" in await told(guild, ANNA, "join")
                assert "as many" in await told(full, ANNA, "join")
                assert "hear nobody" in await told(guild, ANNA, "listen-to-me")
                assert "do not listen" in await told(guild, ANNA, "forget")

    run(story)


def test_without_an_engine_it_says_so() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            silent = echo(stt=None, tts=None, responder=ScriptedResponseGenerator(["", "yes"]))
            async with bot_in(discord, silent):
                file = discord.rest.attachment("talk.wav", wav())
                told = await discord.asked(guild, ANNA, "transcribe", file=file)
                assert told.text == "I have no engine that transcribes."
                told = await discord.asked(guild, ANNA, "ask", text="what")
                assert told.text == "I do not know what to say to that."
                told = await discord.asked(guild, ANNA, "ask", text="what")
                assert told.text == "I have no engine that speaks."

    run(story)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Refused("Not today."), "Not today."),
        (app_commands.NoPrivateMessage(), "That works in servers only."),
        (app_commands.CheckFailure(), "You may not do that here."),
        (AudioLimitError("x"), "That sound is too long for me."),
        (UnknownVoiceError("x", ()), "There is no such voice."),
        (OverloadedError("x"), "I have too much to do right now: please try again in a moment."),
        (SessionClosedError("x"), "The call is over."),
        (asyncio.TimeoutError(), "That took too long, and I gave up."),
        (ZeroDivisionError("the secret"), "Something went wrong; it is in my log."),
    ],
    ids=lambda each: type(each).__name__,
)
def test_errors_in_words(error: Exception, told: str) -> None:
    assert in_words(error) == told


def test_quoted_text_is_cut_and_acts_on_nothing() -> None:
    assert quoted(f"**a** <@{ANNA.id}> @here") == (f"\\*\\*a\\*\\* <@\u200b{ANNA.id}> @\u200bhere")
    assert len(quoted("a" * 5_000)) < 2_000


def test_its_commands_are_in_one_guild_or_in_all() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA])
            async with bot_in(discord, guild=guild.id):
                names = {each["name"] for each in discord.rest.commands[guild.id]}
                assert {"join", "leave", "say", "ask", "voice", "Transcribe"} <= names
                assert None not in discord.rest.commands
            async with bot_in(discord):
                assert len(discord.rest.commands[None]) == 10

    run(story)
