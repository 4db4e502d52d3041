"""Voices have ids, consent and nothing left behind; what is derived from them is made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts.errors import UnknownVoiceError, VoiceError
from realtime_stts.voices import Consent, Reference, VoiceRegistry

CONSENT = Consent("Anna", "You may use my voice.", datetime(2025, 1, 2, tzinfo=timezone.utc))


def recording(seed: int = 0, seconds: float = 3.0) -> AudioData:
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * 16_000))
    return AudioData.from_samples(noise, 16_000)


@dataclass
class Timbre:
    """What a model could derive."""

    values: list[float]
    nbytes: int = 100

    def copy(self) -> Timbre:
        return Timbre([*self.values], self.nbytes)


def timbre(reference: Reference | None) -> Timbre:
    return Timbre([] if reference is None else [float(reference.audio.samples[0, 0])])


def never(reference: Reference | None) -> Timbre:
    raise AssertionError("it was to be kept")


@pytest.fixture(params=["in memory", "in a folder"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> VoiceRegistry:
    return VoiceRegistry(None if request.param == "in memory" else tmp_path / "voices")


class TestRegistering:
    def test_makes_a_voice(self, registry: VoiceRegistry) -> None:
        registered = registry.register("anna", recording(), consent=CONSENT, language="de")
        assert registry.info("anna") == registered
        assert registry.list() == (registered,)
        assert (registered.name, registered.language, registered.built_in) == ("Anna", "de", False)
        assert registered.seconds == 3.0
        assert registered.consent == CONSENT

    @pytest.mark.parametrize(
        "voice_id",
        [
            "",
            "../up",
            "/etc/passwd",
            "a/b",
            "Anna",
            "a b",
            "anna.wav",
            "é",
            "-a",
            "a" * 65,
            "a\n",
            5,
        ],
    )
    def test_takes_no_path_for_an_id(self, registry: VoiceRegistry, voice_id: Any) -> None:
        with pytest.raises(VoiceError, match="a voice's id is 1 to 64 of a-z, 0-9, _ and -"):
            registry.register(voice_id, recording(), consent=CONSENT)

    def test_takes_no_id_twice(self, registry: VoiceRegistry) -> None:
        first = registry.register("anna", recording(), consent=CONSENT)
        with pytest.raises(VoiceError, match="called 'anna' already: delete it first"):
            registry.register("anna", recording(1), consent=CONSENT)
        assert registry.list() == (first,)

    def test_takes_no_bad_recording(self, registry: VoiceRegistry) -> None:
        with pytest.raises(VoiceError, match="record more"):
            registry.register("anna", recording(seconds=1.0), consent=CONSENT)
        assert registry.list() == ()

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("Anna  Lee", "Anna Lee"),
            ("A\x00n\x1b[2Jn\u202ea\n", "A n [2Jn a"),
            ("x" * 200, "x" * 100),
            ("Ännchen", "Ännchen"),
            ("  ", "Her Voice"),
        ],
    )
    def test_names_it_for_people(self, registry: VoiceRegistry, name: str, shown: str) -> None:
        assert registry.register("her_voice", recording(), consent=CONSENT, name=name).name == shown

    def test_tells_equal_names_apart(self, registry: VoiceRegistry) -> None:
        names = [
            registry.register(voice_id, recording(), consent=CONSENT, name="Anna").name
            for voice_id in ("a", "b", "c")
        ]
        assert names == ["Anna", "Anna (2)", "Anna (3)"]

    def test_lists_by_name(self, registry: VoiceRegistry) -> None:
        for name in ("zoe", "Bert", "anna"):
            registry.register(name.lower(), recording(), consent=CONSENT, name=name)
        assert [voice.name for voice in registry.list()] == ["anna", "Bert", "zoe"]


class TestConsent:
    @pytest.mark.parametrize("missing", [{"by": " "}, {"statement": ""}])
    def test_says_who_and_what(self, missing: dict[str, str]) -> None:
        with pytest.raises(VoiceError, match="who gave it, and to what"):
            replace(CONSENT, **missing)

    def test_is_not_endless(self) -> None:
        with pytest.raises(VoiceError, match="up to 10000 characters"):
            replace(CONSENT, statement="x" * 10_001)

    def test_has_a_time_with_a_zone(self) -> None:
        with pytest.raises(VoiceError, match="has a time zone"):
            replace(CONSENT, at=datetime(2025, 1, 2))


class TestABuiltInVoice:
    def test_comes_with_a_model(self, registry: VoiceRegistry) -> None:
        registry.add_built_in("default", name="Default", digest="standard 1")
        assert registry.info("default").built_in
        assert registry.conditionals("default", "m", timbre).values == []

    def test_may_be_added_again(self, registry: VoiceRegistry) -> None:
        for _ in range(2):
            registry.add_built_in("default", name="Default", digest="standard 1")
        with pytest.raises(VoiceError, match="called 'default' already"):
            registry.add_built_in("default", name="Default", digest="standard 2")

    def test_is_not_deleted(self, registry: VoiceRegistry) -> None:
        registry.add_built_in("default", name="Default", digest="standard 1")
        with pytest.raises(VoiceError, match="comes with its model"):
            registry.delete("default")


class TestARecording:
    def test_is_kept_as_it_was(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        assert registry.recording("anna") == recording()
        assert 1_000 < registry.size_of("anna") < 2 * 3 * 16_000 + 1_000

    @pytest.mark.parametrize("asked", [VoiceRegistry.recording, VoiceRegistry.size_of])
    def test_is_of_a_voice_that_has_one(
        self, registry: VoiceRegistry, asked: Callable[[VoiceRegistry, str], Any]
    ) -> None:
        registry.add_built_in("default", name="Default", digest="of a model")
        with pytest.raises(VoiceError, match="comes with its model"):
            asked(registry, "default")
        with pytest.raises(UnknownVoiceError):
            asked(registry, "anna")


class TestConditionals:
    def test_are_computed_once(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        first = registry.conditionals("anna", "m", timbre)
        assert registry.conditionals("anna", "m", never) == first

    def test_are_each_models_and_each_voices(self, registry: VoiceRegistry) -> None:
        for voice_id, seed in (("anna", 0), ("bert", 1)):
            registry.register(voice_id, recording(seed), consent=CONSENT)
        anna, bert = (registry.conditionals(name, "m", timbre) for name in ("anna", "bert"))
        assert anna != bert
        other = registry.conditionals("anna", "n", lambda reference: Timbre([5.0]))
        assert other.values == [5.0]
        assert registry.conditionals("anna", "m", never) == anna

    def test_are_of_the_recording_and_not_of_the_id(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        registry.register("ann", recording(), consent=CONSENT)
        anna = registry.conditionals("anna", "m", timbre)
        assert registry.conditionals("ann", "m", never) == anna
        registry.delete("ann")  # anna's are kept
        assert registry.conditionals("anna", "m", never) == anna

    def test_may_be_changed_by_whoever_has_them(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        mine = registry.conditionals("anna", "m", timbre)
        expected = [*mine.values]
        mine.values.append(7.0)
        assert registry.conditionals("anna", "m", never).values == expected

    def test_need_a_voice(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        with pytest.raises(UnknownVoiceError, match="no voice is called 'bert'; known: anna"):
            registry.conditionals("bert", "m", never)

    def test_are_tried_again_after_an_error(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        with pytest.raises(AssertionError):
            registry.conditionals("anna", "m", never)
        registry.conditionals("anna", "m", timbre)

    def test_go_when_others_need_their_room(self) -> None:
        registry = VoiceRegistry(max_bytes=250)
        for seed, voice_id in enumerate("abc"):
            registry.register(voice_id, recording(seed), consent=CONSENT)
        for voice_id in "aba":  # b is the one that was used longest ago
            registry.conditionals(voice_id, "m", timbre)
        registry.conditionals("c", "m", timbre)
        for voice_id in "ac":
            registry.conditionals(voice_id, "m", never)
        with pytest.raises(AssertionError):
            registry.conditionals("b", "m", never)

    def test_that_have_no_room_at_all_are_not_kept(self) -> None:
        registry = VoiceRegistry(max_bytes=50)
        registry.register("anna", recording(), consent=CONSENT)
        for _ in range(2):
            assert registry.conditionals("anna", "m", timbre).nbytes == 100


class TestSeveralThreads:
    def test_have_conditionals_computed_once(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        begun, go_on, n_computed = Event(), Event(), []

        def slowly(reference: Reference | None) -> Timbre:
            n_computed.append(1)
            begun.set()
            assert go_on.wait(10)
            return timbre(reference)

        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(registry.conditionals, "anna", "m", slowly)
            assert begun.wait(10)
            others = [pool.submit(registry.conditionals, "anna", "m", never) for _ in range(7)]
            go_on.set()
            assert all(other.result(10) == first.result(10) for other in others)
        assert len(n_computed) == 1

    def test_do_not_share_an_error(self, registry: VoiceRegistry) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        begun, go_on = Event(), Event()

        def failing(reference: Reference | None) -> Timbre:
            begun.set()
            assert go_on.wait(10)
            raise RuntimeError("given up")

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(registry.conditionals, "anna", "m", failing)
            assert begun.wait(10)
            second = pool.submit(registry.conditionals, "anna", "m", timbre)
            go_on.set()
            with pytest.raises(RuntimeError, match="given up"):
                first.result(10)
            assert second.result(10).values

    def test_compute_for_different_voices_at_once(self, registry: VoiceRegistry) -> None:
        together = Barrier(2)

        def meeting(reference: Reference | None) -> Timbre:
            together.wait(10)
            return timbre(reference)

        for seed, voice_id in enumerate("ab"):
            registry.register(voice_id, recording(seed), consent=CONSENT)
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(registry.conditionals, name, "m", meeting) for name in "ab"]
            assert found[0].result(10) != found[1].result(10)

    def test_that_compute_for_a_voice_never_get_another_of_its_id(
        self, registry: VoiceRegistry
    ) -> None:
        registry.register("anna", recording(), consent=CONSENT)

        def while_it_is_exchanged(reference: Reference | None) -> Timbre:
            registry.delete("anna")
            registry.register("anna", recording(1), consent=CONSENT)
            return timbre(reference)

        with pytest.raises(UnknownVoiceError):
            registry.conditionals("anna", "m", while_it_is_exchanged)
        assert registry.conditionals("anna", "m", timbre) == timbre(
            Reference(AudioData.from_file(recording(1).encode("flac")), 0.0)
        )

    def test_that_compute_for_a_voice_which_goes_keep_nothing(
        self, registry: VoiceRegistry
    ) -> None:
        registry.register("anna", recording(), consent=CONSENT)

        def while_it_is_deleted(reference: Reference | None) -> Timbre:
            registry.delete("anna")
            return timbre(reference)

        with pytest.raises(UnknownVoiceError):
            registry.conditionals("anna", "m", while_it_is_deleted)
        registry.register("anna", recording(), consent=CONSENT)
        with pytest.raises(AssertionError):
            registry.conditionals("anna", "m", never)


class TestDeleting:
    def test_leaves_nothing(self, registry: VoiceRegistry, tmp_path: Path) -> None:
        registry.register("anna", recording(), consent=CONSENT)
        registry.conditionals("anna", "m", timbre)
        registry.delete("anna")
        assert registry.list() == ()
        with pytest.raises(UnknownVoiceError):
            registry.info("anna")
        assert [path for path in tmp_path.rglob("*") if path.name != "voices"] == []
        registry.register("anna", recording(), consent=CONSENT)
        with pytest.raises(AssertionError):  # which was derived before is gone
            registry.conditionals("anna", "m", never)

    def test_changes_nothing_where_the_folder_cannot_be_changed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = VoiceRegistry(tmp_path)
        anna = registry.register("anna", recording(), consent=CONSENT)

        def refused(*args: Any) -> None:
            raise PermissionError("not yours")

        monkeypatch.setattr(Path, "rename", refused)
        with pytest.raises(PermissionError, match="not yours"):
            registry.delete("anna")
        assert registry.list() == VoiceRegistry(tmp_path).list() == (anna,)
        assert registry.conditionals("anna", "m", timbre).values

    def test_needs_a_voice(self, registry: VoiceRegistry) -> None:
        with pytest.raises(UnknownVoiceError, match="known: none"):
            registry.delete("anna")


class TestAFolder:
    def test_survives_a_restart(self, tmp_path: Path) -> None:
        before = VoiceRegistry(tmp_path)
        anna = before.register("anna", recording(), consent=CONSENT, name="Änn", language="de")
        derived = before.conditionals("anna", "m", timbre)
        after = VoiceRegistry(tmp_path)
        assert after.list() == (anna,)
        assert after.conditionals("anna", "m", timbre) == derived

    def test_says_who_consented(self, tmp_path: Path) -> None:
        VoiceRegistry(tmp_path).register("anna", recording(), consent=CONSENT)
        record = json.loads((tmp_path / "voice-anna" / "voice.json").read_text())
        assert record["consent"] == {
            "by": "Anna",
            "statement": "You may use my voice.",
            "at": "2025-01-02T00:00:00+00:00",
        }

    def test_holds_no_half_of_a_voice(self, tmp_path: Path, monkeypatch: Any) -> None:
        registry = VoiceRegistry(tmp_path)

        def full(*args: Any, **kwargs: Any) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space left"):
            registry.register("anna", recording(), consent=CONSENT)
        assert [*tmp_path.iterdir()] == []
        assert registry.list() == ()

    def test_is_tidied_after_a_crash(self, tmp_path: Path) -> None:
        (tmp_path / ".unfinished-0123").mkdir()
        (tmp_path / ".unfinished-0123" / "reference.flac").write_bytes(b"half")
        VoiceRegistry(tmp_path)
        assert [*tmp_path.iterdir()] == []

    def test_may_hold_other_things(self, tmp_path: Path) -> None:
        (tmp_path / "README").write_text("Voices of the house.")
        assert VoiceRegistry(tmp_path).list() == ()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda folder: (folder / "voice.json").write_text("{"),
            lambda folder: (folder / "voice.json").write_text("[]"),
            lambda folder: (folder / "voice.json").write_text('{"format": 2}'),
            lambda folder: (folder / "voice.json").unlink(),
            lambda folder: (folder / "reference.flac").unlink(),
            lambda folder: folder.rename(folder.parent / "voice-bert"),
        ],
    )
    def test_that_is_damaged_is_an_error(
        self, tmp_path: Path, damage: Callable[[Path], object]
    ) -> None:
        VoiceRegistry(tmp_path).register("anna", recording(), consent=CONSENT)
        damage(tmp_path / "voice-anna")
        with pytest.raises(VoiceError, match=r"voice-.* is damaged .*: restore that folder"):
            VoiceRegistry(tmp_path)

    def test_whose_recording_was_exchanged_is_an_error(self, tmp_path: Path) -> None:
        registry = VoiceRegistry(tmp_path)
        registry.register("anna", recording(), consent=CONSENT)
        recording(1).to_file(tmp_path / "voice-anna" / "reference.flac")
        with pytest.raises(VoiceError, match="the recording of the voice 'anna' was changed"):
            registry.conditionals("anna", "m", timbre)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.text(max_size=70))
def test_no_id_leaves_the_folder(tmp_path: Path, voice_id: str) -> None:
    folder = tmp_path / "inner" / "voices"
    registry = VoiceRegistry(folder)
    with pytest.raises(VoiceError):
        registry.register(voice_id, recording(seconds=0.1), consent=CONSENT)
    assert [*(tmp_path / "inner").iterdir()] == [folder]
