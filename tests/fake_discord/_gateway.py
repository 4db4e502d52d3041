"""The main gateway: who is told what happens, and what the bot asks of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from ._payloads import BOT, Guild

__all__ = ["Gateway"]

_HEARTBEAT = 41_250  # ms, Discord's


class Gateway:
    """One bot's connection; a later one takes the place of an earlier."""

    def __init__(
        self,
        guilds: dict[int, Guild],
        url: Callable[[], str],
        voice_state: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.guilds = guilds
        self.identified: list[dict[str, Any]] = []
        self.resumed: list[dict[str, Any]] = []
        self.socket: web.WebSocketResponse | None = None
        self._url, self._voice_state = url, voice_state
        self._sequence = 0
        self._missed: list[str] = []  # for RESUME

    async def dispatch(self, event: str, data: Any) -> None:
        """An event, now or when the bot has resumed."""
        self._sequence += 1
        text = json.dumps({"op": 0, "t": event, "s": self._sequence, "d": data})
        if self.socket is None or self.socket.closed:
            self._missed.append(text)
            return
        await self.socket.send_str(text)

    async def ask_to_reconnect(self) -> None:
        """Opcode 7. What happens from now on comes when the bot has resumed."""
        socket, self.socket = self.socket, None
        assert socket is not None
        await socket.send_str(json.dumps({"op": 7, "d": None, "t": None, "s": None}))

    async def close(self, code: int = 1001) -> None:
        """Break the connection off."""
        if self.socket is not None:
            await self.socket.close(code=code)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(
            json.dumps({"op": 10, "d": {"heartbeat_interval": _HEARTBEAT}, "t": None, "s": None})
        )
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                said = json.loads(message.data)
                await self._answer(said["op"], said["d"], socket)
        if self.socket is socket:
            self.socket = None
        return socket

    async def _answer(self, op: int, data: Any, socket: web.WebSocketResponse) -> None:
        match op:
            case 1:
                await socket.send_str(json.dumps({"op": 11, "d": None, "t": None, "s": None}))
            case 2:
                self.identified.append(data)
                self.socket = socket
                await self._welcome()
            case 4:
                await self._voice_state(data)
            case 6:
                self.resumed.append(data)
                self.socket = socket
                for text in self._missed:
                    await socket.send_str(text)
                self._missed.clear()
                await self.dispatch("RESUMED", {})
            case _:
                pass

    async def _welcome(self) -> None:
        await self.dispatch(
            "READY",
            {
                "v": 10,
                "user": BOT.json(),
                "guilds": [{"id": str(each), "unavailable": True} for each in self.guilds],
                "session_id": "a-session",
                "resume_gateway_url": self._url(),
                "application": {"id": str(BOT.id), "flags": 0},
            },
        )
        for guild in self.guilds.values():
            await self.dispatch("GUILD_CREATE", guild.json())
