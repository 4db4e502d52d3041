"""PURE: what a suite raises when it may not say its figures."""

from __future__ import annotations

from ..errors import RealtimeSTTSError

__all__ = ["CheckError"]


class CheckError(RealtimeSTTSError):
    """A suite's own check failed: what it measured was not what it says it measures."""
