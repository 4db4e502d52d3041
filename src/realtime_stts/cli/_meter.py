"""PURE: how loud the microphone is, as a line of text."""

from __future__ import annotations

from itertools import groupby
from math import log10

from rich.text import Text

from ..audio import AudioData

__all__ = ["Meter"]

_FLOOR, _LOUD, _HOT = -60.0, -12.0, -3.0  # dBFS; where the bar begins, turns yellow, turns red
_WIDTH = 30  # characters; 2 dB each
_FALL = 24.0  # dB a second, near the 20 dB in 1.7 s of a peak programme meter (IEC 60268-10)
_UNHEARD = 3.0  # s without a single sound: no microphone that works is as silent as that
_CLIPS = -0.001  # dBFS; the last step of 16 bits is at -0.0003
_SILENT = -200.0  # dBFS; below what any converter can tell from nothing


class Meter:
    """Rises at once and falls slowly, so that an eye can follow; dBFS of peaks and rms."""

    def __init__(self) -> None:
        self._peak = self._level = _SILENT
        self._silence = 0.0

    def hear(self, audio: AudioData) -> None:
        """The next sound."""
        samples = audio.samples
        if not samples.size:
            return
        fall = _FALL * audio.duration_seconds
        peak = float(abs(samples).max())
        rms = float((samples * samples).mean()) ** 0.5
        self._peak = max(_decibels(peak), self._peak - fall)
        self._level = max(_decibels(rms), self._level - fall)
        self._silence = 0.0 if peak else self._silence + audio.duration_seconds

    def line(self) -> Text:
        """A bar up to the rms level, a mark at the peak, and what is wrong with it, if so."""
        line = Text("microphone  ", "dim")
        for (style, character), run in groupby(map(self._cell, range(_WIDTH))):
            line.append(character * len([*run]), style)
        if self._silence >= _UNHEARD:
            return line.append("  no sound at all: is it muted?", "yellow")
        if self._peak >= _CLIPS:
            return line.append("  clips: turn it down", "red")
        return line.append(f"  {max(self._level, _FLOOR):3.0f} dBFS", "dim")

    def _cell(self, cell: int) -> tuple[str, str]:
        """The style and the character of one cell of the bar."""
        level = _FLOOR - _FLOOR * (cell + 1) / _WIDTH
        style = "green" if level <= _LOUD else "yellow" if level <= _HOT else "red"
        if cell < _cells(self._level):
            return style, "█"
        if cell == min(_cells(self._peak), _WIDTH - 1) and self._peak > _FLOOR:
            return style, "▏"
        return "dim", "·"


def _decibels(amplitude: float) -> float:
    return 20 * log10(amplitude) if amplitude > 0 else _SILENT


def _cells(level: float) -> int:
    """How many cells of the bar are filled at that level."""
    return max(0, min(_WIDTH, round((level - _FLOOR) / -_FLOOR * _WIDTH)))
