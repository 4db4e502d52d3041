"""The example's Discord bot in voice channels: real Opus over UDP, both ways, encrypted.

What receives in the place of discord-ext-voice-recv is a stand-in (`tests.fake_discord.ears`);
the rest is the real discord.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("discord")
pytest.importorskip("nacl")
pytest.importorskip("cryptography")
pytest.importorskip("soundfile")

from discord_bot import Limits

from realtime_stts.testing import ScriptedResponseGenerator, speak_tones
from tests.fake_discord import ANNA, BEN, BOT, FakeDiscord, Guild, VoiceSession, ears, until
from tests.fake_discord._world import bot_in, echo, heard, join, run, stereo


@pytest.fixture
def listening() -> Iterator[None]:
    with ears():
        yield


def tones(text: str) -> bytes:
    return stereo(speak_tones(text))


def sounding(voice: VoiceSession, start: int = 0) -> list[bool]:
    """Of each packet, whether there is sound in it."""
    return [
        bool(np.abs(np.frombuffer(frame, "<i2").astype(int)).max() > 300)
        for frame in voice.frames(start)
    ]


def announced(discord: FakeDiscord, guild: Guild) -> str:
    return str(discord.posted(guild.text_channel)[0]["content"])


# -- consent


@pytest.mark.usefixtures("listening")
def test_it_does_not_come_to_listen_where_that_is_refused() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                asked = await discord.asked(guild, ANNA, "join")
                assert asked.is_ephemeral
                for promise in ("transcribed", "not kept", "/forget", "only if they agree"):
                    assert promise in asked.text
                await discord.press(guild, ANNA, asked.message, "No")
                await until(lambda: "do not listen" in asked.text)
                assert not asked.message["components"]
                assert not discord.voice_server.sessions
                assert not discord.posted(guild.text_channel)

    run(story)


@pytest.mark.usefixtures("listening")
def test_it_answers_who_agreed_and_hears_nobody_else() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA, BEN], voice=[ANNA, BEN])
            async with bot_in(discord, writes=True):
                asked = await discord.asked(guild, ANNA, "join")
                assert "written into the text channel" in asked.text
                await discord.press(guild, ANNA, asked.message, "I agree")
                await until(lambda: "listen to you now" in asked.text)
                assert not guild.voice_states[BOT.id]["self_deaf"]
                assert f"<@{ANNA.id}>" in announced(discord, guild)
                assert f"<@{BEN.id}>" not in announced(discord, guild)

                voice = discord.voice(guild)
                await voice.speak(BEN, tones("ben"))
                await voice.speak(ANNA, tones("hello"))
                await until(lambda: heard(voice) == "hello")
                await until(lambda: len(discord.posted(guild.text_channel)) == 3)
                _, question, reply = discord.posted(guild.text_channel)
                assert question["content"] == f"<@{ANNA.id}>: hello"
                assert question["allowed_mentions"] == {"parse": []}
                assert reply["content"] == "**I**: hello"

                # Ben asks to be heard too.
                message = discord.posted(guild.text_channel)[0]
                asked = await (
                    await discord.press(guild, BEN, message, "Listen to me too")
                ).answered()
                question = discord.rest.messages[max(discord.rest.messages)]
                assert question["flags"] & 64
                await discord.press(guild, BEN, question, "I agree")
                await until(lambda: f"<@{BEN.id}>" in announced(discord, guild))
                n_packets = len(voice.packets)
                await voice.speak(BEN, tones("ben"))
                await until(lambda: heard(voice, n_packets) == "ben")

    run(story)


@pytest.mark.usefixtures("listening")
def test_consent_ends_with_forget_and_with_leaving() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA, BEN], voice=[ANNA, BEN])
            async with bot_in(discord) as bot:
                await join(discord, guild)
                call = bot.calls[guild.id]
                assert call.listeners == {ANNA.id}
                told = await discord.asked(guild, ANNA, "forget")
                assert "do not hear you" in told.text
                assert call.listeners == frozenset()
                await until(lambda: "nobody yet" in announced(discord, guild))

                asked = await discord.asked(guild, ANNA, "listen-to-me")
                await discord.press(guild, ANNA, asked.message, "I agree")
                await until(lambda: call.listeners == {ANNA.id})
                await discord.move(guild, ANNA, guild.other_voice_channel)
                await until(lambda: call.listeners == frozenset())
                await until(lambda: "nobody yet" in announced(discord, guild))

                # Who is elsewhere is not heard, whatever they agree to.
                asked = await discord.asked(guild, ANNA, "listen-to-me")
                await discord.press(guild, ANNA, asked.message, "I agree")
                await until(lambda: "only listen to you in" in asked.text)

    run(story)


@pytest.mark.usefixtures("listening")
def test_a_room_has_one_conversation() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, mode="room", writes=True):
                await join(discord, guild)
                await discord.voice(guild).speak(ANNA, tones("hello"))
                await until(lambda: len(discord.posted(guild.text_channel)) == 3)
                assert discord.posted(guild.text_channel)[1]["content"] == "Somebody: hello"

    run(story)


@pytest.mark.usefixtures("listening")
def test_a_turn_that_fails_does_not_end_the_call() -> None:
    failing = ScriptedResponseGenerator([RuntimeError("no answer"), "yes"])

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, echo(responder=failing)):
                await join(discord, guild)
                voice = discord.voice(guild)
                await voice.speak(ANNA, tones("one"))
                await until(lambda: failing.calls)
                await asyncio.sleep(0)
                await voice.speak(ANNA, tones("two"))
                await until(lambda: heard(voice) == "yes")

    run(story)


@pytest.mark.usefixtures("listening")
def test_who_left_before_they_agreed_is_told_so() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord) as bot:
                asked = await discord.asked(guild, ANNA, "join")
                await discord.move(guild, ANNA, None)
                await discord.press(guild, ANNA, asked.message, "I agree")
                await until(lambda: "go into a voice channel first" in asked.text)
                assert not bot.calls

    run(story)


# -- barge-in


@pytest.mark.usefixtures("listening")
def test_who_speaks_over_an_answer_stops_it() -> None:
    answer = "this answer is very long " * 6

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, echo(responder=ScriptedResponseGenerator([answer, "yes"]))):
                await join(discord, guild)
                voice = discord.voice(guild)
                await voice.speak(ANNA, tones("go"))
                await until(lambda: any(sounding(voice)))
                await voice.speak(ANNA, tones("stop it now please"))
                await until(lambda: not any(sounding(voice)[-20:]))
                n_packets = len(voice.packets)
                await until(lambda: heard(voice, n_packets) == "yes")
                assert sum(sounding(voice)) * 0.02 < 6.0  # of the 9 s that it would take

    run(story)


# -- how calls end


def test_it_leaves_when_nobody_is_there_any_more() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(alone=0.2)) as bot:
                await join(discord, guild)
                await discord.move(guild, ANNA, None)
                await until(lambda: not discord.is_in_voice(guild))
                await until(lambda: not bot.calls)
                await until(lambda: announced(discord, guild) == "I have left.")

    run(story)


def test_it_stays_with_who_comes_back_in_time() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA, BEN], voice=[ANNA])
            async with bot_in(discord, limits=Limits(alone=3.0)) as bot:
                await join(discord, guild)
                call = bot.calls[guild.id]
                await discord.move(guild, ANNA, None)
                await until(lambda: call.is_alone)
                await discord.move(guild, BEN, guild.voice_channel)
                await until(lambda: not call.is_alone)
                assert (await discord.asked(guild, BEN, "say", text="so")).text == "Said."

    run(story)


@pytest.mark.usefixtures("listening")
def test_it_may_be_thrown_out_and_asked_in_again() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(alone=1.0)) as bot:
                await join(discord, guild)
                await discord.kick(guild)
                await until(lambda: not bot.calls)
                await until(lambda: announced(discord, guild) == "I have left.")
                assert not bot.voice_clients

                await join(discord, guild)
                assert (await discord.asked(guild, ANNA, "say", text="again")).text == "Said."
                assert heard(discord.voice(guild)) == "again"

    run(story)


def test_what_is_being_said_ends_with_the_call() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                await join(discord, guild)
                saying = await discord.command(guild, ANNA, "say", text="a long story " * 30)
                await until(lambda: any(sounding(discord.voice(guild))))
                await discord.asked(guild, ANNA, "leave")
                assert (await saying.answered()).text in ("I was interrupted.", "The call is over.")

    run(story)


def test_closing_the_bot_ends_its_calls() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                await join(discord, guild)
                await discord.command(guild, ANNA, "say", text="a long story " * 30)
                await until(lambda: any(sounding(discord.voice(guild))))
            assert not discord.is_in_voice(guild)
            assert announced(discord, guild) == "I have left."

    run(story)


def test_a_voice_server_that_does_not_answer_is_given_up() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(connecting=0.5)) as bot:
                discord.voice_server.is_silent = True
                told = await discord.asked(guild, ANNA, "join")
                assert told.text == "That took too long, and I gave up."
                assert not bot.calls
                assert not bot.voice_clients
                assert not discord.is_in_voice(guild)

    run(story)


def test_it_leaves_where_it_has_no_call() -> None:
    """discord.py may come back by itself, and an earlier process may have crashed."""

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                await discord.move(guild, BOT, guild.voice_channel)
                await until(lambda: not discord.is_in_voice(guild))

    run(story)


def test_a_guild_that_removes_it_has_no_call_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("discord_bot.call._LEAVING", 0.2)  # s; Discord confirms nothing there

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord) as bot:
                await join(discord, guild)
                await discord.gateway.dispatch("GUILD_DELETE", {"id": str(guild.id)})
                await until(lambda: not bot.calls and not bot.voice_configs)

    run(story)


def test_it_does_not_go_where_it_may_not_speak() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            guild.permissions = "0"
            async with bot_in(discord):
                asked = await discord.asked(guild, ANNA, "join")
                assert asked.text.startswith("I need the permissions")

    run(story)


def test_it_can_be_sent_away_while_it_is_still_coming() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord) as bot:
                discord.voice_server.is_silent = True
                asked = await discord.command(guild, ANNA, "join")
                await until(lambda: discord.is_in_voice(guild))
                assert (await discord.asked(guild, ANNA, "leave")).text == "I have left."
                assert (await asked.answered()).text == "The call is over."
                assert not bot.voice_clients

                discord.voice_server.is_silent = False
                await join(discord, guild)
                assert (await discord.asked(guild, ANNA, "say", text="so")).text == "Said."

    run(story)


def test_no_more_texts_wait_to_be_said_than_may() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(sayings=1)):
                await join(discord, guild)
                first = await discord.command(guild, ANNA, "say", text="a long story " * 5)
                await until(lambda: any(sounding(discord.voice(guild))))
                told = await discord.asked(guild, ANNA, "say", text="so")
                assert "too much to do" in told.text
                await discord.asked(guild, ANNA, "leave")
                await first.answered()

    run(story)


# -- connections that break


def test_a_call_goes_on_when_its_connection_has_been_lost() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord) as bot:
                await join(discord, guild)
                call, first = bot.calls[guild.id], discord.voice(guild)
                await first.close(4006)  # the session is no longer valid
                await until(lambda: discord.voice(guild) is not first)
                told = await discord.asked(guild, ANNA, "say", text="still here")
                assert told.text == "Said."
                assert heard(discord.voice(guild)) == "still here"
                assert bot.calls[guild.id] is call

    run(story)


def test_a_call_that_cannot_be_taken_up_again_is_over() -> None:
    """After 4015 discord.py wants to resume, and gives up where it is not told the key again."""

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord, limits=Limits(connecting=1.0)) as bot:
                await join(discord, guild)
                await discord.voice(guild).close(4015)  # the voice server crashed
                await until(lambda: not bot.calls)
                await until(lambda: announced(discord, guild) == "I have left.")
                assert not discord.is_in_voice(guild)

    run(story)


def test_a_gateway_that_breaks_off_is_resumed_and_calls_go_on() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])
            async with bot_in(discord):
                await join(discord, guild)
                await discord.gateway.ask_to_reconnect()
                told = await discord.asked(guild, ANNA, "say", text="so")  # it comes with RESUME
                assert told.text == "Said."
                assert len(discord.gateway.identified) == len(discord.gateway.resumed) == 1
                assert heard(discord.voice(guild)) == "so"

    run(story)


def test_calls_in_two_guilds_are_apart() -> None:
    async def story() -> None:
        async with FakeDiscord() as discord:
            one = discord.add_guild("one", [ANNA, BEN], voice=[ANNA])
            two = discord.add_guild("two", [ANNA, BEN], voice=[ANNA])
            async with bot_in(discord) as bot:
                await asyncio.gather(join(discord, one), join(discord, two))
                await asyncio.gather(
                    discord.asked(one, ANNA, "say", text="first"),
                    discord.asked(two, ANNA, "say", text="other"),
                )
                assert heard(discord.voice(one)) == "first"
                assert heard(discord.voice(two)) == "other"
                await discord.asked(one, ANNA, "leave")
                assert [*bot.calls] == [two.id]
                assert discord.is_in_voice(two)

    run(story)
