"""In the place of discord-ext-voice-recv: the little of it that the library uses.

It takes the real packets from discord.py's socket, and decrypts them with the real key. The
extension itself does more: it orders packets and conceals those that are lost.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import discord
import nacl.exceptions
import nacl.secret
from discord.voice_state import VoiceConnectionState

__all__ = ["AudioSink", "VoiceRecvClient", "ears"]


class AudioSink:
    """What the extension's sinks are made of."""


@dataclass(frozen=True, slots=True)
class _Packet:
    ssrc: int
    decrypted_data: bytes


@dataclass(frozen=True, slots=True)
class _Data:
    packet: _Packet


class VoiceRecvClient(discord.VoiceClient):
    """A voice client that hands what it receives to a sink."""

    _sink: Any = None

    def create_connection_state(self) -> VoiceConnectionState:
        self._people: dict[int, int] = {}  # by SSRC
        return VoiceConnectionState(self, hook=self._told)

    async def _told(self, ws: Any, message: dict[str, Any]) -> None:
        if message["op"] == 5:  # SPEAKING
            self._people[message["d"]["ssrc"]] = int(message["d"]["user_id"])

    def listen(self, sink: Any) -> None:
        self._sink = sink
        self._connection.add_socket_listener(self._take)

    def is_listening(self) -> bool:
        return self._sink is not None

    def stop_listening(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            self._connection.remove_socket_listener(self._take)
            sink.cleanup()

    def stop_playing(self) -> None:
        super().stop()

    def stop(self) -> None:
        self.stop_playing()
        self.stop_listening()

    def _get_id_from_ssrc(self, ssrc: int) -> int | None:
        return self._people.get(ssrc)

    def _take(self, data: bytes) -> None:
        """In discord.py's thread."""
        sink = self._sink
        if sink is None or data[1] != 0x78:
            return
        (ssrc,) = struct.unpack_from(">I", data, 8)
        box = nacl.secret.Aead(bytes(self.secret_key))
        try:
            opened = box.decrypt(data[12:-4], data[:12], data[-4:] + bytes(20))
        except nacl.exceptions.CryptoError:
            return
        user_id = self._people.get(ssrc)
        user = None if user_id is None else self.guild.get_member(user_id)
        sink.write(user, _Data(_Packet(ssrc, opened)))


@contextmanager
def ears() -> Iterator[None]:
    """While it is open, this can be imported as the extension."""
    name = "discord.ext.voice_recv"
    before = sys.modules.get(name)
    module: Any = ModuleType(name)
    module.AudioSink, module.VoiceRecvClient = AudioSink, VoiceRecvClient
    sys.modules[name] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
