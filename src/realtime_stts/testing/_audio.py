"""Sound to test with, made by arithmetic: the same samples everywhere, nothing to download."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import numpy as np

from ..audio import AudioData

__all__ = ["chunked", "cough", "speech"]

_PITCH = 120.0  # Hz; an adult voice
_FORMANTS = (500.0, 1500.0, 2500.0)  # Hz; a neutral vowel (a tube of 17.5 cm, closed at one end)
_SYLLABLES = 4.0  # Hz; the rate at which speech rises and falls
_PEAK = 0.5  # of full scale


def speech(seconds: float, sample_rate: int = 16_000) -> AudioData:
    """A hummed vowel with the rhythm of syllables: sound that is voiced and says nothing.

    It is never silent from the first sample to the last, so that whatever hears speech in
    it hears one stretch of ``seconds``.
    """
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    harmonics = np.arange(_PITCH, min(4_000.0, sample_rate / 2), _PITCH)
    wave = np.zeros_like(time)
    for frequency in harmonics:
        distance = min(abs(frequency - formant) for formant in _FORMANTS)
        wave += np.exp(-distance / 200.0) * np.sin(2 * np.pi * frequency * time)
    rhythm = 0.6 - 0.4 * np.cos(2 * np.pi * _SYLLABLES * time)
    peak = np.exp(-np.abs(harmonics[:, np.newaxis] - _FORMANTS).min(axis=1) / 200.0).sum()
    return AudioData.from_samples(_PEAK * rhythm * wave / peak, sample_rate)


async def chunked(
    audio: AudioData, seconds: float = 0.02, *, paced: bool = False
) -> AsyncGenerator[AudioData]:
    """``audio`` as a transport delivers it: in chunks of ``seconds``.

    Args:
        audio: The whole clip.
        seconds: Length of a chunk; the last one may be shorter.
        paced: Deliver each chunk when a microphone would: once it has been spoken.
    """
    pcm = audio.decoded()
    step = max(1, round(seconds * pcm.sample_rate))
    began = anyio.current_time()
    for first in range(0, pcm.n_frames, step):
        last = min(first + step, pcm.n_frames)
        if paced:
            # Against the beginning, so that rounding does not add up.
            await anyio.sleep_until(began + last / pcm.sample_rate)
        yield pcm.sliced(first / pcm.sample_rate, last / pcm.sample_rate)


def cough(seconds: float, sample_rate: int = 16_000) -> AudioData:
    """A burst of noise that dies away: loud, and neither voiced nor a word."""
    n_frames = round(seconds * sample_rate)
    # This generator, unlike the newer ones, is promised to give the same for ever.
    noise = np.random.RandomState(0).normal(0.0, 1.0, n_frames)
    decay = np.exp(-3.0 * np.arange(n_frames) / max(1, n_frames))  # to a twentieth
    return AudioData.from_samples(np.clip(0.25 * noise, -1.0, 1.0) * decay, sample_rate)
