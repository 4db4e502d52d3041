"""A file's sound in parts."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from realtime_stts import AudioData
from realtime_stts.audio import StreamResampler
from realtime_stts.cli._batch_sound import RATE, length_of, parts
from realtime_stts.errors import AudioFormatError, AudioLimitError


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> AudioData:
    random = np.random.default_rng(1)
    samples = random.uniform(-0.5, 0.5, (round(seconds * rate), channels))
    return AudioData.from_samples(samples.astype(np.float32), rate)


def read(path: Path, **options: Any) -> list[AudioData]:
    return [part for part in parts(path, **options) if part is not None]


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
@pytest.mark.parametrize("longest", [2.1, 100.0])
def test_the_parts_are_the_whole(rate: int, channels: int, longest: float, tmp_path: Path) -> None:
    clip = noise(7.0, rate, channels)
    got = read(clip.to_file(tmp_path / "a.wav"), longest=longest)
    resampler = StreamResampler(RATE)
    assert b"".join(part.data for part in got) == resampler.push(clip).data + resampler.flush().data
    assert all((part.sample_rate, part.channels, part.format) == (RATE, 1, "pcm") for part in got)
    assert all(part.duration_seconds <= longest for part in got)
    assert all(part.duration_seconds >= 0.9 * longest for part in got[:-1])


def test_it_is_cut_in_a_pause(tmp_path: Path) -> None:
    pause = AudioData.silence(0.3, RATE)
    clip = AudioData.concat([noise(5.6), pause, noise(1.0)])
    first, second = read(clip.to_file(tmp_path / "a.flac"), longest=6.0)
    assert 5.6 < first.duration_seconds < 5.9
    assert first.duration_seconds + second.duration_seconds == pytest.approx(6.9)


def test_the_last_part_is_no_longer_either(tmp_path: Path) -> None:
    # What the resampler holds back comes when all is read already.
    clip = noise(2.1005, 8_000).to_file(tmp_path / "a.wav")
    assert [part.duration_seconds <= 2.1 for part in read(clip, longest=2.1)] == [True, True]


def test_less_than_a_sample_is_nothing(tmp_path: Path) -> None:
    assert read(noise(1 / 192_000, 192_000).to_file(tmp_path / "a.wav")) == []


def test_there_is_a_chance_to_stop_every_twenty_seconds(tmp_path: Path) -> None:
    clip = AudioData.silence(65.0, 8_000).to_file(tmp_path / "a.flac")
    assert [part is None for part in parts(clip)] == [True, True, True, False]


def test_more_than_is_allowed_is_refused_before_all_is_read(tmp_path: Path) -> None:
    clip = AudioData.silence(30.0, 8_000).to_file(tmp_path / "a.flac")
    assert sum(part.duration_seconds for part in read(clip, max_seconds=30.0)) == 30.0
    with pytest.raises(AudioLimitError, match=r"longer than 0\.0025 h"):
        read(clip, max_seconds=9.0)


@pytest.mark.parametrize(
    "content", [b"", b"nothing like sound", AudioData(b"", RATE).encode("wav")]
)
def test_what_holds_no_sound_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFormatError):
        read(path)


def test_of_a_file_cut_short_comes_what_there_is(tmp_path: Path) -> None:
    path = noise(2.0).to_file(tmp_path / "a.flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0.5 < sum(part.duration_seconds for part in read(path)) < 1.5


def test_a_reader_that_is_closed_early_closes_the_file(tmp_path: Path) -> None:
    reading = parts(noise(50.0).to_file(tmp_path / "a.wav"))
    assert next(reading) is None
    reading.close()  # else a ResourceWarning, which is an error


def test_m4a_is_read_with_its_extra(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        samples = np.zeros((1, RATE), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    path = tmp_path / "a.m4a"
    path.write_bytes(file.getvalue())
    assert sum(part.duration_seconds for part in read(path)) == pytest.approx(1.0, abs=0.1)


class TestItsLength:
    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
    def test_is_what_the_header_says(self, suffix: str, tmp_path: Path) -> None:
        path = noise(2.0).to_file(tmp_path / f"a.{suffix}")
        assert length_of(path) == pytest.approx(2.0, abs=0.1)

    def test_is_unknown_of_what_cannot_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        assert length_of(path) is None
        path.write_bytes(b"nothing like sound")
        assert length_of(path) is None

    def test_is_unknown_of_a_file_without_sound(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(AudioData(b"", RATE).encode("wav"))
        assert length_of(path) is None
