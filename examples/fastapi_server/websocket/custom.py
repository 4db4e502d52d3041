"""A conversation that is put together for one client, of the engines that all share."""

from __future__ import annotations

import logging
from typing import Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, ValidationError

from realtime_stts import ConversationEngine
from realtime_stts.conversation import EchoResponseGenerator, TemplateResponseGenerator
from realtime_stts.integrations.fastapi import FastAPIWebSocketAdapter
from realtime_stts.integrations.starlette import Gate, Problem, deny
from realtime_stts.middleware import AnalyticsMiddleware, Chain, LoggingMiddleware

from ..services import Services

__all__ = ["Wanted", "router"]

_RESPONDERS = {"echo": EchoResponseGenerator, "template": TemplateResponseGenerator}


class Wanted(BaseModel):
    """What the socket's address asks for."""

    model_config = ConfigDict(extra="ignore")  # as the ticket

    response_mode: Literal["template", "echo"] = "template"
    enable_analytics: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class _Counting(FastAPIWebSocketAdapter):
    """Tells the client with its ``statistics`` what was counted of its calls."""

    counts: AnalyticsMiddleware | None = None

    async def send_json(self, data: dict[str, Any]) -> None:
        if self.counts is not None and data["type"] == "statistics":
            counted = self.counts.get_statistics()
            data = {**data, "data": {**data["data"], "analytics": counted}}
        await super().send_json(data)


def router(services: Services, gate: Gate, max_message_bytes: int) -> APIRouter:
    """The socket ``/conversation/custom``, which speaks version 2 of the messages.

    Its address may say ``response_mode`` (``template`` or ``echo``); ``log_level``, at which
    this client's calls are logged; and ``enable_analytics``: then its ``stats`` are answered
    with what was counted of its calls, too.
    """
    found = APIRouter()

    @found.websocket("/conversation/custom")
    async def custom(websocket: WebSocket) -> None:
        async with gate.admit(websocket) as admitted:
            if admitted is None:
                return
            try:
                wanted = Wanted.model_validate(dict(websocket.query_params))
            except ValidationError as exc:
                problem = Problem(422, "invalid_request", _wrong(exc))
                await deny(websocket, problem, admitted.request_id)
                return
            adapter = _Counting(
                websocket,
                max_message_bytes=max_message_bytes,
                max_idle_seconds=gate.max_idle_seconds,
            )
            if wanted.enable_analytics:
                adapter.counts = AnalyticsMiddleware()
            engine = _engine(services, wanted, adapter.counts)
            await engine.handle_conversation(adapter)

    return found


def _engine(
    services: Services, wanted: Wanted, counts: AnalyticsMiddleware | None
) -> ConversationEngine:
    """The shared engines, with this client's middleware around them."""
    around = Chain(LoggingMiddleware(log_level=logging.getLevelName(wanted.log_level)))
    if counts is not None:
        around = around.then(counts)
    shared = services.conversation
    return ConversationEngine(
        shared.config_provider,
        stt=around.wrap(services.stt),
        tts=around.wrap(services.tts),
        responder=around.wrap(_RESPONDERS[wanted.response_mode]()),
        pause_detector=shared.pause_detector,
        policy=shared.policy,
        limits=shared.limits,
    )


def _wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"The parameter {first['loc'][0]} is wrong: {first['msg']}."
