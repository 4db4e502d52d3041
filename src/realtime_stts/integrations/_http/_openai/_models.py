"""What `GET /v1/models` lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel

from ...._edge import engine_name
from ._errors import ERRORS, refusal
from ._speech import current

__all__ = ["Model", "Models", "add_models", "names_of"]

# What programs ask for that were written for OpenAI: here it is the engine there is.
_ALIASES: Final = {"stt": "whisper-1", "tts": "tts-1", "realtime": "gpt-realtime"}


class Model(BaseModel):
    """A name that requests may ask for."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "realtime-stts"


class Models(BaseModel):
    """All of them."""

    object: str = "list"
    data: list[Model]


def names_of(**engines: Any) -> Callable[[], Sequence[str]]:
    """The names of the engines given as ``stt``, ``tts`` and ``realtime``, and their aliases."""

    def names() -> list[str]:
        found: dict[str, None] = {}
        for kind, given in engines.items():
            if given is not None:
                if kind != "realtime":
                    found[engine_name(current(given))] = None
                found[_ALIASES[kind]] = None
        return [*found]

    return names


def add_models(
    router: APIRouter,
    names: Sequence[str] | Callable[[], Sequence[str]],
    *,
    dependencies: Sequence[Any],
) -> None:
    """Add ``/v1/models`` and ``/v1/models/{id}`` to ``router``."""
    began = int(time.time())

    async def models() -> Models:
        return Models(data=[Model(id=name, created=began) for name in current(names)])

    async def model(id: str) -> Model:
        if id not in current(names):
            raise refusal("There is no such model.", "model", code="model_not_found", status=404)
        return Model(id=id, created=began)

    router.add_api_route(
        "/v1/models",
        models,
        methods=["GET"],
        dependencies=dependencies,
        responses=ERRORS,
        summary="List the models (OpenAI-compatible)",
    )
    router.add_api_route(
        "/v1/models/{id}",
        model,
        methods=["GET"],
        dependencies=dependencies,
        responses=ERRORS,
        summary="One model (OpenAI-compatible)",
    )
