"""PURE: one answer on its way to the loudspeaker: made, handed over, heard.

It is told the time, in seconds of the event loop's clock, and keeps a position in the sound.
What has been handed over is played in one go, so the position that is heard follows from when
the last sound was handed over; the host need not report it. A hold goes back to that position,
so what the host drops of its buffer comes again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from math import inf

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData, StreamResampler
from ._timing import heard_text

__all__ = ["Playout"]

_FADE = 0.005  # s; a step from or to silence within less than this is heard as a click
_PACE = 0.06  # s a character, until a sentence is made and its length known; slow speech
_PLAYED = 0.03  # s that may be missing at the end of a sentence: engines end in silence
_REMEMBERED = 64  # stretches of uninterrupted sound, for `said_between`


@dataclass(slots=True)
class _Sentence:
    """Positions are samples since the answer began."""

    text: str
    spoken: str  # the same without what no voice says
    start: int
    end: int | None = None  # None while it is being made
    whole: bool = True  # False: it was cut off in the making
    interruptible: bool = True


class Playout:
    """The sound of one answer.

    Args:
        frame: Seconds handed over at a time; None for whole sentences.
        lead: Seconds that may be handed over before they are due.
    """

    def __init__(self, frame: float | None = 0.02, lead: float = 0.1) -> None:
        self._frame, self._lead = frame, lead
        self._rate, self._channels = 0, 1
        self._data = bytearray()  # from `_origin` on
        self._origin = 0
        self._given = 0  # samples handed over
        self._played_by = -inf  # when those will have been played
        self._held = False
        self._finished = False
        self._sentences: list[_Sentence] = []
        self._n_spoken = 0  # sentences handed over to the end
        self._tail = b""  # the last milliseconds of a sentence, until it is known to be the last
        self._resampler: StreamResampler | None = None
        self._stretches: deque[tuple[float, int, int]] = deque(maxlen=_REMEMBERED)

    # -- making

    def begin(self, text: str, spoken: str | None = None, *, interruptible: bool = True) -> None:
        """The sound that follows is of this text, of which a voice says ``spoken``."""
        said = text if spoken is None else spoken
        self._sentences.append(_Sentence(text, said, self._n_made, interruptible=interruptible))
        self._tail, self._resampler = b"", None

    def add(self, audio: AudioData) -> None:
        """More of its sound, of any layout: the answer's first sound decides for all."""
        if not self._rate:
            self._rate, self._channels = audio.sample_rate, audio.channels
        self._append(self._in_layout(audio))

    def end(self, *, whole: bool = True) -> None:
        """That was all of the sentence; not ``whole`` if the engine failed within it."""
        sentence = self._sentences[-1]
        if self._resampler is not None:
            self._append(self._in_channels(self._resampler.flush()))
        if self._tail:
            n = len(self._tail) // (2 * self._channels)
            self._data += _scaled(self._tail, self._channels, np.arange(n, 0, -1) / self._n_fade)
        self._tail = b""
        sentence.end, sentence.whole = self._n_made, whole

    def finish(self) -> None:
        """No sentence follows."""
        self._finished = True

    def _append(self, audio: AudioData) -> None:
        """Keep its sound, faded in where the sentence begins; hold back what may be its end."""
        width = 2 * self._channels
        data = audio.data
        position = self._n_made + len(self._tail) // width - self._sentences[-1].start
        if position < self._n_fade:
            n = min(self._n_fade - position, audio.n_frames)
            ramp = np.arange(position, position + n) / self._n_fade
            data = _scaled(data[: n * width], self._channels, ramp) + data[n * width :]
        data = self._tail + data
        keep = min(self._n_fade * width, len(data))
        self._data += data[: len(data) - keep]
        self._tail = data[len(data) - keep :]

    def _in_layout(self, audio: AudioData) -> AudioData:
        pcm = audio.converted()
        if (pcm.sample_rate, pcm.channels) == (self._rate, self._channels):
            return pcm
        # Another engine took over: convert what it says, this sentence being one stream.
        if self._resampler is None:
            self._resampler = StreamResampler(self._rate)
        return self._in_channels(self._resampler.push(pcm))

    def _in_channels(self, mono: AudioData) -> AudioData:
        if self._channels == 1:
            return mono
        return AudioData.from_samples(np.repeat(mono.samples, self._channels, axis=1), self._rate)

    @property
    def _n_fade(self) -> int:
        return round(_FADE * self._rate)

    @property
    def _n_made(self) -> int:
        return self._origin + len(self._data) // (2 * self._channels)

    @property
    def made(self) -> float:
        """Seconds of sound so far."""
        return self._n_made / self._rate if self._rate else 0.0

    # -- handing over

    @property
    def held(self) -> bool:
        """Whether nothing may be handed over now."""
        return self._held

    @property
    def finished(self) -> bool:
        """Whether everything has been handed over, and no more comes."""
        return self._finished and self._given == self._n_made

    @property
    def ready(self) -> bool:
        """Whether there is a next sound to hand over."""
        return self._n_next > 0

    def next(self) -> AudioData | None:
        """The next sound to hand over; None if it has not been made yet."""
        n = self._n_next
        if not n:
            return None
        first, width = self._given - self._origin, 2 * self._channels
        return AudioData(
            bytes(self._data[first * width : (first + n) * width]), self._rate, self._channels
        )

    @property
    def _n_next(self) -> int:
        """Samples of the next sound: a whole frame, unless its sentence ends in it."""
        sentence = self._current
        if sentence is None:
            return 0
        if sentence.end is not None:
            left = sentence.end - self._given
            return left if self._frame is None else min(left, round(self._frame * self._rate))
        if self._frame is None:
            return 0
        whole = round(self._frame * self._rate)
        return whole if self._n_made - self._given >= whole else 0

    @property
    def _current(self) -> _Sentence | None:
        """The sentence that the next sound is of."""
        for sentence in islice(self._sentences, self._n_spoken, None):
            if sentence.end is None or sentence.end > self._given:
                return sentence if self._n_made > self._given else None
        return None

    @property
    def interruptible(self) -> bool:
        """Whether the next sound may be interrupted."""
        current = self._current
        return current is None or current.interruptible

    def due(self, now: float) -> float:
        """When the next sound may be handed over, at the earliest."""
        return max(now, self._played_by - self._lead)

    def gave(self, audio: AudioData, now: float) -> list[str]:
        """The host has taken it; return the sentences whose sound is thereby complete."""
        start = max(now, self._played_by)
        if start > self._played_by or not self._stretches:
            self._stretches.append((start, self._given, self._given))
        began, first, _ = self._stretches[-1]
        self._given += audio.n_frames
        self._stretches[-1] = (began, first, self._given)
        self._played_by = start + audio.duration_seconds
        complete = []
        while self._n_spoken < len(self._sentences):
            sentence = self._sentences[self._n_spoken]
            if sentence.end is None or sentence.end > self._given:
                break
            complete.append(sentence.text)
            self._n_spoken += 1
        self._forget(now)
        return complete

    def played_by(self, now: float) -> float:
        """When everything handed over so far will have been played."""
        return max(now, self._played_by)

    def hold(self, now: float) -> None:
        """The host drops what it has not played: go back to there."""
        self._held = True
        self._given = self._heard_until(now)
        self._played_by = -inf
        if self._stretches:
            began, first, _ = self._stretches.pop()
            if self._given > first:
                self._stretches.append((began, first, self._given))
        while self._n_spoken and (self._sentences[self._n_spoken - 1].end or 0) > self._given:
            self._n_spoken -= 1

    def resume(self) -> None:
        """Go on from there, without a click."""
        self._held = False
        n = min(self._n_fade, self._n_made - self._given)
        if n:
            width = 2 * self._channels
            first = (self._given - self._origin) * width
            part = slice(first, first + n * width)
            ramp = np.arange(n) / self._n_fade
            self._data[part] = _scaled(bytes(self._data[part]), self._channels, ramp)

    def _forget(self, now: float) -> None:
        """Drop what has been played: only that can never come again."""
        n = self._heard_until(now) - self._origin
        if n > self._rate:  # a second at a time: it moves memory
            del self._data[: n * 2 * self._channels]
            self._origin += n

    # -- hearing

    def _heard_until(self, now: float) -> int:
        left = max(0.0, self._played_by - now) if self._given else 0.0
        return max(self._origin, self._given - round(left * self._rate))

    def played(self, now: float) -> float:
        """Seconds of it that have been heard."""
        return self._heard_until(now) / self._rate if self._rate else 0.0

    def heard(self, now: float) -> str:
        """The text that has been heard, as it was spoken; the last sentence up to a word."""
        return self._text_until(self._heard_until(now))

    def said_between(self, start: float, end: float) -> str:
        """The text that was being played in that time, cut at words."""
        parts = []
        for began, first, last in self._stretches:
            since = first + max(0, round((start - began) * self._rate))
            until = min(last, first + round((end - began) * self._rate))
            if until > since:
                whole, before = self._text_until(until), self._text_until(since)
                parts.append(whole[len(before) :].strip())
        return " ".join(filter(None, parts))

    def _text_until(self, position: int) -> str:
        parts = []
        for sentence in self._sentences:
            if position <= sentence.start:
                break
            end = self._n_made if sentence.end is None else sentence.end
            duration = (end - sentence.start) / self._rate
            known = sentence.end is not None and sentence.whole
            if not known:
                duration = max(duration, _PACE * len(sentence.spoken))
            played = (position - sentence.start) / self._rate
            if known and played >= duration - _PLAYED:
                played = duration
            parts.append(heard_text(sentence.spoken, duration, played))
        return " ".join(filter(None, parts))


def _scaled(data: bytes, channels: int, gains: NDArray[np.float64]) -> bytes:
    """Each frame, times its gain."""
    samples = np.frombuffer(data, "<i2").reshape(-1, channels)
    scaled: bytes = np.rint(samples * gains[:, np.newaxis]).astype("<i2").tobytes()
    return scaled
