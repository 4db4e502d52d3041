"""How the server is, what it is, and tickets for its sockets."""

from __future__ import annotations

from time import time
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from realtime_stts.middleware import CircuitBreakerMiddleware

from ..connections import Connections
from ..security import ServicesOf, requires
from ..services import Services

__all__ = ["router"]

_ARCHITECTURE = "modular"
_RETRY = {"Retry-After": "5"}


class Components(BaseModel):
    stt_loaded: bool
    tts_loaded: bool
    config_manager: bool
    adapters_available: bool
    middleware_pipeline: bool


class Health(BaseModel):
    """``healthy``: it serves. ``degraded``: with an engine that fails at the moment. ``error``:
    it does not, for the reason in ``state``."""

    status: Literal["healthy", "degraded", "error"]
    state: Literal["starting", "ready", "failed", "draining"]
    version: str
    architecture: str
    components: Components
    paths: dict[str, str] = Field(description="Where things are on this server.")
    features: dict[str, bool]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "state": "ready",
                    "version": "0.1.0",
                    "architecture": _ARCHITECTURE,
                    "components": {
                        "stt_loaded": True,
                        "tts_loaded": True,
                        "config_manager": True,
                        "adapters_available": True,
                        "middleware_pipeline": True,
                    },
                    "paths": {"page": "/", "conversation": "/ws/conversation/v2"},
                    "features": {"library_integration": True},
                }
            ]
        }
    )


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    ready: bool
    state: Literal["starting", "ready", "failed", "draining"]


class Detailed(Health):
    uptime_seconds: float
    problem: str | None = Field(description="The kind of error that the engines failed with.")
    engines: dict[str, str]
    circuits: dict[str, str] = Field(description="Whether an engine is being left alone.")
    calls: int = Field(description="Engine calls under way.")
    requests: int
    sockets: int
    conversations: int
    max_conversations: int
    tickets: int
    blocked_clients: int = Field(description="Clients with wrong attempts of late.")


class Info(BaseModel):
    server: dict[str, str]
    routers: dict[str, list[str]]
    features: dict[str, bool]
    middleware: dict[str, list[str]]
    adapters: dict[str, str]


class Ticket(BaseModel):
    ticket: str = Field(description="For a WebSocket's address: ?ticket=. It is good once.")
    expires_in: float = Field(description="Seconds for which it is good.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ticket": "q9J0c-xH2s4", "expires_in": 30.0}]}
    )


def router(services: Services) -> APIRouter:
    """All of it."""
    routes = APIRouter(tags=["system"])
    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": "It cannot serve."}}

    @routes.get("/health", summary="Whether it can serve", responses=_with(not_ready, Health))
    async def health(request: Request, response: Response, services: ServicesOf) -> Health:
        found = Health(**_health(services, request.app.version))
        _say(response, found.status != "error")
        return found

    @routes.get("/health/live", summary="Whether the process answers")
    async def live() -> Alive:
        return Alive()

    @routes.get(
        "/health/ready",
        summary="Whether to send it clients: the engines are warm and it does not stop",
        responses=_with(not_ready, Ready),
    )
    async def ready(response: Response, services: ServicesOf) -> Ready:
        _say(response, services.state == "ready")
        return Ready(ready=services.state == "ready", state=services.state)

    @routes.get("/api/health/detailed", summary="For its owner", dependencies=[requires("manage")])
    async def detailed(request: Request, services: ServicesOf) -> Detailed:
        known: Connections = services.connections
        return Detailed(
            **_health(services, request.app.version),
            uptime_seconds=max(0.0, time() - services.started_at),
            problem=services.problem,
            engines=_engines(services),
            circuits=_circuits(services),
            calls=services.in_flight.calls,
            requests=known.requests,
            sockets=len(known.sockets),
            conversations=services.seats.taken,
            max_conversations=services.seats.total,
            tickets=len(services.tickets),
            blocked_clients=len(services.access.attempts),
        )

    @routes.get("/info", summary="What it offers")
    async def info(request: Request, services: ServicesOf) -> Info:
        return _info(request, services)

    @routes.post("/api/tickets", summary="Let a browser's socket in", dependencies=[requires(None)])
    async def ticket(request: Request, response: Response, services: ServicesOf) -> Ticket:
        response.headers["Cache-Control"] = "no-store"
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        token = shown.strip() if scheme.lower() == "bearer" else None
        issued = services.tickets.issue(request.state.principal, services.now(), token=token)
        return Ticket(ticket=issued, expires_in=services.tickets.ttl)

    return routes


def _with(responses: dict[int | str, dict[str, Any]], model: Any) -> Any:
    return {status: {**each, "model": model} for status, each in responses.items()}


def _say(response: Response, serves: bool) -> None:
    if not serves:
        response.status_code = 503
        response.headers.update(_RETRY)


def _health(services: Services, version: str) -> dict[str, Any]:
    failing = "open" in _circuits(services).values()
    status = "error" if services.state != "ready" else "degraded" if failing else "healthy"
    return {
        "status": status,
        "state": services.state,
        "version": version,
        "architecture": _ARCHITECTURE,
        "components": {
            "stt_loaded": services.stt.model_loaded,
            "tts_loaded": services.tts.model_loaded,
            "config_manager": True,
            "adapters_available": services.state == "ready",
            "middleware_pipeline": len(services.parts.assembly.chain("tts")) > 0,
        },
        "paths": {
            "page": "/",
            "documentation": "/docs",
            "conversation": "/ws/conversation/v2",
            "transcription": "/ws/transcribe",
        },
        "features": _features(),
    }


def _features() -> dict[str, bool]:
    return {
        "library_integration": True,
        "adapter_pattern": True,
        "middleware_pipeline": True,
        "legacy_compatibility": True,
    }


def _circuits(services: Services) -> dict[str, str]:
    return {
        kind: layer.statistics().state
        for kind in ("stt", "tts", "response")
        for layer in services.parts.assembly.chain(kind)
        if isinstance(layer, CircuitBreakerMiddleware)
    }


def _engines(services: Services) -> dict[str, str]:
    return {
        kind: str(getattr(engine, "name", type(engine).__name__))
        for kind, engine in (("stt", services.stt), ("tts", services.tts))
    }


def _info(request: Request, services: Services) -> Info:
    routes: dict[str, list[str]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        tag = next((str(each["tags"][0]) for each in methods.values() if each.get("tags")), "other")
        routes.setdefault(tag, []).append(path)
    chains = {
        kind: list(services.parts.assembly.chain(kind).names) for kind in ("stt", "tts", "response")
    }
    return Info(
        server={
            "title": services.settings.ui.title,
            "version": request.app.version,
            "architecture": _ARCHITECTURE,
        },
        routers=routes,
        features=_features(),
        middleware=chains,
        adapters=_engines(services),
    )
