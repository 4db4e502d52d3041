"""Audit: who asked for what, when, and how it ended; never what was said."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from anyio import move_on_after

from ..errors import AuditError
from ._audit_log import AuditLog, AuditRecord, FileAuditLog, Verification
from ._context import RequestContext, outcome
from ._middleware import CallNext

__all__ = [
    "AuditLog",
    "AuditMiddleware",
    "AuditRecord",
    "AuditStatistics",
    "FileAuditLog",
    "Verification",
]

_PATIENCE: Final = 2.0  # s; a disk that takes longer is not well
_MAX_NAME: Final = 256  # characters of a subject or an engine: a record stays under 4 KiB

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditStatistics:
    """Counts since the start."""

    written: int
    failed: int


class AuditMiddleware:
    """Writes a record of each call when it ends, however it ends.

    Outside of the `AuthenticationMiddleware` it has refused calls too. The record names the
    subject as it is, unless it is told to use the pseudonym of a `RedactionMiddleware`.

    A call that is cancelled, or whose stream is closed, waits for its record too, at most
    ``patience`` seconds.

    Args:
        log: Where to; one may serve several chains.
        required: Whether a call fails whose record cannot be written: a one-shot call then
            has no result; a stream's results were delivered, and its end is the error. Else
            the failure is counted and logged. A call that has failed by itself, or was
            withdrawn, ends as it would have in either case.
        pseudonymous: Whether to name the subject by its pseudonym, and not at all without one.
        patience: Seconds for which a call waits for its record.
        name: What logs call it.

    Raises:
        ValueError: ``patience`` is not a positive number.
        AuditError: At the end of a call, its record could not be written.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        required: bool = True,
        pseudonymous: bool = False,
        patience: float = _PATIENCE,
        name: str = "audit",
    ) -> None:
        if not patience > 0:
            raise ValueError(f"patience is more than 0 seconds, not {patience}")
        self.name = name
        self._audit_log = log
        self._required = required
        self._pseudonymous = pseudonymous
        self._patience = patience
        self._n_written = self._n_failed = 0

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        try:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    yield result
        except BaseException as exc:
            await self._write(context, exc)
            raise
        if not await self._write(context, None) and self._required:
            raise AuditError("the call could not be audited, so it has no result")

    def statistics(self) -> AuditStatistics:
        """What was counted until now."""
        return AuditStatistics(self._n_written, self._n_failed)

    async def _write(self, context: RequestContext, error: BaseException | None) -> bool:
        ended = outcome(error)
        record = AuditRecord(
            at=context.start_time,
            duration=context.duration_ms / 1e3,
            request_type=context.request_type,
            engine=context.engine[:_MAX_NAME],
            outcome=ended,
            error_type=type(error).__name__ if ended == "error" else None,
            request_id=context.request_id,
            session_id=context.session_id,
            subject=self._subject(context),
        )
        failure = "it took too long"
        with move_on_after(self._patience, shield=True):
            try:
                await self._audit_log.append(record)
            except Exception as exc:  # noqa: BLE001 - the log is the host's, and must not replace an error
                failure = type(exc).__name__
            else:
                self._n_written += 1
                return True
        self._n_failed += 1
        _log.error("[%s] the call could not be audited: %s", context.request_id, failure)
        return False

    def _subject(self, context: RequestContext) -> str | None:
        subject = context.subject
        if subject is None or not self._pseudonymous:
            return subject and subject[:_MAX_NAME]
        return context.pseudonym and context.pseudonym(subject)
