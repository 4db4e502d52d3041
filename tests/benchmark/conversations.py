"""What the tests of the conversation suites are about: fakes that speak and understand tones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from realtime_stts.benchmark._figures import Figure, Job, Utterance
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones

TEXTS = ("what is the weather", "play some music", "good night")


def utterances(texts: Sequence[str] = TEXTS) -> list[Utterance]:
    return [
        Utterance(str(i), text, speak_tones(text, sample_rate=16_000))
        for i, text in enumerate(texts)
    ]


def job(
    *, stt: Any = ToneSTTEngine, tts: Any = ScriptedTTSEngine, texts: Sequence[str] = TEXTS
) -> Job:
    return Job(
        stt=stt, tts=tts, utterances=utterances(texts), quick=True, seed=1, tell=lambda text: None
    )


def by_case(figures: Sequence[Figure]) -> dict[str, Figure]:
    """They are all of one suite, and no two of one case."""
    found = {figure.case: figure for figure in figures}
    assert len(found) == len(figures)
    assert len({figure.suite for figure in figures}) == 1
    assert all(figure.samples for figure in figures)
    return found
