"""The log-mel spectrogram, without paying for silence, and as the sound comes in.

openai-whisper appends 30 seconds of zeros to a clip before it transforms it; what those
frames hold is known beforehand. The values are those of its `log_mel_spectrogram`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, log_mel_spectrogram, mel_filters

__all__ = ["FRAMES_PER_SECOND", "Mel", "MelStream", "mel_of"]

FRAMES_PER_SECOND: Final = 100

_RANGE: Final = 8.0  # decades below the loudest; what is softer counts as that
_SILENCE: Final = -10.0  # log10 of the power of zeros


@dataclass(frozen=True, slots=True)
class Mel:
    """A clip's spectrogram, and what the silence after it looks like.

    Attributes:
        frames: Float32 of shape (n_mels, n), 100 a second: the clip's, and the few after it
            which still hear its end.
        n_content: How many of them begin inside of the clip.
        silence: The value of every later frame.
    """

    frames: Tensor
    n_content: int
    silence: float

    def window(self, start: int, size: int, length: int = N_FRAMES, *, zeros: bool) -> Tensor:
        """Frames from ``start`` on, as the encoder takes them.

        Args:
            start: The first one's number.
            size: Of so many only the clip's own frames are wanted.
            length: How many the window has.
            zeros: Fill up with zeros, as openai-whisper's `transcribe` does. In a logarithmic
                spectrum these are a medium noise, which costs accuracy; the model was trained
                on silence.

        Returns:
            Float32 of shape (n_mels, length).
        """
        n_mels, n_frames = self.frames.shape
        if zeros:
            window = self.frames.new_zeros(n_mels, length)
            end = min(start + size, self.n_content)
        else:
            window = self.frames.new_full((n_mels, length), self.silence)
            end = n_frames
            if start + size < self.n_content:  # there is more sound, and it is not wanted
                end = start + size
        end = min(end, start + length)
        if end > start:
            window[:, : end - start] = self.frames[:, start:end]
        return window


def mel_of(samples: Tensor, n_mels: int) -> Mel:
    """The spectrogram of a clip.

    Args:
        samples: Float32 of shape (n,) at 16 kHz, in [-1, 1].
        n_mels: 80 or 128.
    """
    frames = log_mel_spectrogram(samples, n_mels, padding=2 * N_FFT)
    return Mel(frames, samples.numel() // HOP_LENGTH, _floor(float(frames.max()) * 4.0 - 4.0))


def _floor(loudest: float) -> float:
    return (max(loudest - _RANGE, _SILENCE) + 4.0) / 4.0


class MelStream:
    """The spectrogram of a growing clip: every frame is computed once.

    Args:
        n_mels: 80 or 128.
    """

    def __init__(self, n_mels: int) -> None:
        self._filters = mel_filters(torch.device("cpu"), n_mels)
        self._samples = torch.empty(0)
        self._frames = torch.empty(n_mels, 0)  # log10; those whose window has come whole

    def push(self, samples: Tensor) -> None:
        """Take in more of the clip: float32 of shape (n,) at 16 kHz."""
        self._samples = torch.cat([self._samples, samples])
        n_whole = (self._samples.numel() - N_FFT // 2) // HOP_LENGTH + 1
        n_done = self._frames.shape[1]
        if n_whole > n_done and self._samples.numel() > N_FFT:
            self._frames = torch.cat([self._frames, self._transform(n_done, n_whole)], dim=1)

    def mel(self) -> Mel:
        """What `mel_of` gives for the clip so far."""
        n_samples = self._samples.numel()
        n_content = n_samples // HOP_LENGTH
        n_frames = (n_samples + 2 * N_FFT) // HOP_LENGTH
        rest = self._transform(self._frames.shape[1], n_frames)
        frames = torch.cat([self._frames, rest], dim=1)
        loudest = float(frames.max())
        frames = (torch.clamp(frames, min=loudest - _RANGE) + 4.0) / 4.0
        return Mel(frames, n_content, _floor(loudest))

    def _transform(self, start: int, end: int) -> Tensor:
        """The logarithmic frames ``start`` up to ``end``, with zeros after the clip."""
        first = start * HOP_LENGTH - N_FFT // 2
        last = (end - 1) * HOP_LENGTH + N_FFT // 2
        piece = self._samples[max(0, first) : last]
        piece = F.pad(piece, (0, last - max(0, first) - piece.numel()))
        if first < 0:  # the clip is mirrored at its beginning
            piece = F.pad(piece[None], (-first, 0), mode="reflect")[0]
        spectrum = torch.stft(
            piece, N_FFT, HOP_LENGTH, window=_window(), center=False, return_complex=True
        )
        return (self._filters @ spectrum.abs() ** 2).clamp(min=1e-10).log10()


@lru_cache(maxsize=1)
def _window() -> Tensor:
    return torch.hann_window(N_FFT)
