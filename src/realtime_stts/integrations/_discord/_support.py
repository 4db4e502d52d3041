"""Whether this machine can hear a voice channel, and what is missing if not."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final

import discord

__all__ = ["EXTENSION", "ReceiveSupport", "receive_support"]

EXTENSION: Final = "discord.ext.voice_recv"
_TESTED: Final = "0.5.2a179"  # of discord-ext-voice-recv: the version this was run with
_PACKAGES: Final = ("discord.py", "davey", "PyNaCl", "discord-ext-voice-recv")
_CLIENT: Final = "channel.connect(cls=discord.ext.voice_recv.VoiceRecvClient)"


@dataclass(frozen=True, slots=True)
class ReceiveSupport:
    """Whether `start_receiving` can be called; ``reason`` says what is missing, and what to do.

    ``versions`` are those found, by package; None is one that is not installed.
    """

    available: bool
    reason: str
    versions: dict[str, str | None] = field(repr=False)

    def __bool__(self) -> bool:
        return self.available


def receive_support(voice_client: discord.VoiceClient | None = None) -> ReceiveSupport:
    """Look at what is installed, and at the client if it is given.

    discord.py sends sound and receives none. The packets are received by an extension,
    `discord-ext-voice-recv`, of which the published version 0.5.2a179 was read and run; a
    fork under the same import path will do. That version takes off the encryption of the
    transport only: with sinks of its own it ends at the first packet that Discord encrypts
    from end to end (DAVE, in all calls since 2026) with "corrupted stream". `start_receiving`
    takes that off by `davey`, with the keys that discord.py holds for its own sending: a
    private attribute of discord.py, which is looked for.
    """
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [*_missing(versions), *_wrong_with(voice_client)]
    return ReceiveSupport(not missing, "; ".join(missing), versions)


def _missing(versions: dict[str, str | None]) -> Iterator[str]:
    extra = 'pip install "realtime-stts[discord]"'
    found = _numbers(discord.__version__)
    if found < (2, 7):
        yield f"discord.py is {discord.__version__}, and 2.7 or later is needed: {extra}"
    try:
        davey = importlib.import_module("davey")
    except ImportError:
        yield f"davey is not installed, without which no call is joined: {extra}"
    else:
        if not hasattr(getattr(davey, "DaveSession", None), "decrypt"):
            yield f"davey {versions['davey']} cannot decrypt: pip install -U davey"
    try:
        discord.opus.Decoder.get_opus_version()
    except discord.opus.OpusNotLoaded:
        yield "libopus is not found (Debian: apt install libopus0; macOS: brew install opus)"
    install = f"pip install discord-ext-voice-recv=={_TESTED}"
    try:
        extension: Any = importlib.import_module(EXTENSION)
    except ImportError as exc:
        yield f"the extension that receives, {EXTENSION}, cannot be imported ({exc}): {install}"
    else:
        names = [name for name in ("AudioSink", "VoiceRecvClient") if not hasattr(extension, name)]
        if names:
            yield f"{EXTENSION} has no {' and no '.join(names)}: {install}"


def _wrong_with(voice_client: discord.VoiceClient | None) -> Iterator[str]:
    if voice_client is None:
        return
    if not callable(getattr(voice_client, "listen", None)):
        yield f"a {type(voice_client).__name__} does not receive: connect with {_CLIENT}"
    if not hasattr(getattr(voice_client, "_connection", None), "dave_session"):
        yield (
            f"discord.py {discord.__version__} has no voice_client._connection.dave_session, "
            "from which the keys come: 2.7.1 has"
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
