"""The extension that receives, and the bridge: what comes from the one goes to the other."""

from __future__ import annotations

import importlib
import types
from threading import Lock
from typing import Any, Final

import discord

from ...errors import MissingExtraError
from ._bridge import VoiceBridge
from ._support import EXTENSION, receive_support

__all__ = ["Receiver", "start_receiving"]

_ENCRYPTED: Final = b"\xfa\xfa"  # the end of a frame that DAVE has encrypted (daveprotocol.com)


def start_receiving(voice_client: discord.VoiceClient, bridge: VoiceBridge) -> Receiver:
    """Write what is said in the channel to ``bridge``, until `Receiver.close`.

    Opus packets come from the extension, in a thread of its own, and are decrypted and
    decoded there: of those who were allowed only. A packet that is lost is concealed by
    Opus where the extension notices, and is otherwise silence by the bridge's clock.

    A packet without DAVE's mark is taken as it is: silence is sent so, and an extension may
    have decrypted it. So what Discord's servers would slip in unencrypted would be heard.

    This was run with discord-ext-voice-recv 0.5.2a179 and discord.py 2.7.1 against a local
    server, with real Opus and with real keys of DAVE; never in a call of Discord.
    That extension leaves a sleeping thread behind each time it is started
    (``voice-udp-keepalive``), which ends within 83 minutes or with the process.

    Raises:
        MissingExtraError: Something is missing, as `receive_support` says.
        discord.ClientException: The client is not connected, or receives already.
    """
    support = receive_support(voice_client)
    if not support:
        raise MissingExtraError(
            "Listening in Discord", "discord", remedy=support.reason or "see receive_support"
        )
    receiver = Receiver(voice_client, bridge)
    client: Any = voice_client
    client.listen(_sink(receiver))
    return receiver


class Receiver:
    """Takes packets from a voice client to a bridge; made by `start_receiving`."""

    def __init__(self, voice_client: discord.VoiceClient, bridge: VoiceBridge) -> None:
        self._client: Any = voice_client
        self._media: Any = importlib.import_module("davey").MediaType.audio
        self._bridge = bridge
        self._decoders: dict[int, Any] = {}  # discord.opus.Decoder, by person
        self._lock = Lock()  # packets come from one thread at a time, but from whose?
        self._closed = False
        self._n_undecrypted = self._n_undecoded = 0

    @property
    def is_receiving(self) -> bool:
        """Whether the extension still listens: it stops when the client disconnects."""
        return not self._closed and bool(self._client.is_listening())

    @property
    def undecrypted(self) -> int:
        """How many packets of those allowed had no key: some, while people come and go."""
        return self._n_undecrypted

    @property
    def undecoded(self) -> int:
        """How many packets of those allowed were not Opus."""
        return self._n_undecoded

    def close(self) -> None:
        """Receive no more. The extension's threads end soon after."""
        if not self._closed:
            self._closed = True
            self._client.stop_listening()

    def _ended(self) -> None:
        self._closed = True

    def _hear(self, user: Any, data: Any) -> None:
        """One packet, in the extension's thread; ``data.packet`` is false for a lost one."""
        user_id = user.id if user else self._client._get_id_from_ssrc(data.packet.ssrc)
        if self._closed or user_id is None:
            return
        with self._lock:
            if not self._bridge.is_allowed(user_id):
                self._decoders.pop(user_id, None)
                self._bridge.write(user_id, b"")  # which counts it
                return
            decoder = self._decoders.get(user_id)
            if decoder is None:
                decoder = self._decoders[user_id] = _decoder()
            opus = self._decrypted(user_id, data.packet.decrypted_data) if data.packet else None
            if data.packet and not opus:
                return
            try:
                pcm = decoder.decode(opus, fec=False)
            except discord.opus.OpusError:
                self._n_undecoded += 1
                return
        self._bridge.write(user_id, pcm)

    def _decrypted(self, user_id: int, payload: bytes) -> bytes | None:
        """The Opus packet in there; None if it cannot be had."""
        session = self._client._connection.dave_session
        if session is None or not session.ready or not payload.endswith(_ENCRYPTED):
            # A pause between two keys, a fork that has decrypted it already, or silence.
            return payload
        try:
            opus: bytes = session.decrypt(user_id, self._media, payload)
        except (RuntimeError, ValueError):
            self._n_undecrypted += 1
            return None
        return opus


def _decoder() -> Any:
    make: Any = discord.opus.Decoder  # it has no annotations
    return make()


def _sink(receiver: Receiver) -> Any:
    """A sink of the extension, whose class is only there where the extension is."""
    extension: Any = importlib.import_module(EXTENSION)

    def body(namespace: dict[str, Any]) -> None:
        namespace["wants_opus"] = lambda self: True
        namespace["write"] = lambda self, user, data: receiver._hear(user, data)
        namespace["cleanup"] = lambda self: receiver._ended()

    return types.new_class("BridgeSink", (extension.AudioSink,), exec_body=body)()
