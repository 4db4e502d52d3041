"""Charts of sound and of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Final, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from ...audio import AudioData
from ._picture import FAINT, INK, Picture, axes_of, tidy
from ._timeline import envelope

__all__ = ["Timed", "draw_latencies", "draw_spectrogram", "draw_waveform"]

_SOUND: Final = "#0072B2"
_N_COLUMNS: Final = 1200  # of a waveform or spectrogram: more than a screen shows
_WINDOW: Final = 0.025  # s; resolves the harmonics of most voices and the syllables of all
_HOP: Final = 0.005  # s, at least, between two windows
_NAME: Final = 28  # characters of a name in a line
_N_DOTS: Final = 2000  # of a chart of latencies, for each name
_WIDE: Final = 30.0  # times the shortest: from there on only a logarithm shows both


class Timed(Protocol):
    """A word with its place in the sound: `TranscriptionWord`, `TranscriptionSegment`."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


def draw_waveform(
    audio: AudioData, words: Sequence[Timed], title: str | None, ax: Axes | None
) -> Axes | Picture:
    pcm = audio.decoded()
    axes, result = axes_of(ax, 1.6 + 0.8 * pcm.channels)
    duration = max(pcm.duration_seconds, 1 / pcm.sample_rate)
    for channel, samples in enumerate(pcm.samples.T):
        base = -2.1 * channel  # from -1 to 1, and a gap
        if len(samples):
            one = AudioData.from_samples(samples, pcm.sample_rate, "pcm_f32le")
            times, low, high = envelope(one, _N_COLUMNS)
            axes.fill_between(times, base + low, base + high, color=_SOUND, linewidth=0.5)
        axes.axhline(base, color=_SOUND, linewidth=0.6, alpha=0.5)
    top = 1.6 if words else 1.05
    axes.set(xlim=(0, duration), ylim=(-2.1 * (pcm.channels - 1) - 1.05, top))
    many = pcm.channels > 1
    tidy(axes, title, "time (s)", "" if many else "amplitude (full scale = 1)")
    if many:
        names = [f"channel {n}" for n in range(1, pcm.channels + 1)]
        axes.set_yticks([-2.1 * n for n in range(pcm.channels)], names)
    else:
        axes.set_yticks([-1, 0, 1])
    _write_words(axes, words, duration)
    return result


def _write_words(axes: Axes, words: Sequence[Timed], duration: float) -> None:
    """Each word above its sound, if it has room there; lines where words begin."""
    room = axes.get_window_extent().width / axes.figure.dpi * 72 / duration  # pt in a second
    free = 0.0
    for number, word in enumerate(words):
        shade = 0.08 if number % 2 else 0.16
        axes.axvspan(word.start, word.end, color=_SOUND, alpha=shade, linewidth=0)
        middle, half = (word.start + word.end) / 2, (5.2 * len(word.text) + 4) / 2 / room
        if middle - half >= free or not free:
            axes.text(middle, 1.12, word.text, ha="center", color=INK, fontsize=9, parse_math=False)
            free = middle + half


def draw_spectrogram(
    audio: AudioData, max_frequency: float, dynamic_range: float, title: str | None, ax: Axes | None
) -> Axes | Picture:
    pcm = audio.mono()
    axes, result = axes_of(ax, 3.2, sharp=1)  # noise makes large images
    top = min(max_frequency, pcm.sample_rate / 2)
    levels, size = _levels(pcm, dynamic_range)
    n_bins = round(top / pcm.sample_rate * size) + 1
    image = axes.imshow(
        levels[:n_bins],
        origin="lower",
        aspect="auto",
        cmap="cividis",
        vmin=-dynamic_range,
        vmax=0.0,
        extent=(0.0, max(pcm.duration_seconds, _WINDOW), 0.0, top / 1000),
    )
    tidy(axes, title, "time (s)", "frequency (kHz)")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("level (dB, 0 is the loudest)", color=FAINT)
    bar.ax.tick_params(labelcolor=FAINT, labelsize=9)
    return result


def _levels(pcm: AudioData, dynamic_range: float) -> tuple[NDArray[np.float64], int]:
    """Shape (bins, windows): dB relative to the loudest; and the samples of a window."""
    size = round(_WINDOW * pcm.sample_rate)
    samples = pcm.samples[:, 0].astype(np.float64)
    samples = np.pad(samples, (size // 2, size // 2 + max(0, size - len(samples))))
    hop = max(round(_HOP * pcm.sample_rate), len(samples) // _N_COLUMNS)
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) ** 2
    loudest = max(float(power.max()), 1e-12)
    floor = loudest * 10 ** (-dynamic_range / 10)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, floor) / loudest)
    return levels.T, size


def draw_latencies(
    timings: Mapping[str, Iterable[float]],
    what: str,
    unit: str | None,
    log: bool | None,
    title: str | None,
    ax: Axes | None,
) -> Axes | Picture:
    times = {name: np.sort(np.fromiter(each, float)) for name, each in timings.items()}
    _check(times)
    everything = np.concatenate([*times.values()])
    lowest, highest = float(everything.min()), float(everything.max())
    if log is None:
        log = lowest > 0 and highest > _WIDE * lowest
    elif log and lowest <= 0:
        raise ValueError("a logarithm shows no time of 0 s: leave out log=True")
    axes, result = axes_of(ax, 1.1 + 0.55 * len(times))
    scale = 1.0
    if unit is None:
        scale, unit = (1e3, "ms") if highest < 1.0 else (1.0, "s")
    names = [*times]
    for row, name in enumerate(names):
        _strip(axes, row, times[name] * scale, unit)
    axes.set_yticks(range(len(names)), [fill(name, _NAME) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, highest * scale * 1.05 or 1.0)
    told = ", ".join(filter(None, (unit, "logarithmic" if log else "")))
    tidy(axes, title, f"{what} ({told})" if told else what, "")
    for label in axes.get_yticklabels():
        label.set(color=INK, fontsize=10, parse_math=False)
    return result


def _check(times: Mapping[str, NDArray[np.float64]]) -> None:
    if not times:
        raise ValueError("there is nothing to draw: no timings")
    for name, each in times.items():
        if not len(each):
            raise ValueError(f"{name!r} has no times")
        if not np.isfinite(each).all() or each[0] < 0:
            raise ValueError(f"times are seconds from 0 on; {name!r} has others")


def _strip(axes: Axes, row: int, times: NDArray[np.float64], unit: str) -> None:
    """A dot for each time, and a box from the quarter to three quarters around the median."""
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    late = times[max(int(np.ceil(0.95 * len(times))) - 1, 0)]  # by nearest rank
    dots = times[:: max(1, len(times) // _N_DOTS)]
    scatter = np.random.RandomState(0).uniform(-0.13, 0.13, len(dots))
    axes.plot(dots, row + scatter, "o", color=_SOUND, markersize=4, alpha=0.45, markeredgewidth=0)
    axes.fill_betweenx([row - 0.2, row + 0.2], low, high, color=_SOUND, alpha=0.18, linewidth=0)
    axes.plot([median, median], [row - 0.2, row + 0.2], color="#B35900", linewidth=2)
    most = f"{late:.3g} {unit}".rstrip()
    label = f"median {median:.3g}, 95 % within {most}, n = {len(times)}"
    axes.text(
        1.0, row - 0.26, label, color=FAINT, fontsize=8.5, ha="right", va="bottom",
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip
