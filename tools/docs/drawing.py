"""Boxes and arrows as SVG, in the colours of the page that shows them.

Everything is drawn on a grid of cells, so a drawing is a list of what stands where. An SVG that
is an image of its own cannot see the page's colours; these follow what the reader's system asks
for, light or dark, on a ground of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Arrow", "Box", "Label", "svg"]

_STYLE = """
  .ground { fill: #ffffff }
  .box { fill: #eef3f8; stroke: #4a6785; stroke-width: 1.4 }
  .own { fill: #dbe9f6; stroke: #0072b2 }
  .note { fill: none; stroke: #98a4b0; stroke-dasharray: 4 3 }
  .line { fill: none; stroke: #4a6785; stroke-width: 1.6 }
  .head { fill: #4a6785 }
  text { font: 14px "DejaVu Sans", "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2933 }
  .title { font-weight: bold }
  .small { font-size: 12px; fill: #52606d }
  .mono { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12.5px }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1c2229 }
    .box { fill: #2a333d; stroke: #8fa6bd }
    .own { fill: #1f3d55; stroke: #5fb0e5 }
    .line { stroke: #8fa6bd }
    .head { fill: #8fa6bd }
    text { fill: #e4e9ee }
    .small { fill: #aab6c2 }
  }
"""
_LINE = 18  # px between two lines of text


@dataclass(frozen=True, slots=True)
class Box:
    """A box with a title and what is said below it; ``kind`` is a class of the style."""

    x: float
    y: float
    width: float
    height: float
    title: str
    lines: tuple[str, ...] = ()
    kind: str = ""
    round: float = 6


@dataclass(frozen=True, slots=True)
class Label:
    """Text alone."""

    x: float
    y: float
    text: str
    kind: str = "small"
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow along points, with words beside its middle."""

    points: tuple[tuple[float, float], ...]
    label: str = ""
    at: tuple[float, float] | None = None  # where the words stand; by default over the middle
    anchor: str = "middle"


def svg(width: float, height: float, title: str, parts: Iterable[Box | Label | Arrow]) -> str:
    """The drawing, with a title for who cannot see it."""
    drawn = "\n".join(map(_drawn, parts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0L8 4L0 8z"/>'
        "</marker></defs>\n"
        f'<rect class="ground" width="{width:g}" height="{height:g}" rx="8"/>\n{drawn}\n</svg>\n'
    )


def _drawn(part: Box | Label | Arrow) -> str:
    match part:
        case Box():
            return _box(part)
        case Label(x, y, text, kind, anchor):
            return _text(x, y, text, kind, anchor)
        case Arrow():
            return _arrow(part)


def _box(box: Box) -> str:
    n_lines = len(box.lines) + bool(box.title)
    first = box.y + box.height / 2 - (n_lines - 1) * _LINE / 2 + 5
    middle = box.x + box.width / 2
    rect = (
        f'<rect class="box {box.kind}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="{box.round:g}"/>'
    )
    texts = [_text(middle, first, box.title, "title")] if box.title else []
    for n, line in enumerate(box.lines, start=bool(box.title)):
        texts.append(_text(middle, first + n * _LINE, line, "small"))
    return "\n".join([rect, *texts])


def _arrow(arrow: Arrow) -> str:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in arrow.points)
    line = f'<path class="line" d="{path}" marker-end="url(#head)"/>'
    if not arrow.label:
        return line
    (x1, y1), (x2, y2) = arrow.points[:2]
    x, y = arrow.at or ((x1 + x2) / 2, (y1 + y2) / 2 - 7)
    words = [
        _text(x, y + n * 15, text, "small", arrow.anchor)
        for n, text in enumerate(arrow.label.split("\n"))
    ]
    return "\n".join([line, *words])


def _text(x: float, y: float, text: str, kind: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
