"""Authentication: who asks, and whether they may."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from inspect import isawaitable
from threading import Lock
from typing import Any, Final

from anyio import current_time

from .._request import current_token
from ..errors import AuthenticationError, PermissionDeniedError
from ._context import RequestContext
from ._middleware import CallNext

__all__ = ["AuthenticationMiddleware", "AuthenticationStatistics", "Principal", "Validator"]

_MAX_SESSIONS: Final = 10_000  # remembered: some 3 MB


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may ask: what they are called, and what they may do.

    Permissions are the server's: nothing that a client sends adds one.
    """

    subject: str
    permissions: Iterable[str]  # kept as a frozenset

    def __post_init__(self) -> None:
        if not self.subject:
            raise ValueError("a principal needs a subject: audits and limits go by it")
        if isinstance(self.permissions, str):
            raise ValueError(  # noqa: TRY004 - each letter would be a permission
                "permissions are several: give a set of them, not a string"
            )
        object.__setattr__(self, "permissions", frozenset(self.permissions))


Validator = Callable[[str], "Principal | Awaitable[Principal | None] | None"]


@dataclass(frozen=True, slots=True)
class AuthenticationStatistics:
    """Counts of calls since the start."""

    allowed: int
    anonymous: int  # of those
    unknown: int  # refused: no token, or one that nobody knows
    denied: int  # refused: known, and not permitted
    sessions: int  # remembered at this moment


class AuthenticationMiddleware:
    """Lets a call pass only for somebody who is known, and may do this.

    The token is that of the `request_scope` around the call or, for a responder in the
    contract's manner, ``context.user_data["auth_token"]``. A token that is missing and one
    that nobody knows are refused in the same words. Who asks is then in
    ``context.subject``.

    A session is checked once: a token is known for so many seconds in the session in which
    it was shown. Permissions are compared at each call. Of tokens only SHA-256 digests are
    kept, and all of them are compared, in constant time; they are in no log, error or
    representation.

    Args:
        tokens: Who shows which token. Or a function that says who shows a token, or None
            for nobody; it may be async. It may refuse with an `AuthenticationError`; anything
            else that it raises becomes a RuntimeError that names the type only, because a
            message may quote the token. The call fails in either case.
        required: The permission that a call needs, by request type; by default, and for a
            type that is not named, the type itself: ``stt``, ``tts`` or ``response``.
        allow_anonymous: Whether a call without a token passes; a wrong token never does.
        anonymous_permissions: What such a call may do.
        ttl: Seconds for which a session's token is not checked again, so the longest that
            a token may be used after it was revoked.
        max_sessions: Sessions that are remembered; the one unused for longest is forgotten,
            and checked again when it calls.
        name: What logs call it.

    Raises:
        ValueError: A token is empty, ``ttl`` is negative, ``max_sessions`` less than 1, or
            anonymous calls are allowed and may do nothing, or the other way round.
        AuthenticationError: In a call, nobody has shown who they are.
        PermissionDeniedError: In a call, they may not do this.
    """

    def __init__(
        self,
        tokens: Mapping[str, Principal] | Validator,
        *,
        required: Mapping[str, str] | None = None,
        allow_anonymous: bool = False,
        anonymous_permissions: Iterable[str] = (),
        ttl: float = 300.0,
        max_sessions: int = _MAX_SESSIONS,
        name: str = "authentication",
    ) -> None:
        anonymous_permissions = frozenset(anonymous_permissions)
        if allow_anonymous != bool(anonymous_permissions):
            raise ValueError(
                "allow_anonymous and anonymous_permissions go together: "
                "say both that anybody may call, and what they may do"
            )
        if not ttl >= 0:
            raise ValueError(f"ttl is 0 seconds or more, not {ttl}")
        if max_sessions < 1:
            raise ValueError(f"max_sessions must be at least 1, not {max_sessions}")
        self.name = name
        self._validate = _Table(tokens) if isinstance(tokens, Mapping) else tokens
        self._required = dict(required or {})
        self._anonymous = anonymous_permissions if allow_anonymous else None
        self._ttl = ttl
        self._max_sessions = max_sessions
        # By session and digest: who it is, and until when that is believed.
        self._sessions: OrderedDict[tuple[str, bytes], tuple[Principal, float]] = OrderedDict()
        self._lock = Lock()
        self._n_allowed = self._n_anonymous = self._n_unknown = self._n_denied = 0

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        await self._let_in(context)
        async with aclosing(call_next(context)) as results:
            async for result in results:
                yield result

    def statistics(self) -> AuthenticationStatistics:
        """What was counted until now."""
        with self._lock:
            return AuthenticationStatistics(
                allowed=self._n_allowed,
                anonymous=self._n_anonymous,
                unknown=self._n_unknown,
                denied=self._n_denied,
                sessions=len(self._sessions),
            )

    def get_auth_statistics(self) -> dict[str, Any]:
        """`statistics` under the contract's names."""
        counted = self.statistics()
        failed = counted.unknown + counted.denied
        attempts = counted.allowed + failed
        return {
            "total_attempts": attempts,
            "successful_authentications": counted.allowed,
            "failed_authentications": failed,
            "success_rate_percent": 100.0 * counted.allowed / attempts if attempts else 0.0,
            "allow_anonymous": self._anonymous is not None,
            "required_permissions": dict(self._required),
        }

    async def _let_in(self, context: RequestContext) -> None:
        token = _token(context)
        if token is None and self._anonymous is not None:
            permissions: Iterable[str] = self._anonymous
        else:
            principal = None if token is None else await self._known(token, context.session_id)
            if principal is None:
                with self._lock:
                    self._n_unknown += 1
                # One text for all reasons: what is wrong with a token helps whoever guesses.
                raise AuthenticationError("the call carries no token that is known here")
            context.subject, permissions = principal.subject, principal.permissions
        permitted = self._required.get(context.request_type, context.request_type) in permissions
        with self._lock:
            self._n_allowed += permitted
            self._n_anonymous += permitted and token is None
            self._n_denied += not permitted
        if not permitted:
            raise PermissionDeniedError(f"calls of type {context.request_type} are not permitted")

    async def _known(self, token: str, session_id: str | None) -> Principal | None:
        if session_id is None:
            return await self._ask(token)
        key, now = (session_id, _digest(token)), current_time()
        with self._lock:
            principal, until = self._sessions.get(key, (None, 0.0))
            if principal is not None and now < until:
                self._sessions.move_to_end(key)
                return principal
        principal = await self._ask(token)
        with self._lock:
            self._sessions.pop(key, None)
            if principal is not None:
                self._sessions[key] = principal, now + self._ttl
                if len(self._sessions) > self._max_sessions:
                    self._sessions.popitem(last=False)
        return principal

    async def _ask(self, token: str) -> Principal | None:
        failed = ""
        try:
            found = self._validate(token)
            return await found if isawaitable(found) else found
        except AuthenticationError:
            return None
        except Exception as exc:  # noqa: BLE001 - it is the host's code, and asks a network
            failed = type(exc).__name__
        # Outside of the block above: the error carries no other one that quotes the token.
        raise RuntimeError(f"the token could not be checked ({failed})")


class _Table:
    """Who shows which token, with the tokens themselves forgotten."""

    __slots__ = ("_known",)

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
        if "" in tokens:
            raise ValueError("an empty token would let everybody in")
        self._known = [(_digest(token), principal) for token, principal in tokens.items()]

    def __call__(self, token: str) -> Principal | None:
        shown, found = _digest(token), None
        for digest, principal in self._known:  # all: the time taken tells nothing
            if hmac.compare_digest(shown, digest):
                found = principal
        return found


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _token(context: RequestContext) -> str | None:
    token: object = current_token()
    if token is None and context.request_type == "response":
        token = getattr(context.input_data["context"], "user_data", {}).get("auth_token")
    return token if isinstance(token, str) and token else None
