"""A figure that a notebook shows, and that nothing keeps once it is let go."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ._glyphs import boxes_for_missing_glyphs

__all__ = ["FAINT", "INK", "RULE", "Picture", "axes_of", "tidy"]

INK, FAINT, RULE = "#1F2933", "#66727F", "#C9D0D8"

_DPI = 100
_SHARP = 2  # pixels of the image for each that it is shown with: many screens have as many


class Picture(Figure):
    """A matplotlib figure that ``pyplot`` does not know: a cell whose value it is shows it,
    once, and `savefig` writes it to a file.
    """

    def __init__(
        self, width: float = 9.0, height: float = 3.0, sharp: int = _SHARP, **options: Any
    ) -> None:
        super().__init__(figsize=(width, height), dpi=_DPI, **options)
        self._sharp = sharp
        FigureCanvasAgg(self)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = BytesIO()
        with boxes_for_missing_glyphs():
            self.savefig(png, format="png", dpi=self._sharp * _DPI, facecolor="white")
        width, height = self.get_size_inches() * _DPI
        return png.getvalue(), {"width": round(width), "height": round(height)}


def axes_of(ax: Axes | None, height: float, sharp: int = _SHARP) -> tuple[Axes, Axes | Picture]:
    """Where to draw, and what to return: the caller's axes, or a picture of our own."""
    if ax is not None:
        return ax, ax
    picture = Picture(height=height, sharp=sharp, layout="constrained")
    return picture.add_subplot(), picture


def tidy(axes: Axes, title: str | None, x: str, y: str) -> None:
    """Name the axes and take away the lines that say nothing."""
    axes.set_xlabel(x, color=FAINT)
    axes.set_ylabel(y, color=FAINT)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=12, parse_math=False)
    axes.spines[["right", "top"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(RULE)
    axes.tick_params(which="both", color=RULE, labelcolor=FAINT, labelsize=9)
