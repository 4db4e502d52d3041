"""Perth's watermark on a stream: what marks a whole clip, made while the sound comes.

Perth (Resemble AI, 1.0.1) moves the levels of a spectrum below 2 kHz by what a small
convolutional network makes of them, in frames of 64 ms every 10 ms. The network sees 15
frames to each side, so a sample's mark is known once 214 ms after it have been heard, and no
later sound changes it: streamed, it is the mark of the clip.

Two things differ from `perth.PerthImplicitWatermarker.apply_watermark`, and neither can be
heard. Frames are cut at the sound's own rate, with the same span and the same frequencies,
where Perth resamples to 32 kHz; and the mark is added to the sound, where Perth makes the
sound anew from its spectrum and loses what resampling loses, and up to 10 ms of its end.
Perth leaves frames unmarked whose level is under 5 % of the loudest frame's, on a scale that
begins at digital silence; here it is the loudest so far, so as not to wait for the end.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...errors import EngineLoadError, MissingExtraError

try:
    import torch
    import torch.nn.functional as F
except ImportError as exc:
    raise MissingExtraError("Chatterbox", "chatterbox") from exc

__all__ = ["Marker", "Marking"]

_HEADROOM: Final = 15.0  # dB over 0 on Perth's scale of levels
_SILENT: Final = 0.05  # of the loudest frame's level
_SURE: Final = 0.9  # confidence at which the mark is there; Perth itself rounds at a half


class Marker:
    """Perth's network, loaded once; the streams of any threads share it.

    Args:
        sample_rate: Hz of what is marked; a whole number of samples in 10 and in 64 ms.

    Raises:
        MissingExtraError: Perth is not installed, or cannot start beside this setuptools.
        EngineLoadError: Its network cannot be read, or does not mark.
    """

    def __init__(self, sample_rate: int = 24_000) -> None:
        self.sample_rate = sample_rate
        self._perth = _load()
        net = self._perth.perth_net
        hp = net.hp
        self.hop = hp.hop_size * sample_rate // hp.sample_rate
        self.width = hp.n_fft * sample_rate // hp.sample_rate  # of a frame, in samples
        if self.hop * hp.sample_rate != hp.hop_size * sample_rate or self.width % 2:
            raise ValueError(f"sound of {sample_rate} Hz cannot be marked")
        self.window = np.hanning(self.width + 1)[:-1]
        # A sum over a frame grows with its samples; Perth's has more of them.
        self.scale = hp.n_fft / self.width
        self.floor = hp.stft_magnitude_min
        self.range_db = _HEADROOM - 20.0 * np.log10(self.floor)
        self.n_bins = net.subband
        self.convolutions = [(layer.conv, layer.act or None) for layer in net.encoder.layers]
        n_ahead = sum(conv.padding[0] for conv, _ in self.convolutions)
        # Half a frame after the last one that the network sees of the last one that counts.
        self._n_held = self.width + n_ahead * self.hop - 1
        self._check()

    @property
    def hold_back(self) -> float:
        """Seconds of sound that a stream keeps at most, 0.214."""
        return float(self._n_held / self.sample_rate)

    def stream(self) -> Marking:
        """Marks one stream, from its beginning to its end."""
        return Marking(self)

    def mark(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """A whole clip, of shape (n,), marked."""
        marking = self.stream()
        return np.concatenate([marking.feed(samples), marking.finish()])

    def confidence(self, samples: NDArray[np.float32]) -> float:
        """How sure Perth's detector is, in [0, 1], that ``samples`` of shape (n,) are marked.

        Raises:
            ValueError: They are shorter than half of a frame, 32 ms.
        """
        if samples.size <= self.width // 2:
            raise ValueError(f"a mark is looked for in more than {self.width // 2} samples")
        if not samples.any():
            return 0.0  # Perth divides by what is not silent
        with torch.inference_mode():
            found = self._perth.get_watermark(samples, self.sample_rate, round=False)
        return float(np.squeeze(found))

    def _check(self) -> None:
        """Mark a hum of many partials, and find it marked."""
        time = np.arange(self.sample_rate) / self.sample_rate
        hum = sum(np.sin(2 * np.pi * 120.0 * n * time + n * n) / n for n in range(1, 40))
        sound = (0.1 * hum * (1.0 + np.sin(2 * np.pi * 4.0 * time))).astype(np.float32)
        if not self.confidence(self.mark(sound)) >= _SURE:  # NaN is not, either
            raise EngineLoadError("chatterbox", "Perth's watermark is not found where it is put")


class Marking:
    """One stream being marked: float32 samples of shape (n,) in, as many out in all.

    However the stream is cut, what comes out is the same but for the rounding of sums.
    """

    def __init__(self, marker: Marker) -> None:
        self._marker = marker
        self._layers = [_Layer(*convolution) for convolution in marker.convolutions]
        empty = np.zeros(0, np.float32)
        self._clean = empty  # samples that are still to go out
        self._framed = empty  # samples from the start of the next frame on
        self._begun = False
        self._loudest = 0.0
        self._spectra = np.zeros((0, marker.n_bins), np.complex128)  # waiting for the network
        # The sum of the marked frames from the start of the next one on, and of their weights.
        self._sum = np.zeros(marker.width)
        self._weight = np.zeros(marker.width)
        self._n_skip = marker.width // 2  # what is before the stream's first sample

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples; returns those of the stream whose marks are known now."""
        samples = np.asarray(samples, np.float32)
        self._clean = np.concatenate([self._clean, samples])
        self._framed = np.concatenate([self._framed, samples])
        half = self._marker.width // 2
        if not self._begun:
            if self._framed.size <= half:
                return samples[:0]
            # As Perth does, what is before the beginning is its reflection.
            self._framed = np.concatenate([self._framed[half:0:-1], self._framed])
            self._begun = True
        return self._out(self._mark(self._frames(), last=False))

    def finish(self) -> NDArray[np.float32]:
        """The rest of the stream, which has ended."""
        half, rest = self._marker.width // 2, self._clean.size
        if not rest:
            return self._clean
        parts = []
        if not self._begun:  # shorter than what is reflected: lengthened by silence
            parts.append(self.feed(np.zeros(half + 1 - rest, np.float32)))
        end = self._framed[-2 : -half - 2 : -1]
        self._framed = np.concatenate([self._framed, end])
        parts.append(self._out(self._mark(self._frames(), last=True)))
        tail = np.divide(self._sum, self._weight, where=self._weight > 0, out=self._sum)
        parts.append(self._out(tail))
        return np.concatenate(parts)[:rest]

    def _frames(self) -> NDArray[np.complex128]:
        """The spectra of the frames that are complete, of shape (frames, bins)."""
        marker = self._marker
        if self._framed.size < marker.width:
            return np.zeros((0, marker.width // 2 + 1), np.complex128)
        frames = sliding_window_view(self._framed, marker.width)[:: marker.hop]
        self._framed = self._framed[len(frames) * marker.hop :]
        spectra: NDArray[np.complex128] = np.fft.rfft(frames * marker.window)
        return spectra

    def _mark(self, spectra: NDArray[np.complex128], *, last: bool) -> NDArray[np.float64]:
        """The mark of the samples that no later frame reaches."""
        marker = self._marker
        level = np.maximum(np.abs(spectra) * marker.scale, marker.floor)
        level = 1.0 + (20.0 * np.log10(level) - _HEADROOM) / marker.range_db
        loudness = level.sum(axis=1)
        loudest = np.maximum.accumulate(np.append(self._loudest, loudness))
        self._loudest = float(loudest[-1])
        audible = loudness > _SILENT * loudest[1:]
        # An inaudible frame waits with a spectrum of nothing, and is marked with nothing.
        waiting = np.where(audible[:, np.newaxis], spectra[:, : marker.n_bins], 0.0)
        self._spectra = np.concatenate([self._spectra, waiting])

        change = self._change(level[:, : marker.n_bins], last)
        ready, self._spectra = np.split(self._spectra, [len(change)])
        marks = np.fft.irfft(
            ready * (10.0 ** (change * (marker.range_db / 20.0)) - 1.0), marker.width
        )
        return self._added(marks * marker.window)

    def _change(self, level: NDArray[np.float64], last: bool) -> NDArray[np.float32]:
        """What the network adds to the levels of the frames whose neighbours are known."""
        with torch.inference_mode():
            frames = torch.from_numpy(level.T[np.newaxis].astype(np.float32))
            for layer in self._layers:
                frames = layer(frames, last)
            change: NDArray[np.float32] = frames[0].T.numpy()
        return change

    def _added(self, marks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Frames of shape (frames, width) overlapped and added, as far as they are complete."""
        marker = self._marker
        hop, n_done = marker.hop, len(marks) * marker.hop
        total = np.concatenate([self._sum, np.zeros(n_done)])
        weight = np.concatenate([self._weight, np.zeros(n_done)])
        for start, frame in zip(range(0, n_done, hop), marks, strict=True):
            total[start : start + marker.width] += frame
            weight[start : start + marker.width] += marker.window**2
        self._sum, self._weight = total[n_done:], weight[n_done:]
        done, norm = total[:n_done], weight[:n_done]
        mark: NDArray[np.float64] = np.divide(done, norm, where=norm > 0.0, out=np.zeros(n_done))
        return mark

    def _out(self, mark: NDArray[np.float64]) -> NDArray[np.float32]:
        mark, self._n_skip = mark[self._n_skip :], max(self._n_skip - mark.size, 0)
        clean, self._clean = np.split(self._clean, [min(mark.size, self._clean.size)])
        marked: NDArray[np.float32] = (clean + mark[: clean.size]).astype(np.float32)
        return marked


class _Layer:
    """One convolution over frames that come a few at a time, with zeros around them all."""

    def __init__(self, conv: Any, activation: Any) -> None:
        self._conv, self._activation = conv, activation
        self._n_pad = conv.padding[0]
        self._tail = torch.zeros(1, conv.in_channels, self._n_pad)

    def __call__(self, frames: torch.Tensor, last: bool) -> torch.Tensor:
        """Frames of shape (1, channels, n) to those that are known now; ``last`` ends it."""
        if last:
            frames = F.pad(frames, (0, self._n_pad))
        frames = torch.cat([self._tail, frames], dim=2)
        n_frames, n_kept = frames.shape[2], 2 * self._n_pad
        self._tail = frames[:, :, max(n_frames - n_kept, 0) :]
        if n_frames <= n_kept:
            return torch.zeros(1, self._conv.out_channels, 0)
        out = F.conv1d(frames, self._conv.weight, self._conv.bias)
        return out if self._activation is None else self._activation(out)


def _load() -> Any:
    """A `perth.PerthImplicitWatermarker`, made from its parts because its own way prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, which Perth needs, is deprecated
        try:
            import perth
        except ImportError as exc:
            raise MissingExtraError("Perth's watermark", "chatterbox") from exc
        if perth.PerthImplicitWatermarker is None:
            # Perth hides why: what it imports is gone from setuptools 81.
            raise MissingExtraError(
                "Perth's watermark", "chatterbox", remedy='pip install "setuptools<81"'
            )
        try:
            from perth.perth_net import PREPACKAGED_MODELS_DIR
            from perth.perth_net.perth_net_implicit.checkpoint_manager import CheckpointManager
            from perth.perth_net.perth_net_implicit.model.perth_net import PerthNet

            saved = CheckpointManager(PREPACKAGED_MODELS_DIR, "implicit")
            net = PerthNet(saved.hp)
            net.load_state_dict(saved.load_latest()["model"])
            net.eval().requires_grad_(False)
            return perth.PerthImplicitWatermarker(run_name=None, perth_net=net)
        except Exception as exc:
            raise EngineLoadError("chatterbox", f"Perth's network cannot be read: {exc}") from exc
