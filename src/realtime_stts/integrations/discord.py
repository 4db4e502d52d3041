"""A voice channel of Discord: speak in it, and hear those who agreed to be heard.

    voice_client = await channel.connect()
    async with VoiceCall(engine, voice_client) as call:
        await call.say("Hello! I only listen to those who ask me to.")
        receiver = start_receiving(voice_client, call.bridge)
        call.allow(member)
        async for heard in call:
            print(heard.user_id, heard.event)

Speaking needs discord.py with its ``voice`` extra, and libopus on the machine. Listening
needs more, which discord.py does not have: ask `receive_support` what is missing.
"""

from __future__ import annotations

import warnings

from ..errors import MissingExtraError

try:
    with warnings.catch_warnings():
        # discord.py 2.7 imports audioop, which Python 3.13 has not; it then brings its own.
        warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
        import discord  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("The Discord integration", "discord") from exc

from ._discord._bridge import RoomStream, SpeakerStream, VoiceBridge
from ._discord._call import VoiceCall
from ._discord._events import CallEnded, CallEvent
from ._discord._receiving import Receiver, start_receiving
from ._discord._source import SpeechSource
from ._discord._support import ReceiveSupport, receive_support

__all__ = [
    "CallEnded",
    "CallEvent",
    "ReceiveSupport",
    "Receiver",
    "RoomStream",
    "SpeakerStream",
    "SpeechSource",
    "VoiceBridge",
    "VoiceCall",
    "receive_support",
    "start_receiving",
]
