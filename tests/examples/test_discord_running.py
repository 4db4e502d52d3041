"""The example's Discord bot as its owner runs it, up to the signal that ends it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

pytest.importorskip("discord")
pytest.importorskip("nacl")
pytest.importorskip("cryptography")
pytest.importorskip("soundfile")

import asyncio

from discord_bot import SpeechBot, __main__

from tests.fake_discord import ANNA, FakeDiscord, until
from tests.fake_discord._world import run

EMBEDDED = ["--stt", "pocketsphinx", "--tts", "espeak"]


def test_it_says_how_it_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        __main__.main(["--help"])
    assert "DISCORD_TOKEN" in capsys.readouterr().out


def test_it_does_not_start_without_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    assert __main__.main([]) == 2
    assert "DISCORD_TOKEN" in capsys.readouterr().err


def test_it_does_not_start_with_an_engine_that_nobody_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", FakeDiscord.token)
    assert __main__.main(["--stt", "parrot"]) == 2
    assert "'parrot'" in capsys.readouterr().err


@pytest.mark.parametrize("token", [FakeDiscord.token, "wrong"])
def test_a_signal_ends_it_and_its_calls(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """In its own loop, so that the signal comes to it."""
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("pocketsphinx")
    import discord as discord_py

    options = __main__._parser().parse_args(EMBEDDED)
    settings = __main__.SettingsStore(None, environ=__main__._said(options)).current

    async def story() -> None:
        async with FakeDiscord() as discord:
            guild = discord.add_guild("home", [ANNA], voice=[ANNA])

            def local_bot(*args: Any, **given: Any) -> SpeechBot:
                return SpeechBot(*args, **given, **discord.options())

            monkeypatch.setattr(__main__, "SpeechBot", local_bot)
            running = asyncio.create_task(__main__._run(settings, token, options))
            if token == "wrong":
                with pytest.raises(discord_py.LoginFailure):
                    await running
                return
            await until(lambda: discord.gateway.identified, seconds=30.0)
            asked = await discord.asked(guild, ANNA, "join")
            assert "not listen" in asked.text
            os.kill(os.getpid(), signal.SIGTERM)
            await running
            assert not discord.is_in_voice(guild)

    run(story)
