"""Pause detection with WebRTC's voice activity detector: tiny, fast, yes or no."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from ._framing import FramedPauseDetector

try:
    import webrtcvad
except ImportError as exc:
    raise MissingExtraError("WebRTCPauseDetector", "local") from exc

__all__ = ["WebRTCPauseDetector"]


class WebRTCPauseDetector(FramedPauseDetector):
    """Finds speech with WebRTC's Gaussian mixture model, as packaged by webrtcvad.

    Its answer is a decision, so ``speech_confidence`` is 0.0 or 1.0. It adapts to
    stationary noise within a second or so, and takes music and typing for speech.

    Args:
        aggressiveness: 0 to 3: how readily a frame is taken for noise.
        frame_duration_ms: 10, 20 or 30.
        min_speech_frames: Frames of speech in a row that start speech.
        min_pause_frames: Frames of silence in a row that end it.
        sample_rate: Hz at which the model listens: 8000, 16000, 32000 or 48000. Audio of
            any rate is taken; the model itself looks no higher than 4 kHz.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        aggressiveness: int = 2,
        frame_duration_ms: int = 30,
        min_speech_frames: int = 3,
        min_pause_frames: int = 10,
        sample_rate: int = 16_000,
    ) -> None:
        if frame_duration_ms not in (10, 20, 30):
            raise ValueError(f"frame_duration_ms is 10, 20 or 30, not {frame_duration_ms}")
        if sample_rate not in (8_000, 16_000, 32_000, 48_000):
            raise ValueError(f"sample_rate is 8000, 16000, 32000 or 48000, not {sample_rate}")
        super().__init__(
            sample_rate=sample_rate,
            frame_size=sample_rate * frame_duration_ms // 1000,
            min_speech_frames=min_speech_frames,
            min_pause_frames=min_pause_frames,
        )
        self._frame_duration_ms = frame_duration_ms
        self._aggressiveness = _checked(aggressiveness)
        self.reset()

    def set_aggressiveness(self, aggressiveness: int) -> None:
        """Change it from the next frame on; what was heard stays.

        Raises:
            ValueError: It is not 0, 1, 2 or 3.
        """
        self._aggressiveness = _checked(aggressiveness)
        self._vad.set_mode(aggressiveness)

    def get_config(self) -> dict[str, Any]:
        return {
            "aggressiveness": self._aggressiveness,
            "frame_duration_ms": self._frame_duration_ms,
            "min_speech_frames": self._min_speech_frames,
            "min_pause_frames": self._min_pause_frames,
            "sample_rate": self._sample_rate,
        }

    def _probability(self, frame: NDArray[np.int16]) -> float:
        return float(self._vad.is_speech(frame.tobytes(), self._sample_rate))

    def _forget(self) -> None:
        self._vad = webrtcvad.Vad(self._aggressiveness)


def _checked(aggressiveness: int) -> int:
    if aggressiveness not in (0, 1, 2, 3):
        raise ValueError(f"aggressiveness is 0, 1, 2 or 3, not {aggressiveness}")
    return aggressiveness
