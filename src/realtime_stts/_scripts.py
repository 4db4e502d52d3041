"""PURE: what has to be known of the world's scripts."""

from __future__ import annotations

from typing import Final

__all__ = ["UNSPACED"]

# Letters of scripts that put no space between words, as ranges for a character class:
# Thai, Lao, Burmese, Khmer, kana and Han.
UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30fa\u30fc-\u30ff"
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
