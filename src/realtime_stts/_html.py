"""PURE: values as small HTML, for notebooks.

No script, no style sheet and no colour of its own for text or ground: what is drawn takes
the page's colour (``currentColor``), so that it reads in light and in dark. Whatever is
text is escaped: transcripts, answers and names come from models and from strangers.
Seconds are floats.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape as _escaped
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "audio",
    "duration",
    "exchange",
    "facts",
    "layers",
    "never_raising",
    "paragraph",
    "share_of_time",
    "stack",
    "statistics",
    "table",
    "transcription",
    "waveform",
]

# Colours that stay apart for colour-blind eyes, on light and on dark (after Okabe and Ito, 2008).
_HUES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_WIDTH, _HEIGHT, _N_COLUMNS = 480, 56, 240  # px, px, strokes of the waveform
_N_ROWS: Final = 200  # of a table: a longer one says how many more there are
_N_OPEN: Final = 15  # rows that are shown without being asked for
_FAINT: Final = "opacity:.75;font-size:.9em"
_CELL: Final = "padding:1px 10px 1px 0;text-align:{};font-variant-numeric:tabular-nums"


def never_raising(build: Callable[[], str], value: object) -> str:
    """What ``build`` makes; if that fails, the value's ``repr``: a picture breaks no cell."""
    try:
        return build()
    except Exception:  # noqa: BLE001 - it may be any: the value may hold anything
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001
            text = f"<{type(value).__name__}>"
        return f"<code>{_text(text)}</code>"


def stack(*parts: str) -> str:
    """One below the other; an empty one takes no room."""
    rows = "".join(f'<div style="margin:2px 0">{part}</div>' for part in parts if part)
    return f'<div style="max-width:720px">{rows}</div>'


def paragraph(text: str, label: str = "", rest: str = "") -> str:
    """A text, who it is of, and what of it does not count, which is fainter."""
    who = f'<span style="{_FAINT}">{_text(label)}&ensp;</span>' if label else ""
    faint = f'<span style="opacity:.55">{_text(rest)}</span>' if rest else ""
    return f'{who}<span style="white-space:pre-wrap">{_text(text)}{faint}</span>'


def facts(*each: str | None) -> str:
    """A line of short facts; None is none."""
    line = " · ".join(_text(fact) for fact in each if fact is not None)
    return f'<span style="{_FAINT}">{line}</span>' if line else ""


def duration(seconds: float) -> str:
    """``250 ms``, ``1.50 s`` or ``2 min 05 s``."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], summary: str = "", n_rows: int = 0
) -> str:
    """A table whose first column is words and whose others are numbers.

    Args:
        head: What the columns are called.
        rows: One string for each column; after 200 of them, how many more there are.
        summary: If given, the table folds under it, and is open while it is short.
        n_rows: How many rows there are.
    """
    kept = [*islice(rows, _N_ROWS)]
    body = [_row("td", row) for row in kept]
    if n_rows > len(kept):
        body.append(_row("td", [f"… {n_rows - len(kept)} more", *[""] * (len(head) - 1)]))
    style = "border-collapse:collapse;font-size:.9em;margin:2px 0"
    drawn = f'<table style="{style}">{_row("th", head)}{"".join(body)}</table>'
    if not summary:
        return drawn
    is_open = " open" if n_rows <= _N_OPEN else ""
    return (
        f'<details{is_open}><summary style="{_FAINT}">{_text(summary)}</summary>{drawn}</details>'
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    drawn = [
        f'<{tag} style="{_CELL.format("right" if column else "left")}">{_text(cell)}</{tag}>'
        for column, cell in enumerate(cells)
    ]
    return f'<tr style="background:none">{"".join(drawn)}</tr>'


def _text(text: str) -> str:
    """Escaped; half a surrogate pair, which no page can hold, becomes a question mark."""
    return _escaped(text.encode("utf-8", "replace").decode())


# -- sound ---------------------------------------------------------------------------------


def audio(samples: NDArray[np.float32], wav: bytes | None, *told: str | None) -> str:
    """A player, the waveform and a line of facts.

    Args:
        samples: Shape (frames, channels), in [-1, 1].
        wav: What is played; None for no player.
        told: The facts, and why there is no player.
    """
    player = ""
    if wav is not None:
        data = base64.b64encode(wav).decode()
        player = (
            f'<audio controls style="width:{_WIDTH}px;max-width:100%" '
            f'src="data:audio/wav;base64,{data}"></audio>'
        )
    return stack(player, waveform(samples), facts(*told))


def waveform(samples: NDArray[np.float32]) -> str:
    """The outline of the sound, all channels in one; "" for no samples."""
    n_frames = len(samples)
    if not n_frames:
        return ""
    starts = np.unique(np.linspace(0, n_frames, _N_COLUMNS, endpoint=False).astype(int))
    middle = _HEIGHT / 2
    high = middle - (middle - 1) * np.maximum.reduceat(samples.max(axis=1), starts)
    low = middle - (middle - 1) * np.minimum.reduceat(samples.min(axis=1), starts)
    x = starts / n_frames * _WIDTH
    strokes = "".join(
        f"M{left:.1f} {top:.1f}V{bottom + 0.8:.1f}"
        for left, top, bottom in zip(x, high, low, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'style="max-width:100%" role="img" aria-label="waveform">'
        f'<path d="M0 {middle}H{_WIDTH}" stroke="currentColor" stroke-opacity=".25"/>'
        f'<path d="{strokes}" stroke="currentColor" stroke-width="1.3" stroke-opacity=".7"/></svg>'
    )


# -- words ---------------------------------------------------------------------------------


def transcription(
    text: str, committed: str, told: Iterable[str | None], words: Sequence[Any]
) -> str:
    """What was understood, with the time of each word (``text``, ``start``, ``end``,
    ``confidence``). Of a partial result, what may still change is fainter.
    """
    settled = committed if text.startswith(committed) else ""
    said = paragraph(settled, rest=text[len(settled) :]) if text else facts("(no words)")
    rows = ((word.text, *_times(word)) for word in words)
    head = ("word", "from", "to", "confidence")
    timed = table(head, rows, f"{len(words)} timed words", len(words)) if words else ""
    return stack(said, facts(*told), timed)


def _times(word: Any) -> Iterator[str]:
    yield f"{word.start:.2f} s"
    yield f"{word.end:.2f} s"
    yield "" if word.confidence is None else f"{word.confidence:.2f}"


def exchange(user: str, reply: str, heard: str, *told: str | None) -> str:
    """A question and its answer; what of the answer was not heard is fainter."""
    begun = heard if reply.startswith(heard) else ""
    rest = reply[len(begun) :]
    answer = paragraph(begun, "bot", rest) if reply else facts("no answer")
    other = paragraph(heard, "heard") if heard and not begun else ""
    unheard = f"{len(rest.split())} words of the answer were not heard" if rest.strip() else None
    return stack(paragraph(user or "(no words)", "user"), answer, other, facts(*told, unheard))


# -- time ----------------------------------------------------------------------------------


def share_of_time(parts: Iterable[tuple[str, float | None]], total: float | None) -> str:
    """A bar of where the time went, and its parts; those that are None did not happen."""
    known = [(name, max(seconds, 0.0)) for name, seconds in parts if seconds is not None]
    whole = sum(seconds for _, seconds in known)
    pieces, names = [], []
    for n, (name, seconds) in enumerate(known):
        hue = _HUES[n % len(_HUES)]
        if seconds:
            pieces.append(
                f'<div style="width:{100 * seconds / whole:.2f}%;background:{hue}"></div>'
            )
        names.append(
            f'<span style="white-space:nowrap;margin-right:14px"><span style="display:inline-block;'
            f'width:9px;height:9px;background:{hue};margin-right:4px"></span>'
            f"{_text(name)} {duration(seconds)}</span>"
        )
    frame = f"display:flex;width:{_WIDTH}px;max-width:100%;height:12px"
    bar = f'<div style="{frame}">{"".join(pieces)}</div>' if pieces else ""
    legend = f'<div style="font-size:.9em">{" ".join(names)}</div>'
    told = "no answer was heard" if total is None else f"first sound after {duration(total)}"
    return stack(facts(told), bar, legend)


def statistics(rows: Iterable[tuple[str, Any]], *told: str) -> str:
    """Distributions of milliseconds (``average``, ``p50``, ``p90``, ``p95``, ``p99``, ``max``)."""
    columns = ("average", "p50", "p90", "p95", "p99", "max")
    numbers = ((name, *(f"{getattr(row, key):,.1f}" for key in columns)) for name, row in rows)
    return stack(facts(*told), table(("ms", *columns), numbers))


# -- structure -----------------------------------------------------------------------------


def layers(names: Sequence[str], core: str) -> str:
    """Boxes in boxes, the first name outermost, around ``core``."""
    box = "display:inline-block;border:1px solid currentColor;border-radius:5px;padding:3px 8px 6px"
    opened = "".join(
        f'<div style="{box}"><div style="font-size:.85em">{_text(name)}</div>' for name in names
    )
    inner = f'<div style="{box};border-width:2px;padding-bottom:3px"><b>{_text(core)}</b></div>'
    return f'<div style="overflow-x:auto">{opened}{inner}{"</div>" * len(names)}</div>'
