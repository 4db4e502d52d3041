"""What can be asked of Whisper is asked in its ranges, or not at all."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

pytest.importorskip("whisper")

from whisper.decoding import DecodingOptions

from realtime_stts.engines.whisper import WhisperOptions


class TestTheDefaults:
    def test_are_openais(self) -> None:
        ours, theirs = WhisperOptions(), DecodingOptions()
        assert ours.task == theirs.task
        assert ours.suppress_tokens == (int(str(theirs.suppress_tokens)),)
        for name in (
            "beam_size",
            "best_of",
            "length_penalty",
            "max_initial_timestamp",
            "prompt",
            "sample_len",
            "suppress_blank",
        ):
            assert getattr(ours, name) == getattr(theirs, name)

    def test_do_not_change(self) -> None:
        with pytest.raises(FrozenInstanceError):
            WhisperOptions().beam_size = 5


class TestTemperatures:
    def test_are_several_always(self) -> None:
        assert WhisperOptions().temperatures == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        assert WhisperOptions(temperature=0).temperatures == (0.0,)
        assert WhisperOptions(temperature=[0, 1]).temperatures == (0.0, 1.0)

    @pytest.mark.parametrize("temperature", [(), (0.2, 0.0), (0.2, 0.2)])
    def test_rise(self, temperature: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="temperatures rise, and there is one, not"):
            WhisperOptions(temperature=temperature)

    @pytest.mark.parametrize("temperature", [-0.1, 1.1, (0.0, 1.1)])
    def test_have_a_range(self, temperature: float | tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match=r"temperature is 0 to 1, not"):
            WhisperOptions(temperature=temperature)


RANGES = {
    "beam_size": (1, 16, 0, 17),
    "best_of": (1, 16, 0, 17),
    "patience": (0.1, 10.0, 0.0, 11.0),
    "length_penalty": (0.0, 1.0, -0.1, 1.1),
    "max_initial_timestamp": (0.0, 30.0, -0.1, 30.1),
    "compression_ratio_threshold": (0.0, 100.0, -0.1, float("nan")),
    "logprob_threshold": (-100.0, 0.0, float("nan"), 0.1),
    "no_speech_threshold": (0.0, 1.0, -0.1, 1.1),
    "sample_len": (1, 448, 0, 449),
    "seed": (0, 2**63 - 1, -1, 2**63),
}


class TestAValue:
    @pytest.mark.parametrize("name", RANGES)
    def test_is_in_its_range(self, name: str) -> None:
        low, high, below, above = RANGES[name]
        for value in (low, high):
            assert getattr(WhisperOptions(**{name: value}), name) == value
        for value in (below, above):
            with pytest.raises(ValueError, match=f"^{name} is .* to .*, not {value}"):
                WhisperOptions(**{name: value})

    @pytest.mark.parametrize(
        "name",
        [
            "beam_size",
            "best_of",
            "length_penalty",
            "compression_ratio_threshold",
            "logprob_threshold",
            "no_speech_threshold",
            "sample_len",
            "seed",
        ],
    )
    def test_may_be_left_out(self, name: str) -> None:
        assert getattr(WhisperOptions(**{name: None}), name) is None

    @pytest.mark.parametrize(
        ("name", "choices"),
        [
            ("task", "transcribe, translate"),
            ("encoder", "exact, balanced, aggressive"),
            ("fill", "silence, zeros"),
            ("long_audio", "sequential, batched"),
        ],
    )
    def test_is_one_of_few(self, name: str, choices: str) -> None:
        for choice in choices.split(", "):
            assert getattr(WhisperOptions(**{name: choice}), name) == choice
        with pytest.raises(ValueError, match=f"{name} is one of {choices}, not 'other'"):
            WhisperOptions(**{name: "other"})


class TestTogether:
    def test_silence_is_skipped_by_the_times_of_words(self) -> None:
        WhisperOptions(hallucination_silence_threshold=2.0, word_timestamps=True)
        with pytest.raises(ValueError, match="hallucination_silence_threshold needs word_time"):
            WhisperOptions(hallucination_silence_threshold=2.0)
        with pytest.raises(ValueError, match="hallucination_silence_threshold is 0 to 30, not 31"):
            WhisperOptions(hallucination_silence_threshold=31.0, word_timestamps=True)

    @pytest.mark.parametrize("clip", [(0.0, None), (1.5, 2.0)])
    def test_a_clip_has_a_beginning_and_an_end(self, clip: tuple[float, float | None]) -> None:
        assert WhisperOptions(clip=clip).clip == clip

    @pytest.mark.parametrize(
        "clip", [(-1.0, None), (float("nan"), None), (2.0, 2.0), (2.0, 1.0), (0.0, float("nan"))]
    )
    def test_a_clip_is_longer_than_nothing(self, clip: tuple[float, Any]) -> None:
        with pytest.raises(ValueError, match="a clip begins at 0 or later and ends after that"):
            WhisperOptions(clip=clip)

    def test_a_word_is_not_taken_for_its_letters(self) -> None:
        assert WhisperOptions(hotwords=["Alia"]).hotwords == ["Alia"]
        with pytest.raises(TypeError, match="hotwords are several; put one in a list"):
            WhisperOptions(hotwords="Alia")
