"""PURE: both ends of a telephone line on one timeline, in seconds since the call began."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..audio import AudioData
from ..conversation import Event, Interrupted, ReplyAudio, ReplyPaused

__all__ = ["Moment", "Playout"]

_ROUNDING = 1e-6  # s; far under a sample


@dataclass(frozen=True, slots=True)
class Moment:
    """An event, and when it reached the host."""

    t: float
    event: Event


@dataclass(slots=True)
class Playout:
    """A loudspeaker: each sound is played when it comes or the last one has ended.

    What it is told to drop before it was played is not heard.
    """

    end: float = 0.0  # of the last sound
    spans: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # of each reply
    _sounds: list[tuple[float, AudioData]] = field(default_factory=list)

    def tell(self, moment: Moment) -> None:
        """Play what comes, and drop what is not to be heard any more."""
        match moment.event:
            case ReplyAudio(turn, audio):
                self.play(moment.t, turn, audio)
            case ReplyPaused() | Interrupted():
                self.drop(moment.t)

    def play(self, t: float, turn: int, audio: AudioData) -> None:
        """A sound of that turn's reply has come at ``t``."""
        sound = audio.mono().converted()
        start = max(self.end, t)
        spans = self.spans.setdefault(turn, [])
        if not spans or start > spans[-1][1] + _ROUNDING:
            spans.append((start, start))
        self.end = start + sound.duration_seconds
        spans[-1] = (spans[-1][0], self.end)
        self._sounds.append((start, sound))

    def drop(self, t: float) -> None:
        """Play nothing of what has come after ``t``."""
        while self._sounds:
            start, sound = self._sounds[-1]
            if start + sound.duration_seconds <= t:
                break
            self._sounds.pop()
            if start < t:
                self._sounds.append((start, sound.sliced(0.0, t - start)))
                break
        self.end = min(self.end, t)
        for spans in self.spans.values():
            spans[:] = [(start, min(end, t)) for start, end in spans if start < t]

    def played(self, turn: int, t: float) -> float:
        """Seconds of that turn's reply that have been heard by ``t``."""
        return sum(min(end, t) - start for start, end in self.spans.get(turn, []) if start < t)

    def mixed(self, duration: float) -> AudioData:
        """All of ``duration`` seconds, silence included, at the first sound's rate."""
        rate = self._sounds[0][1].sample_rate if self._sounds else 16_000
        channel = np.zeros(round(duration * rate), np.int16)
        for start, sounds in self._runs():
            sound = AudioData.concat(sounds).resampled(rate)
            room = channel[round(start * rate) :][: sound.n_frames]
            room[:] = np.frombuffer(sound.data, np.int16)[: len(room)]
        return AudioData(channel.astype("<i2").tobytes(), rate)

    def _runs(self) -> list[tuple[float, list[AudioData]]]:
        """What is played without a break, together: resampled as one, it has no seams."""
        runs: list[tuple[float, list[AudioData]]] = []
        end = 0.0
        for start, sound in self._sounds:
            same_rate = bool(runs) and runs[-1][1][0].sample_rate == sound.sample_rate
            if not same_rate or start > end + _ROUNDING:
                runs.append((start, []))
            runs[-1][1].append(sound)
            end = start + sound.duration_seconds
        return runs
