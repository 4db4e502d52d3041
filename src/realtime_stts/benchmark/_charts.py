"""A report and a comparison as pictures: made for a screen as narrow as a phone's."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import MissingExtraError
from ._compare import Comparison
from ._figures import Figure
from ._report import Report
from ._statistics import Change, interval, percentile, value
from ._table import quantity, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["draw", "draw_comparison"]

_DPI: Final = 150
_WIDTH: Final = 6.4  # inches: 960 px
_ROW: Final = 0.92  # inches
_TOP, _BOTTOM = 0.62, 0.28  # inches

# Colours that stay apart for colour-blind eyes (after Okabe and Ito, 2008).
_DOT, _VALUE, _TAIL = "#0072B2", "#1F2933", "#C2570C"
_INK, _FAINT, _RULE = "#1F2933", "#66727F", "#C9D0D8"
_OF_VERDICT: Final = {"better": "#0072B2", "worse": "#C2570C", "changed": _INK}  # else faint
_LEGEND: Final = "blue: better, orange: worse, black: changed, grey: no difference shown"

_ALIKE: Final = 8.0  # figures of one unit share an axis, if their largest are within this
_MOST_DOTS: Final = 2_000
_FARTHEST: Final = 16.0  # ratio; what lies beyond is drawn at the edge


def draw(report: Report, suite: str) -> bytes:
    """One suite as a PNG: each figure's samples, its value with the 95 % interval, its p95.

    Raises:
        ValueError: The report has no figure of that suite.
        MissingExtraError: matplotlib is not installed.
    """
    figures = shown(each for each in report.figures if each.suite == suite)
    if not figures:
        raise ValueError(f"the report has no figure of {suite!r}")
    height = _TOP + _BOTTOM + _ROW * len(figures)
    canvas = _canvas(height)
    _titled(canvas, suite, _source(report), height)
    for row, (figure, right) in enumerate(zip(figures, _limits(figures), strict=True)):
        top = height - _TOP - _ROW * row
        axes = canvas.add_axes((0.04, (top - 0.66) / height, 0.92, 0.24 / height))
        _strip(axes, figure, right)
    return _png(canvas)


def draw_comparison(comparison: Comparison) -> bytes:
    """What became of each figure that can be compared, as a PNG: ratios with their intervals.

    Raises:
        ValueError: No figure can be compared.
        MissingExtraError: matplotlib is not installed.
    """
    changes = [each for each in comparison.changes if each.ratio is not None]
    if not changes:
        raise ValueError("no figure of these reports can be compared")
    row = 0.44
    height = _TOP + 0.5 + row * len(changes)
    canvas = _canvas(height)
    _titled(canvas, "new / old", _LEGEND, height)
    axes = canvas.add_axes((0.04, 0.42 / height, 0.92, row * len(changes) / height))
    reach = _reach(changes)
    axes.set_xscale("log")
    axes.set_xlim(1 / reach, reach)
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.axvline(1.0, color=_INK, linewidth=1)
    for at, each in enumerate(changes):
        _ratio(axes, at, each, reach)
    ticks = [
        tick for tick in (1 / 8, 1 / 4, 1 / 2, 0.8, 1, 1.25, 2, 4, 8) if 1 / reach <= tick <= reach
    ]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    _bare(axes)
    return _png(canvas)


# -- one figure --------------------------------------------------------------------------


def _strip(axes: Any, figure: Figure, right: float) -> None:
    dots = _dots(figure)
    left = min(0.0, dots.min() * 1.04)
    axes.set_xlim(left, right)
    axes.set_ylim(-1, 1)
    spread = np.random.default_rng(0).uniform(-0.55, 0.55, dots.size)
    opacity = float(np.clip(12 / dots.size, 0.08, 0.6))
    axes.scatter(dots, spread, s=12, color=_DOT, alpha=opacity, linewidths=0, clip_on=False)
    now = value(figure)
    told = quantity(now, figure.unit)
    if sure := interval(figure):
        axes.plot(sure, (0, 0), color=_VALUE, linewidth=4, alpha=0.35, solid_capstyle="butt")
    axes.plot((now, now), (-0.95, 0.95), color=_VALUE, linewidth=2, clip_on=False)
    if figure.statistic == "p50" and len(figure.samples) > 1:
        tail = percentile(figure.samples, 95)
        axes.plot((tail, tail), (-0.95, 0.95), color=_TAIL, linewidth=2, clip_on=False)
        told = f"median {told}, p95 {quantity(tail, figure.unit)}"
    axes.locator_params(axis="x", nbins=5)
    axes.text(0, 1.25, figure.case, transform=axes.transAxes, color=_INK, fontsize=9.5)
    axes.text(
        1, 1.25, told, transform=axes.transAxes, color=_INK, fontsize=9.5, ha="right", weight="bold"
    )
    _bare(axes)


def _dots(figure: Figure) -> Any:
    """The samples; of a pooled rate each one's own. Of very many, some."""
    samples = np.array(figure.samples, np.float64)
    if figure.per is not None:
        per = np.array(figure.per, np.float64)
        samples = samples[per > 0] / per[per > 0]
    if samples.size > _MOST_DOTS:
        samples = np.random.default_rng(0).choice(samples, _MOST_DOTS, replace=False)
    return samples


def _limits(figures: Sequence[Figure]) -> list[float]:
    """Where each figure's axis ends: those of one unit and size share it."""
    largest = [max(float(_dots(each).max()), 0.0) for each in figures]
    return [
        1.04
        * max(
            other
            for figure, other in zip(figures, largest, strict=True)
            if figure.unit == each.unit and other <= own * _ALIKE and own <= other * _ALIKE
        )
        or 1.0
        for each, own in zip(figures, largest, strict=True)
    ]


# -- one change --------------------------------------------------------------------------


def _ratio(axes: Any, at: int, change: Change, reach: float) -> None:
    colour = _OF_VERDICT.get(change.verdict, _FAINT)
    low, middle, high = (
        min(max(each or 0.0, 1 / reach), reach) for each in (change.low, change.ratio, change.high)
    )
    axes.plot((low, high), (at + 0.22, at + 0.22), color=colour, linewidth=3)
    axes.plot(middle, at + 0.22, "o", color=colour, markersize=6)
    axes.text(
        0, at - 0.12, f"{change.suite}: {change.case}", transform=axes.get_yaxis_transform(),
        color=_INK, fontsize=8.5,
    )  # fmt: skip
    told = f"{quantity(change.old, change.unit)} → {quantity(change.new, change.unit)}"
    axes.text(
        1, at - 0.12, told, transform=axes.get_yaxis_transform(),
        color=colour, fontsize=8.5, ha="right", weight="bold",
    )  # fmt: skip


def _reach(changes: Sequence[Change]) -> float:
    """How far the axis goes to both sides: as far as anything lies, within reason."""
    ends = (each for change in changes for each in (change.low, change.high))
    known = [each for each in ends if each is not None and isfinite(each) and each > 0]
    farthest = max((max(each, 1 / each) for each in known), default=1.0)
    return min(max(1.3, farthest * 1.05), _FARTHEST)


# -- the canvas --------------------------------------------------------------------------


def _canvas(height: float) -> Canvas:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as exc:
        raise MissingExtraError("The charts of a benchmark", "bench") from exc
    canvas = Canvas(figsize=(_WIDTH, height), dpi=_DPI)
    FigureCanvasAgg(canvas)  # no display, no global state
    return canvas


def _titled(canvas: Canvas, title: str, subtitle: str, height: float) -> None:
    canvas.text(0.04, 1 - 0.24 / height, title, fontsize=13, weight="bold", color=_INK)
    canvas.text(0.04, 1 - 0.45 / height, subtitle, fontsize=8, color=_FAINT)


def _source(report: Report) -> str:
    cpu, cores = report.machine.get("cpu"), report.machine.get("cores")
    return f"{report.options.stt}, {report.options.tts}; {cpu}, {cores} cores"


def _bare(axes: Any) -> None:
    axes.set_yticks([])
    axes.set_facecolor("none")
    axes.tick_params(labelsize=8, colors=_FAINT, length=2, pad=2)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)


def _png(canvas: Canvas) -> bytes:
    png = BytesIO()
    canvas.savefig(png, format="png", facecolor="white")
    return png.getvalue()
