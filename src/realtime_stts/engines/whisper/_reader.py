"""A clip read window by window: which sound is decoded next, and what it all adds up to.

The order of things is that of openai-whisper's `transcribe`; the decoding itself is asked for
and handed in, so that it may be done in a batch with other clips'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor
from whisper.audio import N_FRAMES
from whisper.tokenizer import Tokenizer

from ._encoder import FRAMES_PER_POSITION, n_positions
from ._mel import FRAMES_PER_SECOND, Mel
from ._options import WhisperOptions
from ._segments import slice_tokens
from ._words import Spoken, place

__all__ = ["Decoded", "Reader", "Segment", "Window", "needs_fallback"]

_MARKS: Final = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - full-width marks are meant


@dataclass(frozen=True, slots=True)
class Window:
    """What the model is asked.

    Attributes:
        mel: Float32 of shape (n_mels, n), n even and at most 3,000.
        whole: The same filled up to 3,000 frames, in case ``mel`` is too short to do.
        detect: Of the same shape, what the language is told by if not by ``mel``.
        n_frames: Of the window, that hold sound.
        language: None to detect it.
        prompt: Tokens of what was said before.
        draft: Tokens that are likely to be found.
        prefix: Tokens that are taken as found; more may follow them.
    """

    mel: Tensor
    whole: Callable[[], Tensor]
    n_frames: int
    language: str | None
    prompt: tuple[int, ...]
    options: WhisperOptions
    detect: Tensor | None = None
    draft: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """What it answers; times count from the window's beginning, tokens from the prefix's."""

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    no_speech: float
    temperature: float
    compression_ratio: float
    language: str
    language_probability: float | None
    words: tuple[Spoken, ...] = ()

    def is_silence(self, options: WhisperOptions) -> bool:
        """Whether nothing was said, and the text is made up."""
        limit = options.no_speech_threshold
        if limit is None or not self.no_speech > limit:
            return False
        sure = options.logprob_threshold
        return sure is None or not self.avg_logprob > sure


def needs_fallback(decoded: Decoded, options: WhisperOptions) -> bool:
    """Whether the text looks wrong, and another temperature may do better."""
    ratio, logprob = options.compression_ratio_threshold, options.logprob_threshold
    unsure = logprob is not None and decoded.avg_logprob < logprob
    silent = options.no_speech_threshold is not None and (
        decoded.no_speech > options.no_speech_threshold
    )
    if unsure and silent:
        return False
    return unsure or (ratio is not None and decoded.compression_ratio > ratio)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the transcription, with times in the clip."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech: float
    words: tuple[Spoken, ...] = ()


class Reader:
    """Reads one clip.

    Args:
        tokenizer: Any of the model's: the language's is not known yet.
        language: None to detect it in the first window.
        draft: Tokens that the first window is likely to give.
        prefix: Text that it is taken to begin with.
        revisits: Whether the end of the clip is read again, from after the last word, where
            no time says that nothing more was said. openai-whisper does so.
    """

    def __init__(
        self,
        mel: Mel,
        options: WhisperOptions,
        language: str | None,
        tokenizer: Tokenizer,
        n_audio_ctx: int,
        n_text_ctx: int,
        *,
        draft: tuple[int, ...] = (),
        prefix: str = "",
        revisits: bool = True,
    ) -> None:
        self._mel = mel
        self._options = options
        self._tokenizer = tokenizer
        self._n_audio_ctx = n_audio_ctx
        self._draft = draft
        self._said = self._encoded(prefix)
        self._revisits = revisits
        self.language = language
        self.language_probability: float | None = None
        start, end = options.clip
        self._seek = round(start * FRAMES_PER_SECOND)
        self._end = mel.n_content if end is None else round(end * FRAMES_PER_SECOND)
        self._end = min(self._end, mel.n_content)
        self._max_prompt = n_text_ctx // 2 - 1
        self._prefix = self._encoded(", ".join(options.hotwords))
        said_before = self._encoded(options.prompt)
        if options.carry_prompt:
            self._prefix = (*self._prefix, *said_before)
            said_before = ()
        self._tokens = [*said_before]
        self._n_given = len(said_before)
        self._reset_at = 0  # where in the tokens the next prompt begins
        self._last_end = 0.0  # of speech
        self.segments: list[Segment] = []
        self.no_speech: float | None = None

    def _encoded(self, text: str | None) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(f" {text.strip()}")) if text and text.strip() else ()

    @property
    def text(self) -> str:
        return str(self._tokenizer.decode(self._tokens[self._n_given :]))

    def window(self) -> Window | None:
        """The next window to decode; None if the clip has been read."""
        if self._seek >= self._end:
            return None
        seek, size = self._seek, self._n_frames
        options, mel = self._options, self._mel
        zeros = options.fill == "zeros"
        length = FRAMES_PER_POSITION * n_positions(size, options.encoder, self._n_audio_ctx)
        detect = None
        if zeros and self.language is None:
            detect = mel.window(0, N_FRAMES, zeros=False)
        room = max(0, self._max_prompt - len(self._prefix))
        said = self._tokens[self._reset_at :]
        return Window(
            mel.window(seek, size, length, zeros=zeros),
            lambda: mel.window(seek, size, zeros=zeros),
            size,
            self.language,
            (*self._prefix, *(said[-room:] if room else ()))[-self._max_prompt :],
            options,
            detect,
            self._draft,
            self._said,
        )

    @property
    def _n_frames(self) -> int:
        return min(int(N_FRAMES), self._end - self._seek)

    def take(self, decoded: Decoded) -> None:
        """Take in what the window says, and go on to the next."""
        if self.language is None:
            self.language = decoded.language
            self.language_probability = decoded.language_probability
        self._draft = self._said = ()
        if decoded.no_speech == decoded.no_speech:  # else the model cannot tell
            before = 1.0 if self.no_speech is None else self.no_speech
            self.no_speech = min(before, decoded.no_speech)
        size = self._n_frames
        if decoded.is_silence(self._options):
            self._seek += size
            return
        began = self._seek
        offset = began / FRAMES_PER_SECOND
        slices = slice_tokens(decoded.tokens, self._tokenizer.timestamp_begin, size)
        self._seek += max(1, slices.n_read)
        segments = [
            Segment(
                offset + piece.start,
                offset + piece.end,
                self._text_of(piece.tokens),
                piece.tokens,
                decoded.temperature,
                decoded.avg_logprob,
                decoded.compression_ratio,
                decoded.no_speech,
            )
            for piece in slices.pieces
        ]
        if self._options.word_timestamps:
            timed = self._timed(segments, decoded.words, offset, slices.ends, began, size)
            if timed is None:
                return
            segments = timed
        for segment in segments:
            if segment.start == segment.end or not segment.text.strip():
                continue
            self.segments.append(segment)
            self._tokens += segment.tokens
        if not self._options.condition_on_previous_text or decoded.temperature > 0.5:
            self._reset_at = len(self._tokens)

    def _text_of(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode([t for t in tokens if t < self._tokenizer.eot]))

    # -- with the times of words

    def _timed(
        self,
        segments: list[Segment],
        words: Sequence[Spoken],
        offset: float,
        ends: bool,
        began: int,
        size: int,
    ) -> list[Segment] | None:
        """The segments with their words; None if the window is to be read again from later."""
        eot = self._tokenizer.eot
        lengths = [sum(token < eot for token in segment.tokens) for segment in segments]
        placed = place(
            words,
            [(s.start, s.end, n) for s, n in zip(segments, lengths, strict=True)],
            offset,
            self._last_end,
        )
        segments = [
            replace(segment, start=start, end=end, words=tuple(own))
            for segment, (start, end, own) in zip(segments, placed, strict=True)
        ]
        last = _end_of(segments)
        if not ends and last > offset and (self._revisits or began + size < self._end):
            self._seek = max(began + 1, round(last * FRAMES_PER_SECOND))
        threshold = self._options.hallucination_silence_threshold
        if threshold is not None:
            if not ends and last > offset:
                rest = offset + N_FRAMES / FRAMES_PER_SECOND - last
                if rest <= threshold:
                    self._seek = began + size
            first = next((s for s in segments if s.words), None)
            if first is not None and _is_odd(first) and first.start - offset > threshold:
                self._seek = began + round((first.start - offset) * FRAMES_PER_SECOND)
                return None
            segments = self._without_hallucinations(segments, offset, size, threshold)
        if segments:
            self._last_end = _end_of(segments)
        return segments

    def _without_hallucinations(
        self, segments: list[Segment], offset: float, size: int, threshold: float
    ) -> list[Segment]:
        """The segments up to one that looks wrong, with silence or more such around it."""
        window_end = offset + N_FRAMES / FRAMES_PER_SECOND
        last_end = self._last_end
        for i, segment in enumerate(segments):
            if not segment.words:
                continue
            if _is_odd(segment):
                following = next((s for s in segments[i + 1 :] if s.words), None)
                next_start = (
                    offset + size / FRAMES_PER_SECOND
                    if following is None
                    else following.words[0].start
                )
                silence_before = (
                    segment.start - last_end > threshold
                    or segment.start < threshold
                    or segment.start - offset < 2.0
                )
                silence_after = (
                    next_start - segment.end > threshold
                    or (following is not None and _is_odd(following))
                    or window_end - segment.end < 2.0
                )
                if silence_before and silence_after:
                    seek = round(max(offset + 1.0, segment.start) * FRAMES_PER_SECOND)
                    clip_end = self._mel.n_content / FRAMES_PER_SECOND
                    self._seek = self._mel.n_content if clip_end - segment.end < threshold else seek
                    return segments[:i]
            last_end = segment.end
        return segments


def _end_of(segments: Sequence[Segment]) -> float:
    """When the last word was said."""
    ends = [word.end for segment in segments for word in segment.words]
    return ends[-1] if ends else segments[-1].end


def _is_odd(segment: Segment) -> bool:
    """Whether the words are too unlikely, too short or too long to have been said."""
    words = [word for word in segment.words if word.text not in _MARKS][:8]
    score = 0.0
    for word in words:
        length = word.end - word.start
        score += 1.0 if word.probability < 0.15 else 0.0
        score += max(0.0, 0.133 - length) * 15 + max(0.0, length - 2.0)
    return score >= 3 or score + 0.01 >= len(words)
