"""Where a server listens."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketListener

__all__ = ["Address", "listen"]

_MODE = 0o600  # of a Unix socket: for this user alone


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP port of some host, or a Unix socket's path."""

    host: str = ""
    port: int | None = None
    path: str = ""

    @classmethod
    def of(cls, uri: str) -> Address:
        """The address that a URI gives.

        Raises:
            ValueError: It is no ``tcp://host:port`` and no ``unix:///path``.
        """
        try:
            parts = urlsplit(uri)
            if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
                return cls(parts.hostname, parts.port)
        except ValueError:  # the port is no number, or no port
            pass
        else:
            if parts.scheme == "unix" and parts.path and not parts.netloc:
                return cls(path=parts.path)
        raise ValueError(f"{uri!r} is neither tcp://host:port nor unix:///path")

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


@asynccontextmanager
async def listen(address: Address) -> AsyncGenerator[tuple[Address, Sequence[SocketListener]]]:
    """The listeners at an address, and that address with its real port; closed at the end.

    Raises:
        OSError: It is taken, or may not be used.
    """
    if address.path:
        await _clear(anyio.Path(address.path))
        listener: Any = await anyio.create_unix_listener(address.path, mode=_MODE)
        listeners: Sequence[Any] = [listener]
    else:
        multi = await anyio.create_tcp_listener(
            local_host=address.host, local_port=address.port or 0
        )
        listener, listeners = multi, multi.listeners
        address = replace(address, port=listener.extra(SocketAttribute.local_port))
    try:
        async with listener:
            yield address, listeners
    finally:
        if address.path:
            with suppress(FileNotFoundError):
                os.unlink(address.path)


async def _clear(path: anyio.Path) -> None:
    """Take away a socket that nobody listens at: a server that was killed leaves its own.

    Raises:
        OSError: Somebody does, or it is another kind of file.
    """
    if not await path.exists():
        return
    if await path.is_socket():
        try:
            stream = await anyio.connect_unix(path)
        except OSError:
            await path.unlink()
            return
        await stream.aclose()
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
