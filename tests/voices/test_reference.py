"""A recording is checked before a voice is taken from it, and the error says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realtime_stts import AudioData
from realtime_stts.errors import VoiceError
from realtime_stts.voices import checked, read


def recording(
    seconds: float, *, rate: int = 24_000, level: float = 0.1, channels: int = 1
) -> AudioData:
    """Noise in syllables."""
    n = round(seconds * rate)
    noise = np.random.default_rng(0).uniform(-1, 1, (n, channels))
    syllables = 1.0 + np.sin(2 * np.pi * 4 * np.arange(n) / rate)
    return AudioData.from_samples((level * noise.T * syllables).T, rate)


class TestAGoodRecording:
    @pytest.mark.parametrize("seconds", [3.0, 12.0, 30.0])
    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_is_a_reference(self, seconds: float, rate: int) -> None:
        reference = checked(recording(seconds, rate=rate))
        assert reference.seconds == pytest.approx(seconds)
        assert reference.audio.sample_rate == rate

    def test_becomes_one_channel(self) -> None:
        assert checked(recording(4.0, channels=2)).audio.channels == 1

    def test_has_a_level_where_there_is_speech(self) -> None:
        level = checked(recording(4.0, level=0.1)).level
        assert level == pytest.approx(-23.0, abs=1.0)
        assert checked(recording(4.0, level=0.05)).level == pytest.approx(level - 6.0, abs=0.3)


class TestABadRecording:
    def test_is_too_short(self) -> None:
        with pytest.raises(
            VoiceError, match=r"has 2.9 s, and a voice takes 3 to 30 s: record more"
        ):
            checked(recording(2.9))

    def test_is_too_long(self) -> None:
        with pytest.raises(VoiceError, match=r"has 31.0 s, .*: cut a part"):
            checked(recording(31.0))

    def test_is_of_a_telephone(self) -> None:
        with pytest.raises(VoiceError, match=r"8000 Hz, .*: record at 16000 Hz or more"):
            checked(recording(4.0, rate=8_000))

    @pytest.mark.parametrize("level", [0.0, 0.001])
    def test_is_silent(self, level: float) -> None:
        with pytest.raises(VoiceError, match=r"silent: check the microphone"):
            checked(recording(4.0, level=level))

    def test_is_nearly_silent(self) -> None:
        mostly = AudioData.concat([recording(1.0), AudioData.silence(5.0, 24_000)])
        with pytest.raises(VoiceError, match=r"has \d\.\d s of sound .*: speak all the time"):
            checked(mostly)

    @pytest.mark.parametrize("channels", [1, 2])
    def test_is_clipped(self, channels: int) -> None:
        with pytest.raises(VoiceError, match=r"clipped, .*: record it softer"):
            checked(recording(4.0, level=2.0, channels=channels))

    def test_is_no_audio(self) -> None:
        with pytest.raises(VoiceError, match=r"cannot be decoded"):
            checked(AudioData(b"something else", 24_000, 1, "wav"))


def test_a_loud_recording_is_not_clipped() -> None:
    samples = recording(4.0).samples
    checked(AudioData.from_samples(samples / np.abs(samples).max(), 24_000))


class TestAFile:
    def test_is_read_by_its_content(self, tmp_path: Path) -> None:
        path = recording(4.0).to_file(tmp_path / "voice.mp3")
        assert read(path).duration_seconds == pytest.approx(4.0, abs=0.1)

    def test_is_audio(self, tmp_path: Path) -> None:
        (tmp_path / "voice.wav").write_text("something else")
        with pytest.raises(VoiceError, match=r"cannot be used: .*; give at most 30 s of wav, flac"):
            read(tmp_path / "voice.wav")

    def test_is_not_decoded_past_thirty_seconds(self, tmp_path: Path) -> None:
        path = recording(31.0).to_file(tmp_path / "voice.flac")
        with pytest.raises(VoiceError, match=r"decodes to more than 30.05 s .*; give at most 30 s"):
            read(path)

    def test_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "voice.wav")
