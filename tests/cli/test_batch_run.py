"""Files to texts: several at a time, and none that fails harms another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from realtime_stts import AudioData, EngineError, TranscriptionResult
from realtime_stts.cli._batch_find import find
from realtime_stts.cli._batch_keep import MANIFEST, Keep
from realtime_stts.cli._batch_plan import Job, Wanted, planned
from realtime_stts.cli._batch_run import Outcome, loaded, transcribe_files
from realtime_stts.errors import EngineLoadError, MissingExtraError, UnknownEngineError
from realtime_stts.testing import (
    Failure,
    FaultySTTEngine,
    Hang,
    ScriptedSTTEngine,
    no_leaks,
    speech,
)

pytestmark = pytest.mark.anyio

WANTED = Wanted("scripted", None, ("txt",))


@dataclass
class Told:
    """A watcher that remembers."""

    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    on_end: Callable[[], None] = lambda: None

    def heard(self, job: Job, seconds: float) -> None:
        self.seconds += seconds

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_end()

    @property
    def errors(self) -> dict[str, str | None]:
        return {outcome.job.source.name: outcome.error for outcome in self.outcomes}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    folder = tmp_path / "sound"
    folder.mkdir()
    for name in ("a", "b", "c"):
        speech(1.0).to_file(folder / f"{name}.wav")
    return folder


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    keep = Keep(tmp_path / "texts")
    keep.prepare()
    return keep


def jobs_of(sound: Path, keep: Keep, wanted: Wanted = WANTED) -> Sequence[Job]:
    return planned(find([sound]).sources, keep.records(), wanted, keep.exists).jobs


async def run(
    sound: Path,
    keep: Keep,
    told: Told,
    *engines: ScriptedSTTEngine | FaultySTTEngine,
    wanted: Wanted = WANTED,
    max_seconds: float = math.inf,
) -> None:
    jobs = jobs_of(sound, keep, wanted)
    await transcribe_files(jobs, engines, wanted, keep, told, max_seconds=max_seconds)


def texts(sound: Path) -> dict[str, str]:
    folder = sound.parent / "texts"
    return {path.name: path.read_text() for path in sorted(folder.glob("*")) if path.is_file()}


async def test_each_file_becomes_its_outputs(sound: Path, keep: Keep, told: Told) -> None:
    wanted = Wanted("scripted", "de", ("txt", "srt"))
    engine = ScriptedSTTEngine(["eins", "zwei", "drei"], latency=0.0)
    await run(sound, keep, told, engine, wanted=wanted)
    written = texts(sound)
    assert [*written] == [MANIFEST, "a.srt", "a.txt", "b.srt", "b.txt", "c.srt", "c.txt"]
    assert [written[f"{name}.txt"] for name in "abc"] == ["eins\n", "zwei\n", "drei\n"]
    assert {call.language for call in engine.calls} == {"de"}
    assert told.outcomes[0].outputs == ("a.txt", "a.srt")
    assert told.errors == {"a.wav": None, "b.wav": None, "c.wav": None}
    assert told.seconds == pytest.approx(3.0)


async def test_nothing_is_left_to_do_afterwards(sound: Path, keep: Keep, told: Told) -> None:
    await run(sound, keep, told, FaultySTTEngine())
    assert jobs_of(sound, keep) == ()


class Busy(ScriptedSTTEngine):
    """Takes a second for each call, and counts who else is at it."""

    running = most = 0

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        Busy.running += 1
        Busy.most = max(Busy.most, Busy.running)
        await anyio.sleep(1.0)
        Busy.running -= 1
        return await super().transcribe(audio, language)


async def test_each_engine_has_one_file_at_a_time(sound: Path, keep: Keep, told: Told) -> None:
    Busy.running = Busy.most = 0
    engines = [Busy(["hello"] * 3, latency=0.0) for _ in range(2)]
    await run(sound, keep, told, *engines)
    assert Busy.most == 2
    assert sorted(len(engine.calls) for engine in engines) == [1, 2]


async def test_a_file_that_fails_costs_no_other(sound: Path, keep: Keep, told: Told) -> None:
    (sound / "a.wav").write_bytes(b"no sound")
    (sound / "b.wav").write_bytes(b"")
    engine = FaultySTTEngine([Failure(EngineError("faulty", "out of\nsorts"))])
    speech(1.0).to_file(sound / "d.wav")
    jobs = jobs_of(sound, keep)
    (sound / "d.wav").unlink()
    await transcribe_files(jobs, [engine], WANTED, keep, told, max_seconds=math.inf)
    errors = told.errors
    assert (errors.pop("a.wav") or "").startswith("the content is not audio of a known kind")
    assert errors == {
        "b.wav": "the file is empty",
        "c.wav": "faulty: out of sorts",
        "d.wav": "No such file or directory",
    }
    assert told.outcomes[-1].kind == "FileNotFoundError"
    assert [record.error for record in keep.records()] == [*told.errors.values()]
    told.outcomes.clear()
    await run(sound, keep, told, FaultySTTEngine())  # the next run tries them again
    assert sorted(name for name, error in told.errors.items() if error is None) == ["c.wav"]
    assert len(told.outcomes) == 3


async def test_a_file_that_is_too_long_fails(sound: Path, keep: Keep, told: Told) -> None:
    speech(3.0).to_file(sound / "b.wav")
    await run(sound, keep, told, FaultySTTEngine(), max_seconds=1.8)
    assert told.errors == {"a.wav": None, "b.wav": "it is longer than 0.0005 h", "c.wav": None}


async def test_a_foreign_engine_that_returns_nothing_fails_its_file(
    sound: Path, keep: Keep, told: Told
) -> None:
    class Nothing(ScriptedSTTEngine):
        async def transcribe(self, audio, language=None):  # type: ignore[no-untyped-def]
            return None

    await run(sound, keep, told, Nothing([]))
    assert set(told.errors.values()) == {"scripted: gave no result"}


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("Hearing", "local"),
        UnknownEngineError("speech-to-text", "scripted", []),
        ValueError("it hears English only"),
    ],
)
async def test_what_is_wrong_with_every_file_ends_the_run_and_is_told_once(
    error: Exception, sound: Path, keep: Keep, told: Told
) -> None:
    engines = [FaultySTTEngine([Failure(error)]), FaultySTTEngine([Failure(error)])]
    with pytest.raises(type(error)):
        await run(sound, keep, told, *engines)
    assert told.outcomes == []
    assert [*texts(sound)] == [MANIFEST]


async def test_a_manifest_that_cannot_be_written_ends_the_run(
    sound: Path, keep: Keep, told: Told
) -> None:
    jobs = jobs_of(sound, keep)
    manifest = sound.parent / "texts" / MANIFEST
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(OSError, match="transcribe"):
        await transcribe_files(jobs, [FaultySTTEngine()], WANTED, keep, told, max_seconds=9.0)


async def test_an_output_that_cannot_be_written_fails_its_file(
    sound: Path, keep: Keep, told: Told
) -> None:
    jobs = jobs_of(sound, keep)
    (sound.parent / "texts" / "b.txt").mkdir()
    await transcribe_files(jobs, [FaultySTTEngine()], WANTED, keep, told, max_seconds=9.0)
    assert (told.errors["a.wav"], told.errors["c.wav"]) == (None, None)
    assert told.errors["b.wav"]


async def test_stopped_in_the_middle_it_keeps_what_is_finished_and_goes_on_from_there(
    sound: Path, keep: Keep
) -> None:
    async with no_leaks():
        with anyio.CancelScope() as scope:
            told = Told(on_end=scope.cancel)
            await run(sound, keep, told, FaultySTTEngine([None, Hang()]))
    assert [*texts(sound)] == [MANIFEST, "a.txt"]
    again = Told()
    await run(sound, keep, again, FaultySTTEngine())
    assert [*again.errors] == ["b.wav", "c.wav"]
    assert [*texts(sound)] == [MANIFEST, "a.txt", "b.txt", "c.txt"]


async def test_a_long_file_is_transcribed_in_parts_as_one(
    keep: Keep, told: Told, tmp_path: Path
) -> None:
    folder = tmp_path / "sound"
    folder.mkdir()
    speech(9.0).to_file(folder / "long.wav")
    engine = ScriptedSTTEngine(["one", "two", "three", "four"], latency=0.0, language="de")
    jobs = jobs_of(folder, keep)
    await transcribe_files(jobs, [engine], WANTED, keep, told, max_seconds=9.0, longest=4.0)
    assert sum(call.heard for call in engine.calls) == pytest.approx(9.0)
    assert told.seconds == pytest.approx(9.0)
    assert texts(folder)["long.txt"] == "one two three\n"
    # What its beginning was found to be in, the rest is taken to be in.
    assert [call.language for call in engine.calls] == [None, "de", "de"]


class TestLoading:
    async def test_engines_are_loaded_and_unloaded(self) -> None:
        engines = [ScriptedSTTEngine([]), ScriptedSTTEngine([])]
        async with loaded(engines):
            assert all(engine.model_loaded for engine in engines)
        assert not any(engine.model_loaded for engine in engines)

    async def test_one_that_fails_is_told_once_and_none_stays_loaded(self) -> None:
        class Broken(ScriptedSTTEngine):
            async def load(self) -> None:
                raise EngineLoadError("scripted", "no model")

        engines = [ScriptedSTTEngine([]), Broken([]), Broken([])]
        with pytest.raises(EngineLoadError, match="no model"):
            async with loaded(engines):
                pytest.fail("it was used")
        assert not engines[0].model_loaded
