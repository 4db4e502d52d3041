"""Routers that a host mounts in its own FastAPI application.

app = FastAPI()
app.include_router(conversation_router(engine), prefix="/voice")
app.include_router(openai_router(stt=stt, tts=tts))
install_error_handlers(app)
protect(app)
"""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import fastapi  # noqa: F401
    import python_multipart  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("The FastAPI integration", "fastapi") from exc

from ._http._adapter import FastAPIWebSocketAdapter, FastAPIWebSocketAdapterFactory
from ._http._asgi import protect
from ._http._conversation_router import conversation_router
from ._http._handlers import install_error_handlers
from ._http._openai._router import openai_router
from ._http._transcription_router import transcription_router

__all__ = [
    "FastAPIWebSocketAdapter",
    "FastAPIWebSocketAdapterFactory",
    "conversation_router",
    "install_error_handlers",
    "openai_router",
    "protect",
    "transcription_router",
]
