"""A socket to try the connection with: it sends back what comes."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, WebSocket

from realtime_stts.integrations.starlette import Gate

__all__ = ["router"]

_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


def router(gate: Gate) -> APIRouter:
    """The socket ``/conversation/test``."""
    found = APIRouter()

    @found.websocket("/conversation/test")
    async def test(websocket: WebSocket) -> None:
        async with gate.admit(websocket) as admitted:
            if admitted is None:
                return
            await websocket.accept()
            await websocket.send_json({"type": "ready", "message": "Say something"})
            while True:
                message = None
                with anyio.move_on_after(gate.max_idle_seconds):
                    message = await websocket.receive()
                if message is None:
                    await websocket.close(_POLICY_VIOLATION, "idle")
                    return
                if message["type"] == "websocket.disconnect":
                    return
                data, text = message.get("bytes"), message.get("text")
                if data is not None:
                    count = len(data)
                    answer = {"type": "audio_received", "bytes_count": count}
                    answer["message"] = f"{count} bytes of audio"
                else:
                    answer = {"type": "echo", "message": f"Echo: {text}"}
                await websocket.send_json(answer)

    return found
