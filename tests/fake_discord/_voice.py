"""The voice gateway and its UDP socket: what the bot sends is decrypted and decoded for real."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

import nacl.secret
import nacl.utils
from aiohttp import WSMsgType, web
from discord import opus

from ._payloads import Guild, User

__all__ = ["Packet", "Voice", "VoiceSession"]

MODE = "aead_xchacha20_poly1305_rtpsize"
SILENCE = b"\xf8\xff\xfe"  # the frame that Discord's clients send when they pause


@dataclass(frozen=True, slots=True)
class Packet:
    """One that came from the bot. ``at`` is `time.monotonic`."""

    sequence: int
    timestamp: int
    opus: bytes
    at: float


class VoiceSession:
    """One connection of the bot to one guild's voice server."""

    def __init__(self, guild: Guild, ssrc: int, send: Callable[[bytes, Any], None]) -> None:
        self.guild, self.ssrc = guild, ssrc
        self.secret_key = nacl.utils.random(32)
        self.packets: list[Packet] = []
        self.speaking: list[int] = []  # what the bot said of itself by SPEAKING
        self.address: tuple[str, int] | None = None  # where its UDP comes from
        self.socket: web.WebSocketResponse | None = None
        self._send = send
        self._sequences: dict[int, int] = {}
        make_decoder: Any = opus.Decoder  # it has no annotations
        self._decoder = make_decoder()
        self._frames: list[bytes] = []

    @property
    def is_over(self) -> bool:
        return self.socket is None or self.socket.closed

    def frames(self, start: int = 0) -> list[bytes]:
        """What the bot's packets decode to, 20 ms each, from the ``start``-th on.

        48 kHz, stereo, 16 bits.
        """
        for packet in self.packets[len(self._frames) :]:
            self._frames.append(self._decoder.decode(packet.opus, fec=False))
        return self._frames[start:]

    def pcm(self, start: int = 0) -> bytes:
        """The same in one piece."""
        return b"".join(self.frames(start))

    def take(self, data: bytes) -> None:
        """Decrypt one packet of the bot's.

        Raises:
            nacl.exceptions.CryptoError: It was encrypted with another key.
        """
        header, sealed, nonce = data[:12], data[12:-4], data[-4:] + bytes(20)
        opened = nacl.secret.Aead(self.secret_key).decrypt(sealed, header, nonce)
        _, _, sequence, timestamp, _ = struct.unpack(">BBHII", header)
        self.packets.append(Packet(sequence, timestamp, opened, monotonic()))

    def say(self, user: User, frame: bytes) -> None:
        """Send the bot one Opus frame of somebody's."""
        assert self.address is not None, "the bot has not sent anything yet"
        number = self._sequences[user.ssrc] = self._sequences.get(user.ssrc, 0) + 1
        header = struct.pack(">BBHII", 0x80, 0x78, number & 0xFFFF, number * 960, user.ssrc)
        nonce = struct.pack(">I", number)
        sealed = nacl.secret.Aead(self.secret_key).encrypt(frame, header, nonce + bytes(20))
        self._send(header + sealed.ciphertext + nonce, self.address)

    async def speak(self, user: User, pcm: bytes, *, every: float = 0.02) -> None:
        """Say ``pcm`` (48 kHz, stereo, 16 bits) as a person's client does: frames in real time."""
        await self.announce(user)
        encoder = opus.Encoder()
        size = encoder.FRAME_SIZE
        began = monotonic()
        for number, start in enumerate(range(0, len(pcm), size)):
            frame = pcm[start : start + size].ljust(size, b"\0")
            self.say(user, encoder.encode(frame, encoder.SAMPLES_PER_FRAME))
            await asyncio.sleep(max(0.0, began + (number + 1) * every - monotonic()))
        for _ in range(5):
            self.say(user, SILENCE)

    async def announce(self, user: User) -> None:
        """SPEAKING: whose packets have which SSRC."""
        told = {"user_id": str(user.id), "ssrc": user.ssrc, "speaking": 1}
        await self.tell(5, told)

    async def tell(self, op: int, data: Any) -> None:
        assert self.socket is not None
        await self.socket.send_str(json.dumps({"op": op, "d": data, "seq": len(self.packets)}))

    async def close(self, code: int) -> None:
        """Close the voice gateway's socket with a code: 4014 kicked, 4015 the server crashed."""
        assert self.socket is not None
        await self.socket.close(code=code)


class Voice(asyncio.DatagramProtocol):
    """All voice servers in one: a UDP socket, and a session for each IDENTIFY."""

    def __init__(self, guilds: dict[int, Guild]) -> None:
        self.guilds = guilds
        self.sessions: list[VoiceSession] = []
        self.identified: list[dict[str, Any]] = []
        self.undecryptable = 0
        self.is_silent = False  # it takes connections, and answers nothing
        self._ssrc = 100
        self._transport: asyncio.DatagramTransport | None = None

    # -- UDP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(data) == 74 and data[:2] == b"\x00\x01":  # IP discovery
            (ssrc,) = struct.unpack_from(">I", data, 4)
            answer = struct.pack(">HHI64sH", 2, 70, ssrc, addr[0].encode(), addr[1])
            self._to(answer, addr)
            session = self._of(ssrc)
            if session is not None:
                session.address = addr
            return
        if len(data) <= 12:
            return  # a sign of life
        session = self._of(struct.unpack_from(">I", data, 8)[0])
        if session is None:
            self.undecryptable += 1
            return
        session.take(data)

    def _of(self, ssrc: int) -> VoiceSession | None:
        return next((each for each in self.sessions if each.ssrc == ssrc), None)

    def _to(self, data: bytes, addr: Any) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    async def report(self) -> None:
        """Send RTCP reports to where the bot was.

        discord.py's reader waits up to 30 s for a packet on the socket of a connection that
        has ended, before it reads the next one's; Discord's servers send something sooner.
        """
        while True:
            await asyncio.sleep(0.05)
            for session in self.sessions:
                if session.address is not None and session.is_over:
                    self._to(b"\x80\xc9\x00\x01" + struct.pack(">I", session.ssrc), session.address)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- its gateway

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(json.dumps({"op": 8, "d": {"heartbeat_interval": 5000.0, "v": 8}}))
        session: VoiceSession | None = None
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue  # of DAVE, which is off
            said = json.loads(message.data)
            session = await self._answer(said["op"], said["d"], session, socket)
        return socket

    async def _answer(
        self, op: int, data: Any, session: VoiceSession | None, socket: web.WebSocketResponse
    ) -> VoiceSession | None:
        if self.is_silent:
            return None
        match op:
            case 0:  # IDENTIFY
                self.identified.append(data)
                self._ssrc += 1
                session = VoiceSession(self.guilds[int(data["server_id"])], self._ssrc, self._to)
                session.socket = socket
                self.sessions.append(session)
                ready = {"ssrc": session.ssrc, "ip": "127.0.0.1", "port": self.port}
                await session.tell(2, {**ready, "modes": [MODE, "xsalsa20_poly1305"]})
            case 7:  # RESUME
                known = [each for each in self.sessions if str(each.guild.id) == data["server_id"]]
                session = known[-1]
                session.socket = socket
                await session.tell(9, None)
            case 1 if session is not None:  # SELECT_PROTOCOL
                await session.tell(
                    4,
                    {
                        "mode": data["data"]["mode"],
                        "secret_key": [*session.secret_key],
                        "dave_protocol_version": 0,
                    },
                )
            case 3:  # HEARTBEAT
                await socket.send_str(json.dumps({"op": 6, "d": {"t": data["t"]}}))
            case 5 if session is not None:  # SPEAKING
                session.speaking.append(data["speaking"])
            case _:
                pass
        return session
