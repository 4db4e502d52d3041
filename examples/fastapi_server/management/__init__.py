"""What the owner of a server does: voices, settings, analytics."""

from __future__ import annotations

from fastapi import APIRouter

from .. import legacy
from ..services import Services
from . import analytics, config, files, storage

__all__ = ["routers"]


def routers(services: Services) -> list[APIRouter]:
    """All of them."""
    return [
        files.router,
        storage.router,
        config.router_of(services),
        analytics.router,
        legacy.router_of(services),
    ]
