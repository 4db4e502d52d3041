"""What is kept of a talk."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from realtime_stts import (
    AudioData,
    Event,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    StateChanged,
)
from realtime_stts.cli._recording import Moment
from realtime_stts.cli._tape import FILES, Tape
from realtime_stts.protocols import ConversationState


def sound(seconds: float, value: int = 1000, rate: int = 16_000) -> AudioData:
    return AudioData(np.full(round(seconds * rate), value, "<i2").tobytes(), rate)


def kept(folder: Path, seconds: float, *told: tuple[float, Event]) -> np.ndarray:
    """The bot's channel, in thousands, of a talk of so many seconds."""
    tape = Tape()
    for _ in range(round(seconds * 50)):
        tape.hear(sound(0.02))
    for t, event in told:
        tape.tell(Moment(t, event))
    tape.save(folder)
    samples = AudioData.from_file(folder / "reply.wav").samples[:, 0]
    return np.rint(samples * 32.768).astype(int)


def said(start: float, end: float, value: int = 1000) -> tuple[float, Event]:
    return start, ReplyAudio(1, sound(end - start, value))


def spans(channel: np.ndarray) -> list[tuple[float, float, int]]:
    """Where the channel has one value other than 0, in seconds."""
    edges = [0, *(np.diff(channel).nonzero()[0] + 1), len(channel)]
    return [
        (int(a) / 16_000, int(b) / 16_000, int(channel[a]))
        for a, b in pairwise(edges)
        if channel[a]
    ]


def test_both_voices_are_kept_side_by_side(tmp_path: Path) -> None:
    kept(tmp_path, 2.0, said(0.5, 1.0))
    caller, bot, both = (
        AudioData.from_file(tmp_path / name)
        for name in ("caller.wav", "reply.wav", "conversation.wav")
    )
    assert {*FILES} == {path.name for path in tmp_path.iterdir()}
    assert (caller.duration_seconds, bot.duration_seconds) == (2.0, 2.0)
    assert (both.channels, both.duration_seconds) == (2, 2.0)
    assert (both.samples == np.hstack([caller.samples, bot.samples])).all()


def test_the_bot_sounds_when_it_was_played_each_chunk_after_the_one_before(tmp_path: Path) -> None:
    told = [said(0.5, 0.7), (0.6, ReplyAudio(1, sound(0.3, 2000))), said(1.5, 1.6)]
    assert spans(kept(tmp_path, 2.0, *told)) == [
        (0.5, 0.7, 1),
        (0.7, 1.0, 2),
        (1.5, 1.6, 1),
    ]


@pytest.mark.parametrize(
    "cut",
    [ReplyPaused(1, 0.75, 0.25), Interrupted(1, 0.75, "so")],
    ids=lambda cut: type(cut).__name__,
)
def test_what_the_loudspeaker_dropped_is_not_heard(tmp_path: Path, cut: Event) -> None:
    told = [said(0.5, 0.7), said(0.7, 0.9, 2000), (0.75, cut)]
    assert spans(kept(tmp_path, 2.0, *told)) == [(0.5, 0.7, 1), (0.7, 0.75, 2)]


def test_chunks_dropped_whole_are_not_heard_at_all(tmp_path: Path) -> None:
    told = [said(0.5, 0.7), (0.5, ReplyAudio(1, sound(0.2, 2000))), (0.7, ReplyPaused(1, 0.7, 0.2))]
    assert spans(kept(tmp_path, 2.0, *told)) == [(0.5, 0.7, 1)]


def test_an_answer_that_is_resumed_goes_on_from_then(tmp_path: Path) -> None:
    told = [
        said(0.5, 0.9),
        (0.7, ReplyPaused(1, 0.7, 0.2)),
        (1.2, ReplyResumed(1, 1.2, 0.2)),
        said(1.2, 1.4, 2000),
    ]
    assert spans(kept(tmp_path, 2.0, *told)) == [(0.5, 0.7, 1), (1.2, 1.4, 2)]


def test_a_pause_of_silence_cuts_nothing(tmp_path: Path) -> None:
    told = [(0.2, ReplyPaused(1, 0.2, 0.0)), said(0.5, 0.9), (1.0, Interrupted(1, 1.0, "so"))]
    assert spans(kept(tmp_path, 2.0, *told)) == [(0.5, 0.9, 1)]


def test_the_events_are_lines_of_json(tmp_path: Path) -> None:
    kept(tmp_path, 1.0, (0.25, StateChanged(ConversationState.SPEAKING)), said(0.5, 0.75))
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"t": 0.25, "type": "StateChanged", "state": "speaking"},
        {"t": 0.5, "type": "ReplyAudio", "turn": 1, "duration": 0.25},
    ]


def test_a_talk_in_which_nothing_was_heard_is_kept_too(tmp_path: Path) -> None:
    Tape().save(tmp_path / "new" / "folder")
    assert {*FILES} == {path.name for path in (tmp_path / "new" / "folder").iterdir()}


def test_it_runs_out(tmp_path: Path) -> None:
    tape = Tape(length=0.1)
    for n in range(50):
        assert tape.is_full is (n >= 5)
        tape.hear(sound(0.02))
        tape.tell(Moment(n / 50, StateChanged(ConversationState.LISTENING)))
    tape.save(tmp_path)
    assert AudioData.from_file(tmp_path / "caller.wav").duration_seconds == 0.1
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 4
