"""What can be asked of Chatterbox is checked before anything is spoken."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, replace
from typing import Any, get_args

import pytest

pytest.importorskip("chatterbox")

from realtime_stts.engines.chatterbox._settings import LANGUAGES, ChatterboxSettings, Kind

KINDS = get_args(Kind)


class TestTheDefaults:
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_the_packages_own(self, kind: Kind) -> None:
        from chatterbox.mtl_tts import ChatterboxMultilingualTTS
        from chatterbox.tts import ChatterboxTTS
        from chatterbox.tts_turbo import ChatterboxTurboTTS

        theirs = {
            "standard": ChatterboxTTS,
            "turbo": ChatterboxTurboTTS,
            "multilingual": ChatterboxMultilingualTTS,
        }[kind]
        ours = ChatterboxSettings.of(kind)
        names = inspect.signature(theirs.generate).parameters
        for name in names.keys() & set(ours.__slots__):
            assert getattr(ours, name) == names[name].default

    def test_know_the_packages_languages(self) -> None:
        from chatterbox.mtl_tts import SUPPORTED_LANGUAGES

        assert sorted(SUPPORTED_LANGUAGES) == list(LANGUAGES)

    def test_do_not_change(self) -> None:
        with pytest.raises(FrozenInstanceError):
            ChatterboxSettings().seed = 5


RANGES: dict[str, tuple[Any, Any, Any, Any]] = {
    "temperature": (0.05, 2.0, 0.0, 2.1),
    "exaggeration": (0, 2.0, -0.1, 2.1),
    "cfg_weight": (0.0, 1, -0.1, float("nan")),
    "repetition_penalty": (1.0, 5.0, 0.9, 5.1),
    "min_p": (0.0, 1.0, -0.1, 1.1),
    "top_p": (0.01, 1.0, 0.0, 1.1),
    "speed_factor": (0.5, 2.0, 0.4, 2.1),
    "seed": (0, 2**63 - 1, -1, 2**63),
}


class TestAValue:
    @pytest.mark.parametrize("name", RANGES)
    def test_is_in_its_range(self, name: str) -> None:
        low, high, below, above = RANGES[name]
        for value in (low, high):
            assert getattr(ChatterboxSettings(**{name: value}), name) == value
        for value in (below, above):
            with pytest.raises(ValueError, match=f"^{name} is .* to .*, not {value}"):
                ChatterboxSettings(**{name: value})

    @pytest.mark.parametrize("name", RANGES)
    @pytest.mark.parametrize("value", ["0.5", True, [1]])
    def test_is_a_number(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"{name} is a (whole )?number"):
            ChatterboxSettings(**{name: value})

    def test_of_a_seed_is_whole(self) -> None:
        with pytest.raises(ValueError, match=r"seed is a whole number, .* not 1.5"):
            ChatterboxSettings(seed=1.5)

    def test_of_top_k_is_whole_or_none(self) -> None:
        turbo = ChatterboxSettings.of("turbo")
        assert replace(turbo, top_k=None).top_k is None
        for value in (0, 8195, 2.0):
            with pytest.raises(ValueError, match=r"top_k is a whole number, 1 to 8194"):
                replace(turbo, top_k=value)

    def test_is_of_a_kind(self) -> None:
        with pytest.raises(ValueError, match=r"kind is one of standard, turbo, multilingual"):
            ChatterboxSettings(kind="other")

    def test_of_a_language_is_one_there_is(self) -> None:
        for language in LANGUAGES:
            assert ChatterboxSettings(kind="multilingual", language=language).language == language
        with pytest.raises(ValueError, match=r"language is one of ar, da, .*, not 'xx'"):
            ChatterboxSettings(kind="multilingual", language="xx")


class TestWhatAModelDoesNothingWith:
    @pytest.mark.parametrize(
        ("kind", "setting"),
        [
            ("turbo", {"exaggeration": 0.7}),
            ("turbo", {"cfg_weight": 0.5}),
            ("turbo", {"min_p": 0.05}),
            ("turbo", {"language": "de"}),
            ("standard", {"language": "de"}),
            ("standard", {"top_k": 5}),
            ("multilingual", {"top_k": 5}),
        ],
    )
    def test_is_refused(self, kind: Kind, setting: dict[str, Any]) -> None:
        (name,) = setting
        with pytest.raises(ValueError, match=f"the {kind} model does nothing with {name}"):
            replace(ChatterboxSettings.of(kind), **setting)

    @pytest.mark.parametrize(
        "setting",
        [{"exaggeration": 0.5}, {"exaggeration": 0.0}, {"cfg_weight": 0.0}, {"language": "en"}],
    )
    def test_may_be_given_where_it_asks_for_nothing(self, setting: dict[str, Any]) -> None:
        replace(ChatterboxSettings.of("turbo"), **setting)


class TestAHostsConfiguration:
    def test_goes_over_the_defaults(self) -> None:
        defaults = ChatterboxSettings(temperature=0.6, seed=3)
        config = {"voice_id": "anna", "exaggeration": 1, "speed_factor": 1.5}
        assert ChatterboxSettings.from_voice_config(config, defaults) == ChatterboxSettings(
            temperature=0.6, seed=3, voice_id="anna", exaggeration=1, speed_factor=1.5
        )

    @pytest.mark.parametrize("config", [None, {}, {"temperature": None, "voice_id": None}])
    def test_of_nothing_is_the_defaults(self, config: dict[str, Any] | None) -> None:
        defaults = ChatterboxSettings(temperature=0.6, voice_id="anna")
        assert ChatterboxSettings.from_voice_config(config, defaults) == defaults

    def test_draws_anew_with_a_seed_of_zero(self) -> None:
        defaults = ChatterboxSettings(seed=7)
        assert ChatterboxSettings.from_voice_config({"seed": 0}, defaults).seed is None
        assert ChatterboxSettings.from_voice_config({"seed": 5}, defaults).seed == 5

    def test_may_leave_the_voice_to_the_model(self) -> None:
        assert ChatterboxSettings.from_voice_config({"voice_id": ""}, ChatterboxSettings()) == (
            ChatterboxSettings()
        )

    def test_names_a_language_in_any_case(self) -> None:
        defaults = ChatterboxSettings.of("multilingual")
        assert ChatterboxSettings.from_voice_config({"language": "DE"}, defaults).language == "de"

    def test_may_hold_what_other_engines_know(self) -> None:
        config = {"rate": 175, "kind": "turbo", "a key of another": object(), "temperature": 0.5}
        ours = ChatterboxSettings.from_voice_config(config, ChatterboxSettings())
        assert ours == ChatterboxSettings(temperature=0.5)

    def test_names_no_path(self) -> None:
        with pytest.raises(ValueError, match=r"register the recording as a voice"):
            ChatterboxSettings.from_voice_config({"voice_path": "/a.wav"}, ChatterboxSettings())

    @pytest.mark.parametrize("config", [{"temperature": "hot"}, {"voice_id": 5}, {"language": 5}])
    def test_holds_values_of_their_types(self, config: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r" is "):
            ChatterboxSettings.from_voice_config(config, ChatterboxSettings())
