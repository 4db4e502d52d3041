"""Speech for clients of OpenAI's: over HTTP, and in its realtime events over a WebSocket."""

from ._router import openai_router

__all__ = ["openai_router"]
