"""The audit trail of management: who changed what, when, and how it ended."""

from __future__ import annotations

import logging
from time import time

from realtime_stts.errors import AuditError
from realtime_stts.middleware import AuditRecord, FileAuditLog
from realtime_stts.settings import Settings

__all__ = ["Trail"]

_log = logging.getLogger(__name__)


class Trail:
    """Writes two records of each action: that it begins, and what became of it.

    They go into a file of their own beside that of the engines' calls, which has one writer.
    """

    def __init__(self, settings: Settings) -> None:
        given = settings.middleware.audit
        self._required = given.required
        self._file: FileAuditLog | None = None
        if given.enabled:
            path = given.path.with_name(f"{given.path.stem}-management{given.path.suffix}")
            self._file = FileAuditLog(path, fsync=given.fsync)

    async def write(
        self,
        action: str,
        outcome: str,
        *,
        request_id: str,
        subject: str | None,
        client: str,
        error: BaseException | None = None,
    ) -> None:
        """Keep a record.

        Raises:
            AuditError: It cannot be kept, and the settings say that it must.
        """
        if self._file is None:
            return
        record = AuditRecord(
            at=time(),
            duration=0.0,
            request_type="manage",
            engine=action[:256],
            outcome=outcome,
            error_type=None if error is None else type(error).__name__,
            request_id=request_id,
            session_id=client[:128],
            subject=subject,
        )
        try:
            await self._file.append(record)
        except OSError as exc:
            _log.error("[%s] the action could not be audited: %s", request_id, exc)
            if self._required:
                raise AuditError("the action could not be recorded, so it was not done") from exc

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
