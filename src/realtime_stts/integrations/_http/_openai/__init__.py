"""Speech for clients of OpenAI's: over HTTP, and in its realtime events over a WebSocket."""

__all__: list[str] = []
