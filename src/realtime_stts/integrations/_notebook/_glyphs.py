"""Texts in scripts that matplotlib's font lacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["boxes_for_missing_glyphs"]


@contextmanager
def boxes_for_missing_glyphs() -> Iterator[None]:
    """No warning for a script that the font lacks: the boxes say it well enough."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
