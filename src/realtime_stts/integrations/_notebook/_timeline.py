"""The picture of a call: both voices, what was understood and answered, and every wait.

It is drawn from a `Recording` alone, on a canvas of its own: no display, no global state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from ...audio import AudioData
from ...conversation import Interrupted, PartialTranscript, ReplyPaused, ReplyResumed
from ._glyphs import boxes_for_missing_glyphs
from ._recording import Recording, Turn
from ._words import same_words, wrap

__all__ = ["Paragraph", "Span", "compose", "draw_on", "draw_timeline", "envelope", "fill"]

_DPI = 100  # all px here are of a hundredth of an inch, whatever the figure's own resolution
_HEIGHT = 700  # px
_WIDTH, _WIDEST = 1600, 12_000  # px
_LEFT, _RIGHT = 90, 40  # px, margins
_PER_SECOND = 25  # px; with fewer, a short turn's words have no room
_GAP = 14  # px between two labels

# Colours that stay apart for colour-blind eyes (after Okabe and Ito, 2008).
_CALLER, _BOT, _WAIT, _STOP = "#0072B2", "#C2570C", "#7B2D8B", "#B3261E"
_INK, _FAINT, _RULE = "#1F2933", "#66727F", "#C9D0D8"

# What stands where, as fractions of the drawing's height.
_CALLER_LANE, _CALLER_WORDS = (0.730, 0.950), 0.708
_WAITS, _N_WAIT_LEVELS = 0.475, 3
_BOT_LANE, _BOT_WORDS = (0.215, 0.440), 0.193

_LINE, _WAIT_LEVEL = 20, 32.5  # px, a line of words and a row of waits

_SIZE = 11.0  # pt

Span = tuple[float, float]
Paragraph = tuple[str, str]  # a text and its colour


def draw_timeline(recording: Recording, subtitle: str = "") -> bytes:
    """`compose`, as a PNG."""
    png = BytesIO()
    figure = compose(recording, subtitle)
    with boxes_for_missing_glyphs():
        figure.savefig(png, format="png")
    return png.getvalue()


def compose(
    recording: Recording, subtitle: str = "", width: int = _WIDTH, height: int = _HEIGHT
) -> Figure:
    """The picture, so many hundredths of an inch wide and high; calls of more than a minute
    are wider.
    """
    figure = Figure(dpi=_DPI)
    FigureCanvasAgg(figure)
    return fill(figure, recording, subtitle, width, height)


def fill(figure: Figure, recording: Recording, subtitle: str, width: int, height: int) -> Figure:
    """Make an empty figure the picture."""
    inner = max(width - _LEFT - _RIGHT, round(recording.duration * _PER_SECOND))
    width = min(_WIDEST, inner + _LEFT + _RIGHT)
    figure.set_size_inches(width / _DPI, height / _DPI)
    axes = figure.add_axes(
        (_LEFT / width, 60 / height, (width - _LEFT - _RIGHT) / width, 1 - 158 / height)
    )
    page = draw_on(axes, recording)
    page.title(_headline(recording), subtitle)
    return figure


def draw_on(axes: Any, recording: Recording) -> _Page:
    """Draw a call on a pair of axes; words find room if they are 800 by 500 px and more."""
    page = _Page(axes, recording.duration)
    turns = recording.turns
    page.time_axis()
    # One scale for both: how loud they are beside each other is a part of the picture.
    peak = max(float(np.abs(s.samples).max(initial=0)) for s in (recording.caller, recording.bot))
    page.lane("Caller", _CALLER_LANE, _CALLER, recording.caller, recording.speech, peak)
    page.lane("Bot", _BOT_LANE, _BOT, recording.bot, _replies(turns), peak)
    page.partials(recording)
    page.holds(_holds(recording))
    page.numbers(turns)
    waits_top = page.waits(turns)
    page.words([(turn.start, _understood(turn)) for turn in turns], _CALLER_WORDS, waits_top)
    page.words(_answers(turns), _BOT_WORDS, 0.0)
    return page


def _headline(recording: Recording) -> str:
    n_turns = len(recording.turns)
    turns = f"{n_turns} turn{'' if n_turns == 1 else 's'}"
    latency = recording.median_latency
    if latency is None:
        return f"{turns}, none of them answered"
    return f"{turns}: the bot answers {_duration(latency)} after the caller stops (median)"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


def _replies(turns: Iterable[Turn]) -> list[Span]:
    return [span for turn in turns for span in turn.replies]


@dataclass(frozen=True, slots=True)
class _Hold:
    """A time in which the bot was silent because the caller spoke over it."""

    start: float
    end: float
    stopped: bool  # for good


def _holds(recording: Recording) -> list[_Hold]:
    holds: list[_Hold] = []
    since: dict[int, float] = {}
    for moment in recording.moments:
        match moment.event:
            case ReplyPaused(turn):
                since[turn] = moment.t
            case ReplyResumed(turn):
                holds.append(_Hold(since.pop(turn, moment.t), moment.t, stopped=False))
            case Interrupted(turn):
                holds.append(_Hold(since.pop(turn, moment.t), moment.t, stopped=True))
    return holds


_NO_ANSWER = {
    "silent": "(no words)",
    "backchannel": "(no turn: it only says that they listen)",
    "echo": "(no turn: the bot heard itself)",
    "short": "(too short for a turn)",
}


def _understood(turn: Turn) -> list[Paragraph]:
    paragraphs = [(turn.heard, _CALLER)] if turn.heard else []
    if turn.outcome in _NO_ANSWER:
        paragraphs.append((_NO_ANSWER[turn.outcome], _FAINT))
    elif not turn.heard:
        paragraphs.append(("(no words)", _FAINT))
    if turn.said and not same_words(turn.said, turn.heard):
        paragraphs.append((f"(said: {turn.said})", _FAINT))
    if turn.error is not None:
        paragraphs.append((f"(failed: {turn.error})", _INK))
    return paragraphs


def _answers(turns: Iterable[Turn]) -> list[tuple[float, list[Paragraph]]]:
    answers = []
    for turn in turns:
        if turn.reply_start is None:
            continue
        if turn.outcome == "interrupted":
            rest = turn.reply.removeprefix(turn.spoken).strip()
            paragraphs = [(f"{turn.spoken} …", _BOT), (f"(not heard: {rest})", _FAINT)]
        else:
            paragraphs = [(turn.reply, _BOT)]
        answers.append((turn.reply_start, paragraphs))
    return sorted(answers)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same moments in spans that do not overlap."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            start, last = merged.pop()
            end = max(end, last)
        merged.append((start, end))
    return merged


def envelope(audio: AudioData, n_columns: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The times, lowest and highest samples of so many columns, or of each sample if fewer."""
    samples = audio.samples[:, 0]
    starts = np.unique(np.linspace(0, len(samples), n_columns, endpoint=False).astype(int))
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return starts / audio.sample_rate, low, high


class _Page:
    """The drawing's one pair of axes: seconds to the right, fractions of its height up."""

    def __init__(self, axes: Any, duration: float) -> None:
        axes.set(xlim=(0, duration), ylim=(0, 1), yticks=[])
        self._axes = axes
        self._duration = duration
        room = axes.get_window_extent()
        self._per_second: float = room.width / axes.figure.dpi * _DPI / duration  # px
        self._high: float = room.height / axes.figure.dpi * _DPI  # px
        # A canvas of its own measures words: the figure's may have no renderer yet, or another.
        canvas: Any = FigureCanvasAgg(Figure(dpi=_DPI))
        self._renderer = canvas.get_renderer()

    def title(self, headline: str, subtitle: str) -> None:
        wide = self._duration * self._per_second > 1000
        self._text(0, 1 + 57 / self._high, headline, size=17 if wide else 15, weight="bold")
        self._text(0, 1 + 26 / self._high, subtitle, color=_FAINT)

    def time_axis(self) -> None:
        axes = self._axes
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.spines["bottom"].set_color(_RULE)
        axes.tick_params(axis="x", color=_RULE, labelcolor=_FAINT, labelsize=10)
        every = next((n for n in (1, 2, 5, 10, 30, 60) if n * self._per_second >= 70), 300)
        axes.xaxis.set_major_locator(MultipleLocator(every))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} s")

    def lane(
        self,
        name: str,
        lane: Span,
        color: str,
        audio: AudioData,
        spans: Iterable[Span],
        peak: float,
    ) -> None:
        bottom, top = lane
        middle = (bottom + top) / 2
        for start, end in spans:
            self._shade(start, end, lane, color, 0.14 if peak else 0.4)
        self._axes.axhline(middle, color=color, linewidth=0.6, alpha=0.5)
        times, low, high = envelope(audio, round(self._duration * self._per_second))
        scale = 0.92 * (top - middle) / (peak or 1.0)
        self._axes.fill_between(
            times, middle + scale * low, middle + scale * high, color=color, linewidth=0.5
        )
        style = {"color": color, "size": 14, "weight": "bold"}
        self._text(-14 / self._per_second, middle, name, ha="right", va="center", **style)

    def numbers(self, turns: Iterable[Turn]) -> None:
        free = -np.inf  # from where on there is room
        for turn in turns:
            if turn.start >= free:
                style = {"color": _CALLER, "size": 12, "weight": "bold"}
                self._text(turn.start, _CALLER_LANE[1] + 0.01, f"{turn.number}", **style)
                free = turn.start + 24 / self._per_second

    def partials(self, recording: Recording) -> None:
        """A dot for each partial transcript, where the host had it."""
        times = [m.t for m in recording.moments if isinstance(m.event, PartialTranscript)]
        bottom = _CALLER_LANE[0] + 0.012
        self._axes.plot(times, [bottom] * len(times), "o", color=_CALLER, markersize=3.5)

    def holds(self, holds: Iterable[_Hold]) -> None:
        """Where the bot was held: a hatched gap, and what came of it."""
        bottom, top = _BOT_LANE
        for hold in holds:
            color, what = (_STOP, "stops") if hold.stopped else (_BOT, "goes on")
            corner, size = (hold.start, bottom), (hold.end - hold.start, top - bottom)
            gap = Rectangle(corner, *size, facecolor="none", edgecolor=color, lw=0.0, alpha=0.45)
            gap.set_hatch("////")
            self._axes.add_patch(gap)
            self._axes.plot([hold.end] * 2, [bottom, top], color=color, linewidth=1.4)
            label = f"{what} after {_duration(hold.end - hold.start)}"
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
            place = {"x": hold.end + 5 / self._per_second, "y": bottom + 0.012}
            self._text(**place, text=label, color=color, size=9, weight="bold", bbox=box)

    def words(self, labels: list[tuple[float, list[Paragraph]]], top: float, bottom: float) -> None:
        """Each label under its sound, in the width that the next one leaves to it."""
        ends = [start for start, _ in labels[1:]]
        ends.append(self._duration + _RIGHT / self._per_second)
        for (start, paragraphs), end in zip(labels, ends, strict=False):
            width = (end - start) * self._per_second - _GAP
            y = top
            for text, color in paragraphs:
                n_lines = int((y - bottom) * self._high / _LINE)
                for line in wrap(text, width, n_lines, self._measure):
                    self._text(start, y, line, va="top", color=color)
                    y -= _LINE / self._high

    def waits(self, turns: Iterable[Turn]) -> float:
        """Every wait as a bracket with its length; return how high they reach.

        Waits overlap where answers queue: these stand above each other.
        """
        waits = [(t.end, t.reply_start, t.latency) for t in turns if t.reply_start is not None]
        for start, end in _merged((start, end) for start, end, _ in waits):
            self._shade(start, end, (_BOT_LANE[0], _CALLER_LANE[1]), _WAIT, 0.09, zorder=-1)
        free = [-np.inf] * _N_WAIT_LEVELS  # from where on each level has room
        top = _WAITS
        for start, end, latency in waits:
            label = _duration(latency or 0.0)
            middle, half = (start + end) / 2, self._measure(label) / 2 / self._per_second
            left, right = min(start, middle - half), max(end, middle + half)
            level = next((n for n, after in enumerate(free) if left >= after), None)
            if level is None:
                continue  # the shade is there, and a label on top of another helps nobody
            free[level] = right + _GAP / 2 / self._per_second
            y = _WAITS + level * _WAIT_LEVEL / self._high
            top = max(top, y)
            self._bracket(start, end, y)
            self._text(middle, y + 9 / self._high, label, ha="center", color=_WAIT, weight="bold")
        return top + _WAIT_LEVEL / self._high

    def _bracket(self, start: float, end: float, y: float) -> None:
        style = "|-|,widthA=3.5,widthB=3.5"
        self._axes.add_patch(
            FancyArrowPatch(
                (start, y), (end, y), arrowstyle=style, shrinkA=0, shrinkB=0, color=_WAIT, lw=1.5
            )
        )

    def _shade(
        self, start: float, end: float, lane: Span, color: str, strength: float, zorder: float = 0
    ) -> None:
        # Opaque, because shades that shine through each other look like more than they are.
        tint = tuple(1 - strength * (1 - part) for part in to_rgb(color))
        corner, size = (start, lane[0]), (end - start, lane[1] - lane[0])
        self._axes.add_patch(Rectangle(corner, *size, color=tint, linewidth=0, zorder=zorder))

    def _text(self, x: float, y: float, text: str, **style: Any) -> None:
        # Without math: what people say may well hold a "$".
        style = {"color": _INK, "size": _SIZE, "clip_on": False, "parse_math": False} | style
        self._axes.text(x, y, text, **style)

    def _measure(self, text: str) -> float:
        font = FontProperties(size=_SIZE)
        with boxes_for_missing_glyphs():
            width: float = self._renderer.get_text_width_height_descent(text, font, False)[0]
        return width
