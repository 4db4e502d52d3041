"""A recording checked for whether a voice can be taken from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..audio import AudioData
from ..errors import AudioError, VoiceError

__all__ = ["Reference", "checked", "read"]

_MIN_SECONDS: Final = 3.0  # a few words, of all vowels
_MAX_SECONDS: Final = 30.0
_SPARE: Final = 0.05  # s; an MP3 of 30 s is some frames longer
_MIN_RATE: Final = 16_000  # Hz, at which the speaker is heard

_FRAME: Final = 0.02  # s; shorter than a syllable
_QUIET: Final = 10 ** (-50 / 20)  # effective value; a whisper into a good microphone is louder
_SPEECH: Final = 10 ** (-35 / 20)  # of the loudest frame: what is less is the room
_MIN_SPEECH: Final = 1.5  # s of such frames
_FULL: Final = 0.999  # of full scale
_RUN: Final = 3  # samples at full scale, one after the other: a peak has no flat top
_CLIPPED: Final = 1e-3  # of all samples; speech at full scale touches it less often


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording that a voice can be taken from.

    Attributes:
        audio: One channel of 3 to 30 s, at 16 kHz or more.
        level: The effective value where there is speech, in dB of full scale.
    """

    audio: AudioData
    level: float

    @property
    def seconds(self) -> float:
        return self.audio.duration_seconds


def read(path: str | os.PathLike[str]) -> AudioData:
    """A file of the host's own choice; never one that a client names.

    Raises:
        OSError: It cannot be read.
        VoiceError: It is no audio, or longer than 30 s.
    """
    try:
        return AudioData.from_file(path, max_seconds=_MAX_SECONDS + _SPARE)
    except AudioError as exc:
        raise VoiceError(
            f"the recording cannot be used: {exc}; give at most {_MAX_SECONDS:g} s of "
            "wav, flac, ogg, opus or mp3"
        ) from exc


def checked(audio: AudioData) -> Reference:
    """``audio`` as a reference.

    Raises:
        VoiceError: It does not decode, is shorter than 3 s or longer than 30, has a rate under
            16 kHz, is silent or nearly, or clipped. The message says what to do.
    """
    try:
        mono = audio.mono()
    except AudioError as exc:
        raise VoiceError(f"the recording cannot be decoded: {exc}") from exc
    if mono.sample_rate < _MIN_RATE:
        raise VoiceError(
            f"the recording has {mono.sample_rate} Hz, which holds too little of a voice: "
            f"record at {_MIN_RATE} Hz or more"
        )
    seconds = mono.duration_seconds
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS + _SPARE:
        advice = "record more" if seconds < _MIN_SECONDS else "cut a part of clear speech out of it"
        raise VoiceError(
            f"the recording has {seconds:.1f} s, and a voice takes {_MIN_SECONDS:g} to "
            f"{_MAX_SECONDS:g} s: {advice}"
        )
    samples = audio.samples
    flat = np.abs(samples) >= _FULL
    if _in_runs(flat) > _CLIPPED * flat.size:
        raise VoiceError("the recording is clipped, and so would the voice be: record it softer")
    return Reference(mono, _level(mono))


def _in_runs(flat: np.ndarray) -> int:
    """How many samples of shape (frames, channels) are in runs of flat ones."""
    runs = flat[_RUN - 1 :].copy()
    for back in range(1, _RUN):
        runs &= flat[_RUN - 1 - back : -back]
    return int(runs.sum())


def _level(mono: AudioData) -> float:
    samples = mono.samples[:, 0]
    n_frame = round(_FRAME * mono.sample_rate)
    frames = samples[: samples.size // n_frame * n_frame].reshape(-1, n_frame)
    power = (frames.astype(np.float64) ** 2).mean(axis=1)
    speech = power[power >= max(power.max() * _SPEECH**2, _QUIET**2)]
    if not speech.size:
        raise VoiceError("the recording is silent: check the microphone")
    if speech.size * _FRAME < _MIN_SPEECH:
        raise VoiceError(
            f"the recording has {speech.size * _FRAME:.1f} s of sound and a voice takes "
            f"{_MIN_SPEECH:g} s at least: speak all the time, close to the microphone"
        )
    return float(10.0 * np.log10(speech.mean()))
