"""JSON objects that are read only once it is known who sends them."""

from __future__ import annotations

from json import loads
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request

__all__ = ["JSONObject", "documented"]

_MAX_BYTES: Final = 1_000_000  # all settings are some 10 kB


async def _object(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send a JSON object, as application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise HTTPException(413, f"Send at most {_MAX_BYTES} bytes.")
    try:
        found = loads(bytes(body), parse_constant=_refused)
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is no JSON.") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "Send a JSON object: a tree of settings, or paths and values.")
    return found


JSONObject = Annotated[dict[str, Any], Depends(_object)]


def documented(example: dict[str, Any]) -> dict[str, Any]:
    """The body for an endpoint's documentation, as its ``openapi_extra``."""
    content = {"schema": {"type": "object"}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
