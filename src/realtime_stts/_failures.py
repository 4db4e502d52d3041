"""Failures as a log may show them: where something failed, and nothing of what was said."""

from __future__ import annotations

__all__ = ["content_free"]


def content_free(failure: BaseException) -> RuntimeError:
    """The type and the place of ``failure``, for a log.

    Its message may quote what was said, and so may the call's own error, which is the
    context of whatever fails while that is dealt with.
    """
    return RuntimeError(type(failure).__name__).with_traceback(failure.__traceback__)
