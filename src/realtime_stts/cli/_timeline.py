"""The picture of a call, drawn as a notebook draws it."""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import matplotlib  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("The timeline", "cli") from exc

from ..integrations._notebook._timeline import draw_timeline

__all__ = ["draw_timeline"]
