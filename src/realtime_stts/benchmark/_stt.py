"""How fast and how well speech is understood."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from ..audio import AudioData
from ..errors import EngineError, MissingExtraError
from ..protocols import ManagedSTTEngine, TranscriptionResult
from ._check import CheckError
from ._figures import Figure, Job, Utterance
from ._onsets import last_sound
from ._words import has_spaces, pieces, shown_for_good, unstable

__all__ = ["measure"]

_CHUNK = 0.02  # s; as a telephone or a browser sends it
_LIVE, _LIVE_QUICK = 24, 6  # utterances that are streamed, which takes as long as they last

_Errors = tuple[int, int]  # wrong words (or characters) and how many there are


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a stream gave, when: seconds since its first sound began."""

    results: list[tuple[float, TranscriptionResult]]
    end: float  # when the last sound had been said

    @property
    def final(self) -> TranscriptionResult:
        return self.results[-1][1]


async def measure(job: Job) -> list[Figure]:
    """Whole clips one after the other, then the same speech streamed as it is spoken.

    Raises:
        MissingExtraError: The packages that count errors are not installed.
        CheckError: No utterance holds a word that can be counted.
        EngineError: The engine failed.
    """
    errors_of = _error_counter(job.language)
    async with job.stt() as engine:
        job.tell("stt: warming up")
        await engine.warmup()
        figures = await _whole_clips(engine, job, errors_of)
        heard: list[_Heard] = []
        chosen = job.utterances[: _LIVE_QUICK if job.quick else _LIVE]
        for number, each in enumerate(chosen, 1):
            job.tell(f"stt: streaming {number} of {len(chosen)}, as fast as it is spoken")
            heard.append(await _streamed(engine, each, job.language))
    return [*figures, *_live_figures(heard, job.language)]


async def _whole_clips(
    engine: ManagedSTTEngine, job: Job, errors_of: Callable[[str, str], _Errors]
) -> list[Figure]:
    seconds: list[float] = []
    took: list[float] = []
    counts: list[_Errors] = []
    for number, each in enumerate(job.utterances, 1):
        job.tell(f"stt: transcribing {number} of {len(job.utterances)}")
        began = anyio.current_time()
        result = await engine.transcribe(each.audio, job.language)
        took.append(anyio.current_time() - began)
        if result is None:  # the contract's way to fail, of an engine that is not ours
            raise EngineError("stt", f"gave no result for {each.name}")
        seconds.append(each.audio.duration_seconds)
        counts.append(errors_of(each.text, result.text))
    if not any(words for _, words in counts):
        raise CheckError("no transcript holds a word once it is normalised: nothing to count")
    unit = "word" if has_spaces(job.language) else "character"
    return [
        Figure(
            "stt",
            "seconds of sound transcribed in one",
            "x",
            tuple(seconds),
            tuple(took),
            "ratio",
            "higher",
            "RTFx: whole clips, one at a time, loaded and warm",
        ),
        Figure(
            "stt",
            f"{unit} error rate",
            "%",
            tuple(100.0 * wrong for wrong, _ in counts),
            tuple(float(words) for _, words in counts),
            "ratio",
            note=f"of all {unit}s, after Whisper's normaliser; no phrases told",
        ),
    ]


async def _streamed(engine: ManagedSTTEngine, utterance: Utterance, language: str) -> _Heard:
    """What comes of a stream that ends with its last sound, fed at the pace of speech."""
    end = last_sound(utterance.audio) or utterance.audio.duration_seconds
    speech = utterance.audio.sliced(0.0, end)
    began = anyio.current_time()
    async with (
        aclosing(_paced(speech, began)) as chunks,
        aclosing(engine.stream(chunks, language)) as stream,
    ):
        results = [(anyio.current_time() - began, result) async for result in stream]
    if not results or results[-1][1].partial:
        raise EngineError("stt", f"ended without a final result for {utterance.name}")
    return _Heard(results, end)


async def _paced(speech: AudioData, began: float) -> AsyncGenerator[AudioData]:
    """Each chunk once it has been said; at once to a reader that is behind."""
    length, number = speech.duration_seconds, 0
    while (start := number * _CHUNK) < length:
        number += 1
        end = min(number * _CHUNK, length)
        await anyio.sleep_until(began + end)
        yield speech.sliced(start, end)


def _live_figures(heard: Sequence[_Heard], language: str) -> list[Figure]:
    figures = [
        Figure(
            "stt",
            "time to the final segment",
            "ms",
            tuple(1000 * (each.results[-1][0] - each.end) for each in heard),
            note="from the last sound; without the silence that tells that it was the last",
        )
    ]
    if not any(result.partial for each in heard for _, result in each.results):
        return figures  # an engine that answers at the end only
    late = [delay for each in heard for delay in _delays(each, language)]
    if late:
        figures.append(
            Figure(
                "stt",
                "a word is shown for good",
                "ms",
                tuple(late),
                note="from its end, as the engine's final result has it",
            )
        )
    final = [float(len(pieces(each.final.text, language))) for each in heard]
    if any(final):
        revised = (
            100.0 * unstable([pieces(result.text, language) for _, result in each.results])
            for each in heard
        )
        figures.append(
            Figure(
                "stt",
                "words shown that changed",
                "%",
                tuple(revised),
                tuple(final),
                "ratio",
                note="of the final words; one that changes twice counts twice",
            )
        )
    return figures


def _delays(heard: _Heard, language: str) -> list[float]:
    """Milliseconds from the end of each word until it was shown for good.

    None where the words with times are not those of the text.
    """
    ends = [word.end for word in heard.final.words]
    shown = shown_for_good([(at, pieces(each.text, language)) for at, each in heard.results])
    if len(ends) != len(shown):
        return []
    return [1000 * (at - end) for at, end in zip(shown, ends, strict=True)]


def _error_counter(language: str) -> Callable[[str, str], _Errors]:
    """Counts the errors in what was understood, of what was meant, both normalised.

    Raises:
        MissingExtraError: jiwer or whisper-normalizer is not installed.
    """
    try:
        import jiwer
    except ImportError as exc:
        raise MissingExtraError("The error rate of a transcript", "bench") from exc
    normal = _normaliser(language)

    def count(meant: str, understood: str) -> _Errors:
        # A space between all that counts lets one function count words and characters.
        truth, guess = (" ".join(_counted(normal(each), language)) for each in (meant, understood))
        if not truth:  # nothing but signs: left out, as the Open ASR Leaderboard does
            return 0, 0
        found = jiwer.process_words(truth, guess)
        wrong = found.substitutions + found.deletions + found.insertions
        return wrong, found.hits + found.substitutions + found.deletions

    return count


def _counted(text: str, language: str) -> list[str]:
    """The words of a normalised text: what is left of an ellipsis, a full stop, is none."""
    found = pieces(text, language)
    if not has_spaces(language):  # there, a vowel's mark is a character that is no letter
        return found
    return [each for each in found if any(map(str.isalnum, each))]


def _normaliser(language: str) -> Callable[[str], str]:
    try:
        with warnings.catch_warnings():  # one of its texts has an escape that Python frowns at
            warnings.simplefilter("ignore")
            from whisper_normalizer.basic import (  # type: ignore[import-untyped]
                BasicTextNormalizer,
            )
            from whisper_normalizer.english import (  # type: ignore[import-untyped]
                EnglishTextNormalizer,
            )
    except ImportError as exc:
        raise MissingExtraError("The error rate of a transcript", "bench") from exc
    english = language.lower().replace("_", "-").partition("-")[0] == "en"
    normal: Callable[[str], str] = EnglishTextNormalizer() if english else BasicTextNormalizer()
    return normal
