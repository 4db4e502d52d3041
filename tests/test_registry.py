"""Engines by name, also those of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime_stts import (
    EngineLoadError,
    ManagedSTTEngine,
    ManagedTTSEngine,
    MissingExtraError,
    UnknownEngineError,
)
from realtime_stts.engines import available, load_pause_detector, load_stt, load_tts
from realtime_stts.engines.energy import EnergyPauseDetector

pytestmark = pytest.mark.anyio

MODULE = """
from realtime_stts import AudioData, SynthesisResult, TranscriptionResult

class STT:
    model_loaded = True
    def __init__(self, argument=None, **options):
        self.argument, self.options = argument, options
    async def transcribe(self, audio, language=None):
        return TranscriptionResult(f"{self.argument} {self.options}", "en", [])
    async def is_available(self):
        return True

class TTS:
    model_loaded = True
    async def synthesize(self, text, voice_config):
        return SynthesisResult(AudioData.silence(1.0, 16000), text, "one")
    async def list_voices(self):
        return []
"""
ENTRIES = """
[realtime_stts.stt]
other = other_engines:STT
voice = other_engines:TTS
broken = other_engines_missing:STT
[realtime_stts.tts]
other = other_engines:TTS
ears = other_engines:STT
[realtime_stts.pause_detection]
other = other_engines:STT
"""


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that somebody else installed, with engines written for the contract alone."""
    info = tmp_path / "other_engines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "other_engines.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("other_engines", None)


def test_an_engine_is_made_by_its_name_and_not_loaded() -> None:
    detector = load_pause_detector("energy", min_speech_frames=5)
    assert isinstance(detector, EnergyPauseDetector)
    assert detector.get_config()["min_speech_frames"] == 5


@pytest.mark.parametrize("load", [load_stt, load_tts, load_pause_detector])
def test_an_unknown_name_is_told_what_there_is(load: Callable[[str], Any]) -> None:
    with pytest.raises(UnknownEngineError, match=r"'nothing'; known: \w+.*pip install"):
        load("nothing")


def test_the_embedded_engines_are_there_or_say_what_to_install() -> None:
    try:
        tts = load_tts("espeak:en-gb", rate=200)
        stt = load_stt("pocketsphinx", phrases=["hello"])
    except MissingExtraError as exc:
        assert 'pip install "realtime-stts[local]"' in str(exc)  # noqa: PT017 - either is right
    else:
        assert isinstance(tts, ManagedTTSEngine)
        assert isinstance(stt, ManagedSTTEngine)
        assert not stt.model_loaded


def test_what_is_offered_is_listed_with_what_is_wrong_with_it(another_package: None) -> None:
    entries = {entry.name: entry for entry in available("stt")}
    assert [*entries] == sorted(entries)
    assert entries["pocketsphinx"].package == "realtime-stts"
    assert (entries["other"].package, entries["other"].problem) == ("other-engines", None)
    assert entries["broken"].problem == "No module named 'other_engines_missing'"


async def test_a_one_shot_engine_of_another_package_streams_and_has_a_life_cycle(
    another_package: None,
) -> None:
    stt = load_stt("other:base.en", size=3)
    assert isinstance(stt, ManagedSTTEngine)

    async def nothing() -> Any:
        return
        yield

    async with stt:
        await stt.warmup()
        assert [result.text async for result in stt.stream(nothing())] == [""]
    tts = load_tts("other")
    assert isinstance(tts, ManagedTTSEngine)
    async with tts:
        assert [chunk.duration_seconds async for chunk in tts.stream("hi")] == [1.0]


async def test_the_argument_and_the_options_reach_the_engine(another_package: None) -> None:
    from realtime_stts import AudioData

    result = await load_stt("other:base.en", size=3).transcribe(AudioData.silence(1, 16_000))
    assert result is not None
    assert result.text == "base.en {'size': 3}"


@pytest.mark.parametrize(
    ("load", "name", "complaint"),
    [
        (load_stt, "voice", "TTS is not an STTEngine"),
        (load_tts, "ears", "STT is not a TTSEngine"),
        (load_pause_detector, "other", "STT is not a PauseDetector"),
        (load_stt, "broken", "cannot be imported: No module named"),
    ],
)
def test_what_is_no_such_engine_is_said_to_be_none(
    another_package: None, load: Callable[[str], Any], name: str, complaint: str
) -> None:
    with pytest.raises(EngineLoadError, match=complaint):
        load(name)
