"""`transcribe` and `say`, with the embedded engines and with ones that follow a script."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts import AudioData, EngineError
from realtime_stts.cli import _speech
from realtime_stts.cli._app import app
from realtime_stts.engines import load_stt
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine, speech


def run(*args: str, input: bytes | str | None = None) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, args, input=input)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return speech(1.0).to_file(tmp_path / "clip.flac")


class TestTranscribeByScript:
    @pytest.fixture(autouse=True)
    def engine(self, monkeypatch: pytest.MonkeyPatch) -> ScriptedSTTEngine:
        engine = ScriptedSTTEngine(["what time is it"], latency=0.0)
        monkeypatch.setattr(_speech, "load_stt", lambda spec: engine)
        return engine

    def test_only_the_text_goes_to_stdout(self, clip: Path) -> None:
        assert run("transcribe", str(clip)) == (0, "what time is it\n", "")

    def test_the_whole_clip_is_streamed_in_the_language_asked_for(
        self, clip: Path, engine: ScriptedSTTEngine
    ) -> None:
        run("transcribe", str(clip), "--language", "de")
        (call,) = engine.calls
        assert (call.streamed, call.language, call.heard) == (True, "de", 1.0)

    def test_json_holds_everything(self, clip: Path) -> None:
        code, out, _ = run("transcribe", str(clip), "--json")
        assert code == 0
        result = json.loads(out)
        assert list(result) == ["text", "language", "confidence", "duration", "segments", "words"]
        assert result["text"] == "what time is it"
        assert result["language"] == "en"
        assert result["duration"] == 1.0
        assert result["segments"] == [
            {"text": "what time is it", "start": 0.0, "end": 1.0, "confidence": 0.9}
        ]
        assert [word["text"] for word in result["words"]] == ["what", "time", "is", "it"]
        assert result["words"][1] == {"text": "time", "start": 0.25, "end": 0.5, "confidence": 0.9}

    def test_stdin(self, clip: Path) -> None:
        assert run("transcribe", "-", input=clip.read_bytes())[1] == "what time is it\n"

    def test_on_a_terminal_progress_is_shown_in_seconds_of_audio(
        self, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Console(
            file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"}
        )
        monkeypatch.setattr(_speech, "err", terminal)
        assert run("transcribe", str(clip))[1] == "what time is it\n"
        assert isinstance(terminal.file, io.StringIO)
        assert "1.0 of 1.0 s" in terminal.file.getvalue()


def test_an_engine_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    engine = ScriptedSTTEngine([EngineError("scripted", "gone")])
    monkeypatch.setattr(_speech, "load_stt", lambda spec: engine)
    assert run("transcribe", str(clip)) == (1, "", "error: scripted: gone\n")


def test_an_engine_that_ends_without_a_result_is_one_line(
    monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    class Speechless(ScriptedSTTEngine):
        async def stream(self, audio, language=None):  # type: ignore[no-untyped-def]
            for result in ():
                yield result

    monkeypatch.setattr(_speech, "load_stt", lambda spec: Speechless([]))
    code, out, err = run("transcribe", str(clip), "--stt", "speechless")
    assert (code, out) == (1, "")
    assert err == "error: speechless: ended without a final result\n"


def test_a_voice_that_makes_no_sound_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Mute(ScriptedTTSEngine):
        async def stream(self, text, voice_config=None):  # type: ignore[no-untyped-def]
            for chunk in ():
                yield chunk

    monkeypatch.setattr(_speech, "load_tts", lambda spec: Mute())
    path = tmp_path / "say.wav"
    code, out, err = run("say", "hello", "--tts", "mute", "-o", str(path))
    assert (code, out) == (1, "")
    assert err == "error: mute: made no sound of this text\n"
    assert not path.exists()


class TestSayByESpeak:
    @pytest.fixture(autouse=True)
    def _espeak(self) -> None:
        pytest.importorskip("espeakng_loader")

    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
    def test_the_suffix_names_the_format(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"say.{suffix}"
        code, out, err = run("say", "good morning", "-o", str(path))
        assert (code, err) == (0, "")
        audio = AudioData.from_file(path)
        assert 0.4 < audio.duration_seconds < 1.5
        assert abs(audio.samples).max() > 0.1
        shown = float(out.removeprefix(f"{path}: ").partition(" s")[0])
        assert shown == pytest.approx(audio.duration_seconds, abs=0.1)
        assert "first sound after" in out
        assert "real-time factor" in out

    def test_a_text_from_stdin(self, tmp_path: Path) -> None:
        path = tmp_path / "say.wav"
        assert run("say", "-", "-o", str(path), input="good morning\n")[0] == 0
        assert AudioData.from_file(path).duration_seconds > 0.4

    def test_voice_and_speed_are_obeyed(self, tmp_path: Path) -> None:
        path = tmp_path / "say.wav"

        def said(*options: str) -> AudioData:
            assert run("say", "good morning to you", "-o", str(path), *options)[0] == 0
            return AudioData.from_file(path)

        normal, fast, other = said(), said("--speed", "2"), said("--voice", "en-us+f3")
        assert fast.duration_seconds < 0.7 * normal.duration_seconds
        assert other.data != normal.data

    @pytest.mark.parametrize("option", [["--voice", "nobody"], ["--speed", "100"]])
    def test_a_voice_or_speed_that_there_is_not_leaves_no_file(
        self, option: list[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "say.wav"
        code, out, err = run("say", "hello", "-o", str(path), *option)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not path.exists()

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere" / "say.wav"
        code, out, err = run("say", "hello", "-o", str(path))
        assert (code, out, err) == (1, "", f"error: {path}: No such file or directory\n")

    def test_the_voices(self) -> None:
        code, out, _ = run("say", "--list-voices")
        assert code == 0
        assert any(line.split()[:1] == ["en-us"] for line in out.splitlines())

    @pytest.mark.anyio
    async def test_what_was_said_is_understood(self, tmp_path: Path) -> None:
        pytest.importorskip("pocketsphinx")
        path = tmp_path / "say.wav"
        speech = await _speech.speak("tell me a joke", "espeak", {"voice_id": "en-us+f3"})
        speech.audio.to_file(path)
        phrases = ["hello there", "tell me a joke", "what time is it", "good bye"]
        async with load_stt("pocketsphinx", phrases=phrases) as ears:
            result = await ears.transcribe(AudioData.from_file(path))
        assert result is not None
        assert result.text == "tell me a joke"


def test_transcribing_by_pocketsphinx(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    path = tmp_path / "say.wav"
    run("say", "good morning", "--voice", "en-us+f3", "-o", str(path))
    code, out, err = run("transcribe", str(path), "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["text"]
    assert result["language"] == "en"
    ends = [word["end"] for word in result["words"]]
    assert ends == sorted(ends)
    assert ends[-1] <= result["duration"] + 0.01
