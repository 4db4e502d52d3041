"""A server that speaks OpenAI's API: its clients, and its errors in this library's words.

The package `openai` brings the requests. What it raises is translated here, once. Errors of
the connection come from httpx, or from its successor httpx2, as the package's version has
it: they are told by the names of their classes, so that neither is imported.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from time import time
from typing import Any, Final

import anyio
from anyio import to_thread

from ..errors import (
    EngineError,
    EngineLoadError,
    EngineRefusedError,
    EngineTimeoutError,
    MissingExtraError,
    OverloadedError,
    RealtimeSTTSError,
)

try:
    from openai import (
        APIConnectionError,
        APIError,
        APIStatusError,
        APITimeoutError,
        AsyncOpenAI,
        OpenAIError,
        Timeout,
    )
except ImportError as exc:
    raise MissingExtraError("What speaks OpenAI's API", "openai") from exc

__all__ = ["Connections", "body_of", "media_type", "pieces_of"]

_CONNECT: Final = 5.0  # s to connect, which a server that is there does at once
_MAX_MESSAGE: Final = 200  # characters of what a server says
_MAX_RETRY_AFTER: Final = 3600.0  # s; more is taken for a mistake
_NO_KEY: Final = "none"  # for servers that ask for none; the package insists on something


def _key_for(base_url: str | None, api_key: str | None) -> str:
    """The key that is given, or of ``OPENAI_API_KEY``; a server of one's own needs none.

    Raises:
        ValueError: There is none, and the server is OpenAI's.
    """
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if key:
        return key
    if base_url or os.environ.get("OPENAI_BASE_URL"):
        return _NO_KEY
    raise ValueError(
        "OpenAI's own server needs a key: give api_key=, or set OPENAI_API_KEY; "
        "for another server give base_url=, or set OPENAI_BASE_URL"
    )


@dataclass(slots=True, eq=False)
class _Held:
    client: AsyncOpenAI
    own: bool
    users: int = 0
    retired: anyio.Event | None = None  # set once nobody uses it any more

    async def close(self) -> None:
        if self.own:
            # It only lets go of sockets; half of that done would leave the rest open.
            with anyio.CancelScope(shield=True):
                await self.client.close()


class Connections:
    """A client, made at its first use and closed when its last one ends.

    It belongs to the event loop that it is first used in, until it is closed.

    Args:
        name: What errors call the engine.
        client: One to use, and never to close; None for an own one, which repeats nothing:
            `RetryMiddleware` does.
        timeout: Seconds for which the server may send nothing.

    Raises:
        ValueError: A value is out of range, a client comes with an address or key, or the
            server needs a key.
    """

    def __init__(
        self,
        name: str,
        *,
        client: AsyncOpenAI | None,
        base_url: str | None,
        api_key: str | None,
        timeout: float,
    ) -> None:
        if not 0.0 < timeout < inf:
            raise ValueError(f"timeout is over 0 seconds, and ends, not {timeout}")
        if client is not None and (base_url is not None or api_key is not None):
            raise ValueError("a client has its own address and key: give them or it")
        self.name = name
        self.seconds = timeout
        self.timeout = Timeout(timeout, connect=min(timeout, _CONNECT))
        self._given = client
        self._base_url = base_url
        self._key = "" if client is not None else _key_for(base_url, api_key)
        self._held: _Held | None = None
        self._opening, self._connecting = anyio.Lock(), anyio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether there is a client."""
        return self._held is not None

    async def open(self) -> None:
        """Make the client now, which takes a while and asks the server nothing."""
        await self._open()

    async def connect(self) -> None:
        """Open, and see that the server is there, once, however many ask at the same time.

        Raises:
            RealtimeSTTSError: As `probe`; it is not open then.
        """
        async with self._connecting:
            if self.is_open:
                return
            try:
                await self.probe()
            except BaseException:
                await self.close()
                raise

    async def probe(self) -> None:
        """Ask the server for its models, to see that it is there and lets us in.

        Raises:
            RealtimeSTTSError: It is not, or does not. One that keeps no such list is there.
        """
        async with self.use() as client:
            try:
                async with client.models.with_streaming_response.list(timeout=self.timeout):
                    pass
            except APIStatusError as exc:
                if exc.status_code not in (404, 405, 501):
                    raise

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[AsyncOpenAI]:
        """The client; what it raises inside is translated.

        Raises:
            RealtimeSTTSError: As `_translated` says.
        """
        held = await self._open()
        held.users += 1
        try:
            with _translating(self.name, self.seconds):
                yield held.client
        finally:
            held.users -= 1
            if held.retired is not None and not held.users:
                try:
                    await held.close()
                finally:
                    held.retired.set()

    async def close(self) -> None:
        """Wait for calls in flight, then close the client. A later use makes another one.

        Where this is cancelled, the last of those calls closes it.
        """
        held, self._held = self._held, None
        if held is None:
            return
        if not held.users:
            await held.close()
            return
        held.retired = anyio.Event()
        await held.retired.wait()

    async def _open(self) -> _Held:
        async with self._opening:
            if self._held is None:
                # In a thread, because it reads certificates.
                client = self._given
                if client is None:
                    client = await to_thread.run_sync(self._make)
                self._held = _Held(client, own=self._given is None)
            return self._held

    def _make(self) -> AsyncOpenAI:
        client = AsyncOpenAI(
            base_url=self._base_url, api_key=self._key, max_retries=0, timeout=self.timeout
        )
        # For a header, it would have a thread of the event loop's pool find out, which stays.
        client._platform = "Unknown"
        return client


@contextmanager
def _translating(name: str, seconds: float) -> Iterator[None]:
    """Around calls of the package: what it raises becomes this library's error."""
    try:
        yield
    except Exception as exc:
        error = _translated(exc, name, seconds)
        if error is None:
            raise
        raise error from exc


def _translated(error: Exception, name: str, seconds: float) -> RealtimeSTTSError | None:
    """What an error of the package or of its connection means; None for any other.

    * `OverloadedError`: the server has too much to do, or for us; with its ``Retry-After``.
    * `EngineTimeoutError`: it sent nothing for so long.
    * `EngineLoadError`: it will do nothing, however often it is asked: a wrong key, an
      unknown model, an account that is used up.
    * `EngineRefusedError`: it will not take this request.
    * `EngineError`: anything else, which may pass: no connection, one that broke off, a
      failure of the server.
    """
    match error:
        case APITimeoutError():
            return EngineTimeoutError(name, seconds)
        case APIConnectionError():
            return EngineError(
                name, f"no connection to {_host(error)}, or it broke off: is the server there?"
            )
        case APIStatusError():
            return _refused(error, name)
        case OpenAIError():
            return EngineError(name, f"the request failed: {type(error).__name__}")
    classes = {
        each.__name__
        for each in type(error).__mro__
        if each.__module__.partition(".")[0] in ("httpx", "httpx2")
    }
    if "TimeoutException" in classes:
        return EngineTimeoutError(name, seconds)
    if classes:
        return EngineError(name, "the server's answer broke off")
    return None


def _refused(error: APIStatusError, name: str) -> RealtimeSTTSError:
    status = error.status_code
    if status in (401, 403):  # its message may hold a part of the key
        return EngineLoadError(
            name, f"the server at {_host(error)} does not accept the key ({status}): see api_key"
        )
    if status == 429 and error.code == "insufficient_quota":
        return EngineLoadError(name, "the account at the server is used up (429)")
    retry_after = _retry_after(error.response.headers)
    if status in (429, 529) or (status == 503 and retry_after is not None):
        return OverloadedError(
            f"{name}: the server has too much to do ({status})", retry_after=retry_after
        )
    if status >= 500 or status in (408, 409, 425):
        return EngineError(name, f"the server failed ({status}){_quoted(error)}")
    if status == 404:
        return EngineLoadError(
            name,
            f"the server at {_host(error)} has no such model or route (404){_quoted(error)}; "
            "an address usually ends in /v1",
        )
    return EngineRefusedError(name, f"the server refuses the request ({status}){_quoted(error)}")


def _quoted(error: APIError) -> str:
    """What the server says, on one line and not too long."""
    body: Any = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, Mapping) else None
    if not isinstance(said, str) or not said.strip():
        return ""
    line = "".join(c if c.isprintable() else " " for c in said)
    return f": {' '.join(line.split())[:_MAX_MESSAGE]}"


def _host(error: APIError) -> str:
    url = error.request.url
    return f"{url.host}:{url.port}" if url.port else str(url.host)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; of a number or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER) if isfinite(seconds) else None


async def pieces_of(response: Any) -> AsyncGenerator[bytes]:
    """The body of a response, as it comes. Closing it before its end closes the connection."""
    body: AsyncGenerator[bytes] = response.http_response.aiter_bytes()
    try:
        async for piece in body:
            yield piece
    finally:
        # Below `body` are generators that do not close each other: left to the garbage
        # collector, they warn on trio. What unwinds them all is an error inside the last.
        with anyio.CancelScope() as scope, suppress(Exception):
            scope.cancel()
            async for _ in body:
                pass
        await body.aclose()


async def body_of(response: Any, limit: int, name: str) -> bytes:
    """The whole body of a response that is read as it comes.

    Raises:
        EngineError: It is longer than ``limit`` bytes.
    """
    body = bytearray()
    async with aclosing(pieces_of(response)) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > limit:
                raise EngineError(name, f"the server's answer is longer than {limit} bytes")
    return bytes(body)


def media_type(response: Any) -> str:
    """Of the body, as the server calls it, in lower case and without parameters; perhaps ""."""
    declared: str = response.http_response.headers.get("content-type", "")
    return declared.partition(";")[0].strip().lower()
