"""PURE: what can be asked of Whisper, and in which ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Encoder", "Task", "WhisperOptions"]

Encoder = Literal["exact", "balanced", "aggressive"]
Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperOptions:
    """How to transcribe. The defaults, and the names, are openai-whisper's where it has them.

    Attributes:
        task: ``transcribe``, or ``translate`` into English.
        temperature: 0 takes the likeliest words. Of several, each further one is tried when
            the result of the one before looks wrong; each in [0, 1], and rising.
        beam_size: Hypotheses kept at temperature 0, 1 to 16; None searches greedily.
        best_of: Samples drawn above temperature 0, 1 to 16.
        patience: Finished hypotheses that end a beam search, in beam sizes, over 0.
        length_penalty: Google's alpha, in [0, 1]; None divides by the length.
        prompt: What was said before, or text in the style that is wanted.
        hotwords: Names and terms to expect; they join the prompt of every window.
        carry_prompt: Give ``prompt`` to every window, and not to the first alone.
        word_timestamps: Time each word.
        timestamps: Let the model time its segments. Without, each window is one segment.
        max_initial_timestamp: Seconds; the first segment begins no later. 0 is no limit.
        condition_on_previous_text: Give each window the text before it.
        compression_ratio_threshold: A text that packs better than this repeats itself, and
            the next temperature is tried; None for any.
        logprob_threshold: So does one whose mean log probability is below this.
        no_speech_threshold: A window is silent if that probability is over this one and the
            text's mean log probability is below its threshold; None for never.
        hallucination_silence_threshold: Seconds; text that looks wrong within a silence
            longer than that is skipped. Needs ``word_timestamps``.
        suppress_tokens: Tokens that never come; -1 stands for those of no speech, such as
            brackets. None suppresses nothing.
        suppress_blank: Let no text begin with nothing.
        clip: Start and end in seconds of the part to transcribe; None as the end is its end.
        sample_len: Tokens of a window at most, 1 to 448; None is half of the model's context.
        encoder: ``exact`` computes the whole window of 30 seconds, as the model was trained.
            ``balanced`` and ``aggressive`` compute the sound and 2.6 or 1.3 seconds of silence
            after it, which is several times faster and may cost accuracy; what then looks
            wrong is decoded again in full.
        fill: What follows a clip in its window. ``silence`` is what the model was trained on.
            ``zeros`` gives openai-whisper's `transcribe` to the letter: it fills up with zeros
            of the logarithmic spectrum, a medium noise, and detects the language apart.
        long_audio: ``sequential`` reads one window after the other, as openai-whisper does.
            ``batched`` cuts at pauses and decodes the pieces together, each on its own: many
            times faster, and one piece's errors do not spread; but it knows no text before.
        seed: Of what is drawn above temperature 0, where each temperature draws for itself;
            None draws anew each time.

    Raises:
        ValueError: A value is out of its range, or two exclude each other.
    """

    task: Task = "transcribe"
    temperature: float | Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beam_size: int | None = None
    best_of: int | None = None
    patience: float = 1.0
    length_penalty: float | None = None
    prompt: str | None = None
    hotwords: Sequence[str] = ()
    carry_prompt: bool = False
    word_timestamps: bool = False
    timestamps: bool = True
    max_initial_timestamp: float = 1.0
    condition_on_previous_text: bool = True
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    hallucination_silence_threshold: float | None = None
    suppress_tokens: Sequence[int] | None = (-1,)
    suppress_blank: bool = True
    clip: tuple[float, float | None] = (0.0, None)
    sample_len: int | None = None
    encoder: Encoder = "exact"
    fill: Literal["silence", "zeros"] = "silence"
    long_audio: Literal["sequential", "batched"] = "sequential"
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("task", ("transcribe", "translate")),
            ("encoder", ("exact", "balanced", "aggressive")),
            ("fill", ("silence", "zeros")),
            ("long_audio", ("sequential", "batched")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}"
                )
        temperatures = self.temperatures
        if not temperatures or [*temperatures] != sorted(set(temperatures)):
            raise ValueError(f"temperatures rise, and there is one, not {self.temperature!r}")
        for name, value, low, high in (
            *(("temperature", each, 0.0, 1.0) for each in temperatures),
            ("beam_size", self.beam_size, 1, 16),
            ("best_of", self.best_of, 1, 16),
            ("patience", self.patience, 0.1, 10.0),
            ("length_penalty", self.length_penalty, 0.0, 1.0),
            ("max_initial_timestamp", self.max_initial_timestamp, 0.0, 30.0),
            ("compression_ratio_threshold", self.compression_ratio_threshold, 0.0, float("inf")),
            ("logprob_threshold", self.logprob_threshold, float("-inf"), 0.0),
            ("no_speech_threshold", self.no_speech_threshold, 0.0, 1.0),
            ("hallucination_silence_threshold", self.hallucination_silence_threshold, 0.0, 30.0),
            ("sample_len", self.sample_len, 1, 448),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {low:g} to {high:g}, not {value}")
        if self.hallucination_silence_threshold is not None and not self.word_timestamps:
            raise ValueError("hallucination_silence_threshold needs word_timestamps")
        start, end = self.clip
        if not start >= 0.0 or (end is not None and not end > start):
            raise ValueError(f"a clip begins at 0 or later and ends after that, not {self.clip}")
        if isinstance(self.hotwords, str):
            raise TypeError("hotwords are several; put one in a list")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """As several, always."""
        if isinstance(self.temperature, (int, float)):
            return (float(self.temperature),)
        return tuple(map(float, self.temperature))
