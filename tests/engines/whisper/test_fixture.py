"""The small checkpoint truly recognises: openai-whisper itself hears with it.

Whoever sees a test of the engine fail may rule out that the ears are bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")

from whisper.model import Whisper

from realtime_stts.errors import MissingExtraError
from tools.whisper_fixture import STORED

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)

from tools.train_whisper_fixture import HELD_OUT, VOICES, edits, error_rate, record

pytestmark = pytest.mark.timeout(180)


def recorded(n: int, seed: int, voices: Sequence[str]) -> list[Any]:
    return asyncio.run(record(n, seed, voices))


def heard(model: Whisper, samples: np.ndarray, **options: Any) -> dict[str, Any]:
    return model.transcribe(samples, fp16=False, temperature=0.0, sample_len=60, **options)


def padded(phrase: Any) -> np.ndarray:
    return np.pad(phrase.samples, (1_600, 8_000))


@pytest.fixture(scope="module")
def known() -> list[Any]:
    """Phrases by known voices, in an order of words that training never had."""
    return recorded(60, 2027, VOICES)


def test_it_is_small() -> None:
    assert STORED.stat().st_size < 3_000_000


def test_its_voices_and_those_it_never_heard_are_not_the_same() -> None:
    assert not {*VOICES} & {*HELD_OUT}


def test_of_ten_words_by_voices_it_knows_nine_are_right(
    openai_words: Whisper, known: list[Any]
) -> None:
    assert error_rate(openai_words, known) < 0.10


def test_of_five_words_by_voices_it_never_heard_four_are_right(openai_words: Whisper) -> None:
    assert error_rate(openai_words, recorded(60, 2028, HELD_OUT)) < 0.20


def test_it_tells_english_from_german(openai_words: Whisper, known: list[Any]) -> None:
    phrases = [
        *[phrase for phrase in known if phrase.language == "en"][:6],
        *[phrase for phrase in known if phrase.language == "de"][:6],
    ]
    right = [
        heard(openai_words, padded(phrase))["language"] == phrase.language for phrase in phrases
    ]
    assert len(right) > 8
    assert sum(right) >= len(right) - 1


def test_it_knows_when_a_phrase_begins_and_ends(openai_words: Whisper, known: list[Any]) -> None:
    off = []
    for i, phrase in enumerate(known[:16]):
        before = 1_600 + 800 * (i % 10)
        samples = np.pad(phrase.samples, (before, 8_000))
        segments = heard(openai_words, samples, language=phrase.language)["segments"]
        # Of a single segment openai-whisper gives the beginning as that of the window.
        start = (segments[0]["tokens"][0] - 50_364) * 0.02
        off += [
            abs(start - before / 16_000),
            abs(segments[-1]["end"] - (before + phrase.samples.size) / 16_000),
        ]
    assert np.mean(off) < 0.1


def test_it_knows_silence(openai_words: Whisper) -> None:
    chance = np.random.default_rng(0)
    for loudness in (1e-4, 1e-3, 1e-2):
        noise = (chance.standard_normal(48_000) * loudness).astype(np.float32)
        (segment, *_) = heard(openai_words, noise, no_speech_threshold=None)["segments"]
        assert segment["no_speech_prob"] > 0.6


def test_a_phrase_does_not_sound_like_silence(openai_words: Whisper, known: list[Any]) -> None:
    for phrase in known[:4]:
        (segment, *_) = heard(openai_words, padded(phrase))["segments"]
        assert segment["no_speech_prob"] < 0.1


def test_errors_are_counted_in_words() -> None:
    assert edits(["a", "b", "c"], ["a", "b", "c"]) == 0
    assert edits(["a", "b", "c"], ["a", "c"]) == 1
    assert edits(["a", "b", "c"], ["x", "a", "b", "d"]) == 2
    assert edits(["a", "b", "c"], []) == 3
