"""What every pause detector shares: exact frames of any audio, and the rule over them.

A detector is a model that gives one frame a speech probability. Chunks of any rate,
channel count, format and length are cut into the frames that model wants; what is left
of a chunk waits for the next one. Each frame has its place on the audio clock, counted
in frames since the stream began, and goes through `_endpoint.step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import numpy as np
from anyio import to_thread
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray
from typing_extensions import Self

from .._endpoint import (
    INITIAL,
    EndpointPolicy,
    EndpointState,
    Paused,
    Rising,
    SpeechEvent,
    SpeechStarted,
    Talking,
    step,
)
from ..audio import AudioData, StreamResampler

__all__ = ["PRESETS", "FrameCutter", "FramedPauseDetector", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings for one kind of talk, in durations so that any frame size can follow them."""

    aggressiveness: int  # WebRTC's mode
    min_speech_ms: int
    min_pause_ms: int


# The contract's recommendations: 8/20, 10/35 and 5/15 frames of 30 ms.
PRESETS: Final = {
    "conversation": Preset(aggressiveness=2, min_speech_ms=240, min_pause_ms=600),
    "formal_speech": Preset(aggressiveness=1, min_speech_ms=300, min_pause_ms=1050),
    "responsive": Preset(aggressiveness=3, min_speech_ms=150, min_pause_ms=450),
}


class FrameCutter:
    """Chunks of any audio in; whole frames of 16-bit mono out, none of it lost.

    Args:
        sample_rate: Hz of the frames.
        frame_size: Samples in a frame.
    """

    def __init__(self, sample_rate: int, frame_size: int) -> None:
        self._resampler = StreamResampler(sample_rate)
        self._frame_size = frame_size
        self._rest = b""  # always shorter than a frame, so joining it stays cheap

    def push(self, audio: AudioData) -> NDArray[np.int16]:
        """Take the next chunk; return the frames it completes, shape (frames, frame_size).

        Raises:
            AudioFormatError: Its rate or channel count is not that of the first chunk.
        """
        data = self._rest + self._resampler.push(audio).data
        width = 2 * self._frame_size
        n_frames = len(data) // width
        self._rest = data[n_frames * width :]
        samples = np.frombuffer(data, "<i2", n_frames * self._frame_size)
        return samples.reshape(n_frames, self._frame_size)


@dataclass(slots=True)
class _Heard:
    """All that a detector remembers of its stream, apart from what its model does."""

    cutter: FrameCutter
    state: EndpointState = INITIAL
    n_frames: int = 0
    n_chunks: int = 0
    speech_frames: int = 0  # in a row, up to now
    silence_frames: int = 0  # in a row, up to now
    probability: float = 0.0  # of the last frame


class FramedPauseDetector(ABC):
    """A pause detector over a model that judges one frame at a time.

    A subclass says how probable speech is in a frame and what its settings are, and ends
    its constructor with `reset`. One detector listens to one stream; `clone` it for the
    next.

    Args:
        sample_rate: Hz of the model's frames. Audio of another rate is resampled.
        frame_size: Samples in a frame.
        start_above: Probability from which a frame counts as speech while nobody speaks.
        stop_below: Probability under which it counts as silence while somebody does.
        min_speech_frames: Frames of speech in a row that start speech.
        min_pause_frames: Frames of silence in a row that end it.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        frame_size: int,
        start_above: float = 0.5,
        stop_below: float = 0.35,
        min_speech_frames: int,
        min_pause_frames: int,
    ) -> None:
        if min_speech_frames < 1 or min_pause_frames < 1:
            raise ValueError(
                "min_speech_frames and min_pause_frames are at least 1, "
                f"not {min_speech_frames} and {min_pause_frames}"
            )
        frame = frame_size / sample_rate
        self._policy = EndpointPolicy(
            start_above, stop_below, min_speech_frames * frame, min_pause_frames * frame
        )
        self._sample_rate = sample_rate
        self._frame_size = frame_size
        self._min_speech_frames = min_speech_frames
        self._min_pause_frames = min_pause_frames

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """A detector set up for one kind of talk.

        Args:
            name: ``conversation``, ``formal_speech`` or ``responsive``.
            overrides: Constructor arguments, which win over the preset's.

        Raises:
            ValueError: There is no such preset, or an override is out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"no preset is called {name!r}; known: {', '.join(PRESETS)}")
        plain = cls(**overrides)
        frame = plain._milliseconds(1)
        suggested = {
            "aggressiveness": PRESETS[name].aggressiveness,
            "min_speech_frames": round(PRESETS[name].min_speech_ms / frame),
            "min_pause_frames": round(PRESETS[name].min_pause_ms / frame),
        }
        config = plain.get_config()
        known = {key: value for key, value in suggested.items() if key in config}
        return cls(**{**config, **known, **overrides})

    def clone(self) -> Self:
        """A detector of the same settings that has heard nothing."""
        return type(self)(**self.get_config())

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The settings in force, as the constructor takes them."""

    @abstractmethod
    def _probability(self, frame: NDArray[np.int16]) -> float:
        """How probable speech is in the next frame, in [0, 1]."""

    @abstractmethod
    def _forget(self) -> None:
        """Bring the model to where a new stream begins."""

    def reset(self) -> None:
        """Forget everything heard; settings stay."""
        self._heard = _Heard(FrameCutter(self._sample_rate, self._frame_size))
        self._forget()

    @property
    def is_speaking(self) -> bool:
        """Whether speech has started and not ended yet."""
        return isinstance(self._heard.state, Talking | Paused)

    async def process_chunk(self, audio: AudioData) -> dict[str, Any]:
        """Listen to the next chunk, of any length, rate and channel count.

        Up to a second of PCM is heard without giving way to the event loop, so it is
        never half heard. A longer chunk gives way after each second; cancelled there, it
        has been heard in part, and the stream goes on only after `reset`.

        Returns:
            ``is_speaking`` (bool); ``events``, a list of ``"speech_start"`` and
            ``"speech_end"`` in order; ``speech_events``, the same as `SpeechStarted` and
            `SpeechStopped` with their times; ``frames``, a tuple of (start, end,
            probability) for each frame this chunk completed; ``speech_frames`` and
            ``silence_frames``, how many came in a row up to now, and
            ``speech_duration_ms`` and ``silence_duration_ms``, how long those are;
            ``speech_confidence``, the last frame's probability; ``chunk_count``. Times
            are seconds of audio since the stream began.

        Raises:
            AudioFormatError: The chunk cannot be decoded, or the rate or channel count
                changes between chunks. It has not been heard.
        """
        if not audio.format.startswith("pcm"):
            audio = await to_thread.run_sync(audio.decoded)
        heard = self._heard
        frames: list[tuple[float, float, float]] = []
        speech_events: list[SpeechEvent] = []
        seconds = ceil(audio.duration_seconds)
        for second in range(max(1, seconds)):
            if second:
                await checkpoint()
            piece = audio.sliced(second, second + 1) if seconds > 1 else audio
            for frame in heard.cutter.push(piece):
                times_and_probability, event = self._hear(frame)
                frames.append(times_and_probability)
                if event is not None:
                    speech_events.append(event)
        heard.n_chunks += 1
        return {
            "is_speaking": self.is_speaking,
            "events": [
                "speech_start" if isinstance(event, SpeechStarted) else "speech_end"
                for event in speech_events
            ],
            "speech_events": speech_events,
            "frames": tuple(frames),
            "speech_frames": heard.speech_frames,
            "silence_frames": heard.silence_frames,
            "speech_duration_ms": round(self._milliseconds(heard.speech_frames)),
            "silence_duration_ms": round(self._milliseconds(heard.silence_frames)),
            "speech_confidence": heard.probability,
            "chunk_count": heard.n_chunks,
        }

    def _hear(
        self, frame: NDArray[np.int16]
    ) -> tuple[tuple[float, float, float], SpeechEvent | None]:
        heard = self._heard
        # From the count, not added up: exact however long the stream and however it is cut.
        start = heard.n_frames * self._frame_size / self._sample_rate
        heard.n_frames += 1
        end = heard.n_frames * self._frame_size / self._sample_rate
        heard.probability = self._probability(frame)
        heard.state, event = step(heard.state, start, end, heard.probability, self._policy)
        if isinstance(heard.state, Rising | Talking):
            heard.speech_frames, heard.silence_frames = heard.speech_frames + 1, 0
        else:
            heard.speech_frames, heard.silence_frames = 0, heard.silence_frames + 1
        return (start, end, heard.probability), event

    def _milliseconds(self, n_frames: int) -> float:
        return n_frames * self._frame_size * 1000 / self._sample_rate
