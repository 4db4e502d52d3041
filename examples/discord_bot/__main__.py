"""Run the bot: DISCORD_TOKEN=... python -m discord_bot"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import discord

from realtime_stts.building import Assembly
from realtime_stts.errors import EngineLoadError, SettingsError
from realtime_stts.integrations.discord import receive_support
from realtime_stts.settings import Settings, SettingsStore

from .bot import SpeechBot

_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after it was told to stop; 2 if it could not begin."""
    options = _parser().parse_args(arguments)
    token = os.environ.get("DISCORD_TOKEN", "").strip()
    if not token:
        print("the bot cannot start: put its token into DISCORD_TOKEN", file=sys.stderr)
        return 2
    logging.basicConfig(level="INFO", format=_LINE)
    try:
        environ = {**os.environ, **_said(options)}
        store = SettingsStore(options.config, profile=options.profile, environ=environ)
        asyncio.run(_run(store.current, token, options))
    except (
        SettingsError,
        EngineLoadError,
        ImportError,
        LookupError,
        OSError,
        ValueError,
        discord.LoginFailure,
        discord.PrivilegedIntentsRequired,
    ) as exc:
        print(f"the bot cannot start: {exc}", file=sys.stderr)
        return 2
    return 0


async def _run(settings: Settings, token: str, options: argparse.Namespace) -> None:
    listens = receive_support()
    logging.info("listening in voice channels: %s", listens.reason or "yes")
    async with Assembly(settings) as assembly:
        bot = SpeechBot(
            assembly.conversation(),
            mode=options.mode,
            writes=options.write,
            guild=options.guild,
        )
        async with bot:
            running = asyncio.create_task(bot.start(token))
            stopping = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError):  # of Windows, where Ctrl+C is enough
                    asyncio.get_running_loop().add_signal_handler(number, stopping.set)
            stopped = asyncio.create_task(stopping.wait())
            try:
                await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
                await bot.close()  # first, while Discord can still be told that it leaves
            finally:
                running.cancel()
                stopped.cancel()
                await asyncio.wait([running, stopped])
        if not running.cancelled():
            running.result()  # raises what ended it


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m discord_bot",
        description=(
            "A Discord bot that speaks in voice channels, listens to those who agree, and "
            "transcribes files and voice messages. Its token is taken from DISCORD_TOKEN. "
            "Without a file of settings it has pocketsphinx and espeak, which need no download."
        ),
        epilog=(
            "Every setting of the library may also be a variable of the environment, such as "
            "REALTIME_STTS_STT_ENGINE__ENGINE=whisper:base.en. Ctrl+C or SIGTERM ends it."
        ),
    )
    parser.add_argument("--stt", metavar="ENGINE", help="such as whisper:base.en")
    parser.add_argument("--tts", metavar="ENGINE", help="such as chatterbox")
    parser.add_argument("--voice", help="id of the voice that it begins with")
    parser.add_argument(
        "--mode",
        choices=["each", "room"],
        default="each",
        help="each speaker has a conversation of their own, or the room has one; default: each",
    )
    parser.add_argument("--write", action="store_true", help="write what is said in calls down")
    parser.add_argument("--guild", type=int, help="id of the one server that gets the commands")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--profile", help="a second file beside it: NAME.PROFILE.yaml")
    return parser


def _said(options: argparse.Namespace) -> dict[str, str]:
    """The options that are settings. Like the environment they go over the files."""
    said = {
        "REALTIME_STTS_STT_ENGINE__ENGINE": options.stt,
        "REALTIME_STTS_TTS_ENGINE__ENGINE": options.tts,
        "REALTIME_STTS_TTS_ENGINE__DEFAULT_VOICE_ID": options.voice,
    }
    return {name: value for name, value in said.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
