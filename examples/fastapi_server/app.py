"""The application: settings in, FastAPI out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from realtime_stts.integrations.fastapi import install_error_handlers
from realtime_stts.integrations.starlette import protect
from realtime_stts.settings import SettingsStore

from . import core, management, page, websocket
from .connections import ConnectionsMiddleware, SmallBodies
from .services import Services

__all__ = ["create_app"]

_VERSION = "0.1.0"
_JSON = 1_000_000  # bytes, besides the text; a character may be written as two \\uXXXX


def create_app(settings: SettingsStore | None = None, **options: Any) -> FastAPI:
    """The server of some settings.

    Args:
        settings: By default those of the environment alone.
        options: Of `Services`: engines in the place of the settings', a management token.
    """
    services = Services(settings or SettingsStore(), **options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with services.running():
            yield

    app = FastAPI(
        title=services.settings.ui.title,
        version=_VERSION,
        description="Speech to text, text to speech and spoken conversations. Errors are "
        "`{detail, error_code, request_id}`; every answer has `X-Request-ID`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    install_error_handlers(app)
    for part in (core, management, websocket):
        for router in part.routers(services):
            app.include_router(router)
    page.mount(app)
    app.add_middleware(
        SmallBodies,
        max_bytes=_JSON + 12 * services.settings.limits.max_text_length,
        may_upload=services.may_upload,
    )
    app.add_middleware(ConnectionsMiddleware, connections=services.connections)
    protect(
        app,
        max_body_bytes=round(services.settings.limits.max_upload_mb * 1e6),
        allowed_hosts=hosts(services),
        cors_origins=services.settings.server.cors_origins,
        cors_allow_credentials=services.settings.server.cors_allow_credentials,
    )
    return app


def hosts(services: Services) -> tuple[str, ...]:
    """The names that clients may call this server by."""
    server = services.settings.server
    if server.allowed_hosts:
        return server.allowed_hosts
    if server.host in ("0.0.0.0", "::"):
        return ("*",)
    return (server.host, "localhost", "127.0.0.1", "[::1]")
