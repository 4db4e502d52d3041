"""Transcripts while the speech goes on: what is decoded again, and what stays as it is.

Two policies, over the same decodes of the sound that is still open:

* ``agreement`` (LocalAgreement-2, in `_agreement`) stays with what two decodes agree on.
  The last decode is the next one's draft, so that what did not change costs one pass.
* ``attention`` (AlignAtt: Papi, Turchi and Negri 2023, https://arxiv.org/abs/2305.11408; for
  Whisper: Wang et al. 2024, https://arxiv.org/abs/2406.10052) stays with the words whose
  attention is not yet at the end of the sound. They are given to the next decode, which
  says them no more, and are never revised.

Published measurements find attention the better policy for tiny to large, and agreement for
turbo, whose few decoder layers have few heads to look with.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from ..._agreement import Agreement, TrimPolicy, after_committed, middle, text_of
from ..._incremental import Transcript, incremental
from ...audio import AudioData, StreamResampler
from ...protocols import TranscriptionResult, TranscriptionWord

__all__ = ["SAMPLE_RATE", "Ask", "Policy", "Question", "Streaming", "transcribed"]

SAMPLE_RATE: Final = 16_000  # Hz

Policy = Literal["auto", "agreement", "attention"]

_NEAR_END: Final = 0.5  # s; SimulStreaming's default, 25 positions of the encoder
_CONTEXT: Final = 200  # characters of the committed text before the sound, as in Macháček et al.


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How a stream is transcribed.

    Attributes:
        policy: ``agreement``, ``attention``, or ``auto``, which chooses by the checkpoint.
        interval: Seconds of new sound from one decode to the next, at least.
        keep: Seconds of sound that are always decoded whole; above that it is cut where a
            sentence ends.
        limit: Seconds of sound that are decoded at most, 1 to 28.

    Raises:
        ValueError: A value is out of its range.
    """

    policy: Policy = "auto"
    interval: float = 1.0
    keep: float = 10.0
    limit: float = 20.0

    def __post_init__(self) -> None:
        if self.policy not in ("auto", "agreement", "attention"):
            raise ValueError(f"policy is auto, agreement or attention, not {self.policy!r}")
        if not self.interval > 0.0:
            raise ValueError(f"interval is over 0 seconds, not {self.interval}")
        if not 0.0 <= self.keep <= self.limit or not 1.0 <= self.limit <= 28.0:
            raise ValueError(
                "sound is kept for 0 seconds or more, up to a limit of 1 to 28, not "
                f"{self.keep} and {self.limit}"
            )


@dataclass(frozen=True, slots=True)
class Question:
    """What a stream asks of the model.

    Attributes:
        samples: Float32 at 16 kHz: the sound since the last cut.
        is_more: Whether the samples of the question before are its beginning.
        context: Text that was committed before that.
        said: Text that was committed in it, which is not to be said again.
        expected: Text that is likely to follow.
        force: Whether ``said`` is taken as said, or decoded again.
    """

    samples: np.ndarray[tuple[int], np.dtype[np.float32]]
    is_more: bool
    language: str | None
    context: str
    said: str
    expected: str
    force: bool


Ask = Callable[[Question], Awaitable[TranscriptionResult]]


class _Attention(Transcript):
    """Commits the words that are not near the end of the sound."""

    sound_end: float = 0.0  # s; of what the next decode hears

    def settle(self, state: Agreement, words: tuple[TranscriptionWord, ...]) -> Agreement:
        # It says the committed words of this sound too, as they were given to it.
        new = after_committed(state, words)
        n_settled = 0
        for word in new:
            if word.end > self.sound_end - _NEAR_END:
                break
            n_settled += 1
        return replace(state, committed=state.committed + new[:n_settled], tail=new[n_settled:])


async def transcribed(
    ask: Ask,
    audio: AsyncIterable[AudioData],
    language: str | None,
    how: Streaming,
    *,
    by_attention: bool,
) -> AsyncGenerator[TranscriptionResult]:
    """Transcribe chunks as they arrive, as `StreamingSTTEngine.stream` does."""
    transcript = _Attention(language) if by_attention else Transcript(language)
    last: bytes = b""

    async def decode(clip: AudioData, language: str | None) -> TranscriptionResult:
        nonlocal last
        state = transcript.state
        before = [word for word in state.committed if middle(word) <= state.start]
        within = [word for word in state.committed if middle(word) > state.start]
        question = Question(
            clip.samples[:, 0],
            clip.data.startswith(last),
            language,
            _tail_of(text_of(before)),
            text_of(within),
            text_of(state.tail),
            by_attention,
        )
        last = clip.data
        if isinstance(transcript, _Attention):
            transcript.sound_end = state.start + clip.duration_seconds
        return await ask(question)

    async with (
        aclosing(_resampled(audio)) as sound,
        aclosing(
            incremental(
                decode,
                sound,
                language,
                interval=how.interval,
                trimming=TrimPolicy(how.keep, how.limit),
                transcript=transcript,
            )
        ) as results,
    ):
        async for result in results:
            yield result


async def _resampled(audio: AsyncIterable[AudioData]) -> AsyncGenerator[AudioData]:
    """The stream at 16 kHz, each chunk converted once."""
    resampler = StreamResampler(SAMPLE_RATE)
    async for chunk in audio:
        piece = resampler.push(chunk.decoded())
        if piece.n_frames:
            yield piece
    rest = resampler.flush()
    if rest.n_frames:
        yield rest


def _tail_of(text: str) -> str:
    """The last words of a text."""
    if len(text) <= _CONTEXT:
        return text
    return re.sub(r"^\S*\s", "", text[-_CONTEXT:])
