"""Logging: a line when a call begins and one when it ends."""

from __future__ import annotations

import logging
from typing import Any, Final

from ._context import RequestContext, outcome
from ._observer import Observation, Observer, Usage

__all__ = ["LoggingMiddleware"]

_MAX_TEXT: Final = 100  # characters of a text or a message that a line shows


class LoggingMiddleware(Observer):
    """Logs each call: its request id, type, engine, time, and how much audio and text.

    What was said, heard or answered is not logged unless ``log_text``, and then cut to 100
    characters with the unprintable ones escaped, so that nobody can forge a line. The same
    holds for the message of an error, which may quote it: otherwise its type must do.
    Records carry ``request_id`` for filters and formatters.

    It sets no level and adds no handler: that is the application's business.

    Args:
        name: What other logs call it.
        log_level: Of the lines; a failed call is logged at ERROR or above.
        log_text: Whether to show texts.
        logger: Where to; ``realtime_stts.middleware.logging`` unless given.
    """

    def __init__(
        self,
        name: str = "logging",
        log_level: int = logging.INFO,
        log_text: bool = False,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(name)
        self.log_level = log_level
        self.log_text = log_text
        self.logger = logger or logging.getLogger(__name__)

    def observe(self, context: RequestContext) -> Observation:
        if self.logger.isEnabledFor(self.log_level):
            return _Told(context, self)
        return _Quiet(context, self)


class _Quiet:
    """Logs a call only if it fails."""

    __slots__ = ("_context", "_log")

    def __init__(self, context: RequestContext, log: LoggingMiddleware) -> None:
        self._context = context
        self._log = log

    def result(self, result: Any) -> None: ...

    def end(self, error: BaseException | None) -> None:
        if outcome(error) == "error":
            shown = repr(str(error)[:_MAX_TEXT]) if self._log.log_text else "message not shown"
            self._line(
                max(self._log.log_level, logging.ERROR),
                "failed after %.1f ms: %s (%s)",
                self._context.duration_ms,
                type(error).__name__,
                shown,
            )

    def _line(self, level: int, message: str, *arguments: object) -> None:
        logger, context = self._log.logger, self._context
        if logger.isEnabledFor(level):
            # As `Logger.log` does, without its search of the stack for a place that is
            # always this one: half of what a line costs.
            record = logger.makeRecord(
                logger.name,
                level,
                __file__,
                0,
                f"[%s] %s %s: {message}",
                (context.request_id, context.request_type, context.engine, *arguments),
                None,
                extra={"request_id": context.request_id},
            )
            logger.handle(record)


class _Told(_Quiet):
    """Logs how a call begins and how it ends."""

    __slots__ = ("_usage",)

    def __init__(self, context: RequestContext, log: LoggingMiddleware) -> None:
        super().__init__(context, log)
        self._usage = Usage(context)
        self._amounts("started")

    def result(self, result: Any) -> None:
        self._usage.result(result)

    def end(self, error: BaseException | None) -> None:
        ended = outcome(error)
        if ended == "error":
            super().end(error)
        else:
            self._amounts("%s in %.1f ms", ended, self._context.duration_ms)

    def _amounts(self, message: str, *arguments: object) -> None:
        usage = self._usage
        message += ", %.2f s of audio, %d characters"
        arguments += (usage.audio_seconds, usage.characters)
        if self._log.log_text and usage.text:
            message += ": %r"
            arguments += (usage.text[:_MAX_TEXT],)
        self._line(self._log.log_level, message, *arguments)
