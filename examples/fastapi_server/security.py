"""Who may do what: tokens over HTTP, tickets for a browser's sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPBearer

from realtime_stts.errors import AuthenticationError, PermissionDeniedError
from realtime_stts.integrations.starlette import Gate, is_own_origin, problem_of
from realtime_stts.middleware import Principal

from .services import Services

__all__ = ["ServicesOf", "client_of", "gate", "requires"]

# For the documentation: the page at /docs asks for a token and sends it.
_BEARER = HTTPBearer(auto_error=False, description="A token of the settings, or the owner's.")
_READS = ("GET", "HEAD", "OPTIONS")


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]


def requires(permission: str | None) -> Any:
    """A dependency: the caller has shown a token that permits this; with None, any good one.

    ``manage`` always takes one; the others only where `server.use_auth` says so. Changes made
    with ``manage`` are in the audit trail, and so is who was refused. Afterwards
    ``request.state.principal`` is who it is, or None.
    """

    async def check(
        request: Request, services: ServicesOf, _: Annotated[Any, Security(_BEARER)] = None
    ) -> AsyncGenerator[None]:
        _refuse_other_pages(request, services)
        if permission != "manage":
            services.refuse_while_draining()
        try:
            principal = _let_in(request, services, permission)
        except Exception as exc:
            if permission == "manage":
                await _record(request, services, "refused", exc)
            if isinstance(exc, AuthenticationError) and services.access.has_password:
                raise _asking(exc) from exc
            raise
        request.state.principal = principal
        if permission != "manage" or request.method in _READS:
            yield
            return
        await _record(request, services, "begun")
        try:
            yield
        except BaseException as exc:
            await _record(request, services, "error", exc)
            raise
        await _record(request, services, "ok")

    return Depends(check)


def gate(services: Services, permission: str) -> Gate:
    """Who may open a socket that needs this permission, and how many at a time."""
    settings = services.settings
    return Gate(
        origins=settings.server.cors_origins,
        seats=services.seats,
        tickets=services.tickets,
        authenticate=lambda token, client: services.access.token(token, client, services.now()),
        permission=permission,
        max_seconds=settings.limits.max_session_seconds,
        max_idle_seconds=settings.limits.max_idle_seconds,
        is_draining=lambda: services.state != "ready",
    )


def client_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else "unknown"


def _let_in(request: Request, services: Services, permission: str | None) -> Principal | None:
    access, shown = services.access, request.headers.get("authorization")
    if permission != "manage" and not access.is_asked:
        return None  # whatever was shown: clients of OpenAI's must send something
    principal = access.header(shown, client_of(request), services.now())
    if permission is not None and permission not in principal.permissions:
        raise PermissionDeniedError(f"{permission} is not permitted")
    return principal


def _asking(error: AuthenticationError) -> HTTPException:
    """A refusal at which browsers ask for the name and the password."""
    problem = problem_of(error)
    detail = {"detail": problem.detail, "error_code": problem.code}
    headers = {"WWW-Authenticate": 'Bearer, Basic realm="realtime-stts", charset="UTF-8"'}
    return HTTPException(problem.status, detail, headers)


def _refuse_other_pages(request: Request, services: Services) -> None:
    """A page of another site can send a form to this server, and use what its user may do."""
    if request.method in _READS:
        return
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if not is_own_origin(origin, host, services.settings.server.cors_origins):
        raise PermissionDeniedError("the request comes from a page of another site")


async def _record(
    request: Request, services: Services, outcome: str, error: BaseException | None = None
) -> None:
    principal: Principal | None = getattr(request.state, "principal", None)
    await services.trail.write(
        f"{request.method} {request.url.path}",
        outcome,
        request_id=getattr(request.state, "request_id", ""),
        subject=None if principal is None else principal.subject,
        client=client_of(request),
        error=error,
    )
