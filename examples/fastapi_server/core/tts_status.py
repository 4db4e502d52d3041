"""The engine that speaks, and the middleware around it."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from time import perf_counter
from typing import Any

from fastapi import APIRouter

from ..security import ServicesOf, requires
from .schemas import errors
from .statuses import (
    MiddlewareEntry,
    MiddlewareReloaded,
    MiddlewareStatus,
    TTSStatistics,
    WarmedUp,
)

__all__ = ["router"]

router = APIRouter(prefix="/tts", tags=["Text to speech"])


@router.post(
    "/warmup",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="Load the engine, and let it try",
)
async def warm_up(services: ServicesOf) -> WarmedUp:
    """So that the first sentence is not the slow one."""
    began = perf_counter()
    await services.tts.warmup()
    return WarmedUp(
        model_loaded=services.tts.model_loaded, seconds=round(perf_counter() - began, 3)
    )


@router.get(
    "/middleware/status",
    dependencies=[requires("tts")],
    responses=errors(),
    summary="The middleware around the engine",
)
async def middleware_status(services: ServicesOf) -> MiddlewareStatus:
    """Outermost first. What is switched off in the settings is not there."""
    chain = services.parts.assembly.chain("tts")
    return MiddlewareStatus(
        total_middleware=len(chain),
        enabled_middleware=len(chain),
        middleware_names=list(chain.names),
        middleware_details=[
            MiddlewareEntry(name=name, type=type(layer).__name__)
            for name, layer in zip(chain.names, chain, strict=True)
        ],
    )


@router.post(
    "/middleware/reload",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="Make the middleware and the engines anew",
)
async def reload_middleware(services: ServicesOf) -> MiddlewareReloaded:
    """As the settings are now. Calls under way end as they began."""
    await services.reload()
    names = services.parts.assembly.chain("tts").names
    return MiddlewareReloaded(
        message="The middleware is as the settings have it.",
        enabled_middleware=len(names),
        middleware_names=list(names),
    )


@router.get(
    "/statistics",
    dependencies=[requires("manage")],
    responses=errors(),
    summary="What the middleware counted",
)
async def statistics(services: ServicesOf) -> TTSStatistics:
    """Since the engines were made: counts, times, hits and failures of each layer."""
    chain = services.parts.assembly.chain("tts")
    counted = {
        name: found
        for name, layer in zip(chain.names, chain, strict=True)
        if (found := _statistics(layer)) is not None
    }
    return TTSStatistics(
        system={
            "adapter_type": services.tts.name,
            "model_loaded": services.tts.model_loaded,
            "library_available": True,
        },
        middleware={
            "total_count": len(chain),
            "enabled_count": len(chain),
            "middleware_names": list(chain.names),
            **counted,
        },
    )


def _statistics(layer: Any) -> dict[str, Any] | None:
    counted = getattr(layer, "statistics", None)
    counted = counted() if callable(counted) else counted
    return asdict(counted) if is_dataclass(counted) and not isinstance(counted, type) else None
