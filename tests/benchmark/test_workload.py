"""What is said: sentences of the project's own, and recordings with their transcripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime_stts import AudioData
from realtime_stts.benchmark import Utterance, WorkloadError
from realtime_stts.benchmark._workload import SENTENCES, fingerprint, recorded, spoken
from realtime_stts.testing import speech


def record(path: Path, seconds: float = 0.2, rate: int = 22_050) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return speech(seconds, rate).to_file(path)


def texts(found: list[Utterance]) -> dict[str, str]:
    return {each.name: each.text for each in found}


class TestSentences:
    @pytest.mark.anyio
    async def test_the_same_seed_says_the_same(self) -> None:
        pytest.importorskip("espeakng_loader")
        one, again = await spoken(1, few=True), await spoken(1, few=True)
        assert fingerprint(one, recorded=False) == fingerprint(again, recorded=False)
        assert len(one) == 8
        assert all(each.text in SENTENCES for each in one)
        assert all(
            (each.audio.sample_rate, each.audio.channels, each.audio.format) == (16_000, 1, "pcm")
            for each in one
        )

    @pytest.mark.anyio
    async def test_another_seed_says_other_things(self) -> None:
        pytest.importorskip("espeakng_loader")
        one, other = await spoken(1, few=True), await spoken(2, few=True)
        assert fingerprint(one, recorded=False) != fingerprint(other, recorded=False)

    @pytest.mark.anyio
    async def test_all_of_them(self) -> None:
        pytest.importorskip("espeakng_loader")
        said = await spoken(0, few=False)
        assert sorted(each.text for each in said) == sorted(SENTENCES)
        assert len({each.name for each in said}) == len(SENTENCES)

    def test_the_fingerprint_tells_a_text_from_a_sound(self) -> None:
        silence = AudioData.silence(0.1, 16_000)
        said = [
            [Utterance("", "ab", silence)],
            [Utterance("", "abc", silence)],
            [Utterance("", "ab", AudioData.silence(0.2, 16_000))],
            [Utterance("", "a", silence), Utterance("", "b", silence)],
            [],
        ]
        prints = {fingerprint(each, recorded=True) for each in said}
        assert len(prints) == 5


class TestRecordings:
    def test_a_text_beside_each(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        record(tmp_path / "deep" / "two.flac")
        (tmp_path / "one.txt").write_text("first\n", encoding="utf-8-sig")
        (tmp_path / "deep" / "two.txt").write_text(" second ")
        found = recorded(tmp_path)
        assert texts(found) == {"deep/two.flac": "second", "one.wav": "first"}
        assert found[0].audio.sample_rate == 16_000

    def test_a_list_with_tabs(self, tmp_path: Path) -> None:
        record(tmp_path / "clips" / "one.wav")
        record(tmp_path / "two.ogg")
        (tmp_path / "transcripts.tsv").write_text(
            "path\tsentence\tage\nclips/one.wav\tthe first\t40\n\ntwo.ogg\tthe second\n"
        )
        assert texts(recorded(tmp_path)) == {"clips/one.wav": "the first", "two.ogg": "the second"}

    def test_as_librispeech_has_it(self, tmp_path: Path) -> None:
        record(tmp_path / "61" / "70968" / "61-70968-0000.flac")
        (tmp_path / "61" / "70968" / "61-70968.trans.txt").write_text(
            "61-70968-0000 HE BEGAN A CONFUSED COMPLAINT\n"
        )
        assert texts(recorded(tmp_path)) == {
            "61/70968/61-70968-0000.flac": "HE BEGAN A CONFUSED COMPLAINT"
        }

    def test_as_nemo_has_it(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        record(tmp_path / "two.wav")
        lines = [
            {"audio_filepath": "one.wav", "duration": 0.2, "text": "first"},
            {"audio": str(tmp_path / "two.wav"), "text": "second"},
        ]
        (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert texts(recorded(tmp_path)) == {"one.wav": "first", "two.wav": "second"}

    def test_a_text_beside_it_counts_before_a_list(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        (tmp_path / "one.txt").write_text("beside")
        (tmp_path / "transcripts.tsv").write_text("one.wav\tlisted")
        assert texts(recorded(tmp_path)) == {"one.wav": "beside"}

    def test_what_has_no_transcript_is_left_out_and_told(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        record(tmp_path / "two.wav")
        (tmp_path / "one.txt").write_text("first")
        told: list[str] = []
        assert [*texts(recorded(tmp_path, told.append))] == ["one.wav"]
        assert told == ["left out, as they have no transcript: 1 recordings"]

    def test_a_few_of_them_are_spread_over_all(self, tmp_path: Path) -> None:
        for name in "abcdef":
            record(tmp_path / f"{name}.wav")
            (tmp_path / f"{name}.txt").write_text(name)
        assert [*texts(recorded(tmp_path, few=3)).values()] == ["a", "c", "e"]


class TestMistakes:
    """Each says which file is at fault."""

    def fails(self, folder: Path, *parts: str) -> None:
        with pytest.raises(WorkloadError) as caught:
            recorded(folder)
        assert all(part in str(caught.value) for part in parts), str(caught.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.fails(tmp_path / "none", "none: there is no such folder")

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        self.fails(tmp_path, tmp_path.name, "no recording has a transcript", "transcripts.tsv")

    def test_no_transcript_at_all(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        self.fails(tmp_path, "no recording has a transcript")

    def test_an_empty_transcript(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        (tmp_path / "one.txt").write_text(" \n")
        self.fails(tmp_path, "one.txt: the transcript is empty")

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("transcripts.tsv", "one.wav\t \n", "line 1: the transcript of one.wav is empty"),
            ("transcripts.tsv", "one.wav first", "line 1: there is no tab"),
            ("transcripts.tsv", "two.wav\tfirst", "line 1: there is no "),
            ("a.trans.txt", "two first", "line 1: there is no recording "),
            ("manifest.jsonl", "{}", "line 1: this is no object with audio_filepath"),
            ("manifest.jsonl", "one", "line 1: this is no object with audio_filepath"),
            ("manifest.jsonl", "[]", "line 1: this is no object with audio_filepath"),
            ("manifest.jsonl", '{"audio": 1, "text": "x"}', "line 1: audio_filepath and text"),
            ("one.txt", b"\xff\xfe\xff", "one.txt: this is no text in UTF-8"),
        ],
    )
    def test_a_list_that_cannot_be_used(
        self, tmp_path: Path, name: str, content: str | bytes, why: str
    ) -> None:
        record(tmp_path / "one.wav")
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(raw)
        self.fails(tmp_path, name, why)

    def test_a_recording_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "one.wav").write_bytes(b"no sound")
        (tmp_path / "one.txt").write_text("first")
        self.fails(tmp_path, "one.wav: ")

    def test_a_recording_of_more_than_a_minute(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav", 61.0, 8_000)
        (tmp_path / "one.txt").write_text("first")
        self.fails(tmp_path, "one.wav: ", "60 s")

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "one.wav").mkdir()
        (tmp_path / "one.txt").write_text("first")
        self.fails(tmp_path, "one.wav: ")

    def test_a_transcript_that_cannot_be_read(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        (tmp_path / "transcripts.tsv").mkdir()
        self.fails(tmp_path, "transcripts.tsv: ")

    def test_a_list_without_end(self, tmp_path: Path) -> None:
        record(tmp_path / "one.wav")
        with (tmp_path / "transcripts.tsv").open("wb") as file:
            file.truncate(65 << 20)
        self.fails(tmp_path, "transcripts.tsv: longer than 64 MiB")
