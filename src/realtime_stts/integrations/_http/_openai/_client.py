"""One client of the Realtime API: its key, and the messages to and from it."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any, Final

import anyio
from fastapi import WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

__all__ = ["POLICY", "RealtimeClient", "show_key"]

_KEY: Final = "openai-insecure-api-key."
_MAX_MESSAGE: Final = 4 << 20  # characters; a minute of 24 kHz in base64

# RFC 6455, section 7.4.1
POLICY: Final = 1008
_TOO_BIG: Final = 1009


def show_key(websocket: WebSocket) -> list[str]:
    """Put a key that came as a subprotocol where keys are looked for; return the protocols."""
    offered: list[str] = websocket.scope.get("subprotocols") or []
    keys = [each.removeprefix(_KEY) for each in offered if each.startswith(_KEY)]
    headers = websocket.scope["headers"]
    if keys and not any(name == b"authorization" for name, _ in headers):
        headers.append((b"authorization", b"Bearer " + keys[0].encode("latin-1", "replace")))
    return offered


class RealtimeClient:
    """The socket: messages to it go one at a time, and one that takes none counts as gone."""

    def __init__(
        self, websocket: WebSocket, patience: float | None, max_idle: float | None
    ) -> None:
        self._websocket = websocket
        self._patience, self._max_idle = patience or inf, max_idle or inf
        self._sending = anyio.Lock()
        self.gone = anyio.Event()

    async def send(self, *messages: dict[str, Any]) -> None:
        async with self._sending:
            for message in messages:
                if self.gone.is_set():
                    return
                with anyio.move_on_after(self._patience) as scope:
                    try:
                        await self._websocket.send_json(message)
                    except (WebSocketDisconnect, RuntimeError, OSError):
                        self.gone.set()
                if scope.cancelled_caught:
                    self.gone.set()

    async def receive(self) -> str | bytes | None:
        """The next message; None if no more come."""
        with anyio.move_on_after(self._max_idle):
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.gone.set()
                return None
            # A server may send both keys, and one of them None.
            data: str | bytes = message.get("text") or message.get("bytes") or ""
            if len(data) <= _MAX_MESSAGE:
                return data
            await self.close(_TOO_BIG)
            return None
        await self.close(POLICY)
        return None

    async def close(self, code: int = 1000) -> None:
        self.gone.set()
        states = self._websocket.client_state, self._websocket.application_state
        if WebSocketState.DISCONNECTED not in states:
            with anyio.move_on_after(1.0):
                with suppress(WebSocketDisconnect, RuntimeError, OSError):
                    await self._websocket.close(code)
