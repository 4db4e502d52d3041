"""PURE: who a request says that it is, and what it is called."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from contextlib import suppress
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from ..._request import new_request_id

__all__ = ["as_id", "bearer_token", "client_of", "header", "request_id_of"]

_Scope = MutableMapping[str, Any]  # ASGI's, of a request or a socket

_ID: Final = re.compile(r"[!-~]{1,128}")  # visible ASCII: it goes into logs and headers


def header(scope: _Scope, name: bytes) -> str | None:
    """The first header of that name, which is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def bearer_token(scope: _Scope) -> str | None:
    """The token of ``Authorization: Bearer``."""
    scheme, _, token = (header(scope, b"authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def client_of(scope: _Scope) -> str:
    """The client's address, as an id; of a public IPv6 address, its network of 64 bits.

    One client has all of such a network (RFC 4291, section 2.5.4), so that limits by address
    would be none. Behind a proxy the address is the proxy's, unless the server was told to
    believe that one (uvicorn's ``forwarded_allow_ips``).
    """
    client = scope.get("client")
    return as_id(_network(client[0])) if client and client[0] else "unknown"


def _network(host: str) -> str:
    if ":" in host:
        with suppress(ValueError):  # it is the name of a local socket, or a test's
            address = IPv6Address(host)
            if address.ipv4_mapped is not None:
                return str(address.ipv4_mapped)
            if address.is_global:
                return str(IPv6Network((address, 64), strict=False))
    return host


def request_id_of(scope: _Scope) -> str:
    """The id that `RequestMiddleware` gave, or one in its manner."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = _shown_id(scope) or new_request_id()
    request_id: str = state["request_id"]
    return request_id


def as_id(name: str) -> str:
    """``name``, if a log and a header can hold it; else a digest of it."""
    if _ID.fullmatch(name):
        return name
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _shown_id(scope: _Scope) -> str | None:
    shown = header(scope, b"x-request-id")
    return shown if shown is not None and _ID.fullmatch(shown) else None
