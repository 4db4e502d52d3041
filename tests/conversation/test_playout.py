"""An answer on its way to the loudspeaker, which here is a list of what it played and when."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import AudioData
from realtime_stts.conversation._playout import Playout

RATE = 16_000
FADE = 80  # samples of 5 ms


def sound(seconds: float, level: float = 0.25, rate: int = RATE, channels: int = 1) -> AudioData:
    return AudioData.from_samples(np.full((round(seconds * rate), channels), level), rate)


def made(playout: Playout, text: str, *sounds: AudioData, whole: bool = True) -> None:
    playout.begin(text)
    for each in sounds:
        playout.add(each)
    playout.end(whole=whole)


class Loudspeaker:
    """Plays what it is given, one sound after the other, and drops its buffer when told to."""

    def __init__(self, playout: Playout) -> None:
        self.playout = playout
        self.now = 0.0
        self.sentences: list[str] = []
        self.given: list[tuple[float, AudioData]] = []  # when each begins to be played

    def run(self, until: float) -> None:
        """Take everything that is due before that moment."""
        while not self.playout.held and (audio := self.playout.next()) is not None:
            due = self.playout.due(self.now)
            if due > until:
                break
            self.now = due
            start = max(due, self._end)
            self.given.append((start, audio))
            self.sentences += self.playout.gave(audio, due)
        self.now = max(self.now, until) if until < inf else self.now

    def hold(self) -> None:
        self.playout.hold(self.now)
        heard = []
        for start, audio in self.given:
            left = self.now - start
            if left > 0:
                heard.append((start, audio.sliced(0.0, left)))
        self.given = heard

    @property
    def _end(self) -> float:
        if not self.given:
            return 0.0
        start, audio = self.given[-1]
        return start + audio.duration_seconds

    def played(self, until: float) -> bytes:
        return b"".join(audio.sliced(0.0, until - start).data for start, audio in self.given)


def test_what_was_made_is_handed_over_in_frames_and_loses_nothing() -> None:
    playout = Playout(0.02, inf)
    made(playout, "One.", sound(0.1), sound(0.05))
    made(playout, "Two.", sound(0.11))
    playout.finish()
    speaker = Loudspeaker(playout)
    speaker.run(10.0)
    durations = [audio.duration_seconds for _, audio in speaker.given]
    assert durations == [*[0.02] * 7, 0.01, *[0.02] * 5, 0.01], "no frame is of two sentences"
    assert len(speaker.played(99.0)) == 2 * round(0.26 * RATE)
    assert speaker.sentences == ["One.", "Two."]
    assert playout.finished
    assert playout.made == pytest.approx(0.26)


@pytest.mark.parametrize("asked", [(0.02, 0.1), ()], ids=["asked", "usual"])
def test_a_frame_is_handed_over_no_earlier_than_the_lead_allows(asked: tuple[float, ...]) -> None:
    playout = Playout(*asked)
    made(playout, "One.", sound(1.0))
    speaker = Loudspeaker(playout)
    speaker.run(0.0)
    assert len(speaker.given) == 6  # five that lead, and the one that plays
    speaker.run(0.0399)
    assert len(speaker.given) == 7
    assert playout.played_by(0.0399) == pytest.approx(0.14)


def test_it_is_finished_once_all_is_handed_over_and_no_sentence_follows() -> None:
    playout = Playout(None, inf)
    assert not playout.finished
    made(playout, "One.", sound(0.1))
    Loudspeaker(playout).run(9.0)
    assert not playout.finished
    playout.finish()
    assert playout.finished


def test_of_no_sound_nothing_is_heard() -> None:
    playout = Playout()
    playout.begin("One.")
    assert playout.made == playout.played(1.0) == 0.0
    assert playout.heard(1.0) == ""


def test_whole_sentences_are_handed_over_as_soon_as_they_are_made() -> None:
    playout = Playout(None, inf)
    playout.begin("One.")
    playout.add(sound(0.5))
    assert playout.next() is None
    playout.end()
    playout.begin("Two.")
    playout.add(sound(0.1))
    audio = playout.next()
    assert audio is not None
    assert audio.duration_seconds == 0.5
    assert playout.gave(audio, 3.0) == ["One."]
    assert playout.next() is None


def test_half_a_frame_waits_for_the_rest_of_its_sentence() -> None:
    playout = Playout(0.02, 0.1)
    assert playout.next() is None
    playout.begin("One.")
    playout.add(sound(0.02))  # of which the last milliseconds may still be the end
    assert playout.next() is None
    assert not playout.ready
    playout.add(sound(0.005))
    assert playout.ready
    audio = playout.next()
    assert audio is not None
    assert not playout.finished
    playout.gave(audio, 0.0)
    playout.add(sound(0.019))
    assert not playout.ready


def test_a_sample_is_a_sound() -> None:
    playout = Playout()
    made(playout, "A.", sound(1 / RATE))
    assert playout.ready


def test_sentences_begin_and_end_without_a_click() -> None:
    playout = Playout(None, inf)
    made(playout, "One.", sound(0.01, 0.5), sound(0.03, 0.5))
    made(playout, "Two.", sound(0.04, 0.5))
    for _ in range(2):
        audio = playout.next()
        assert audio is not None
        playout.gave(audio, 0.0)
        samples = audio.samples[:, 0]
        assert samples[:FADE] == pytest.approx(np.arange(FADE) / FADE / 2, abs=1e-4)
        assert samples[FADE:-FADE] == pytest.approx(0.5)
        assert samples[-FADE:] == pytest.approx(np.arange(FADE, 0, -1) / FADE / 2, abs=1e-4)
    empty = Playout()
    made(empty, "Nothing.")
    assert empty.next() is None
    tiny = Playout(None, inf)
    made(tiny, "A.", AudioData.from_samples(np.full(7, 0.5), RATE))
    assert tiny.made == 7 / RATE


def test_a_hold_goes_back_to_what_was_played_and_nothing_is_lost() -> None:
    playout = Playout(0.02, 0.1)
    made(playout, "One.", sound(1.0))
    playout.finish()
    speaker = Loudspeaker(playout)
    speaker.run(0.33)
    speaker.hold()
    assert playout.held
    assert playout.played(0.33) == pytest.approx(0.33)
    assert playout.played(5.0) == pytest.approx(0.33), "what was dropped is not heard later"
    speaker.run(5.0)
    assert playout.next() is not None
    playout.resume()
    speaker.run(inf)
    assert len(speaker.played(99.0)) == 2 * RATE
    assert playout.finished
    assert playout.played(5.5) == pytest.approx(0.83)
    assert playout.played(99.0) == pytest.approx(1.0)


def test_it_goes_on_from_silence() -> None:
    playout = Playout(0.02, 0.0)
    made(playout, "One.", sound(1.0, 0.5))
    speaker = Loudspeaker(playout)
    speaker.run(0.5)
    speaker.hold()
    playout.resume()
    audio = playout.next()
    assert audio is not None
    samples = audio.samples[:, 0]
    assert samples[:FADE] == pytest.approx(np.arange(FADE) / FADE / 2, abs=1e-4)
    assert samples[FADE:] == pytest.approx(0.5)
    nothing = Playout()
    nothing.hold(1.0)
    nothing.resume()
    assert not nothing.held


def test_a_sentence_taken_back_in_part_is_not_spoken_yet() -> None:
    playout = Playout(None, inf)
    made(playout, "One.", sound(1.0))
    made(playout, "Two.", sound(1.0))
    playout.finish()
    speaker = Loudspeaker(playout)
    speaker.run(1.5)
    assert speaker.sentences == ["One.", "Two."]
    speaker.hold()
    playout.resume()
    speaker.run(9.0)
    assert speaker.sentences == ["One.", "Two.", "Two."]


def test_a_sentence_heard_to_its_end_is_not_spoken_again() -> None:
    playout = Playout(None, inf)
    made(playout, "*")
    made(playout, "One.", sound(1.0))
    made(playout, "Two.", sound(1.0))
    speaker = Loudspeaker(playout)
    speaker.run(0.0)
    assert speaker.sentences == ["*", "One.", "Two."]
    speaker.hold()
    playout.resume()
    speaker.run(1.0)
    assert speaker.sentences[3:] == ["One.", "Two."]
    speaker.hold()
    playout.resume()
    speaker.run(9.0)
    assert speaker.sentences[5:] == ["Two."]


@given(
    chunks=st.lists(st.floats(0.001, 0.3), min_size=1, max_size=8),
    lead=st.sampled_from([0.0, 0.05, 0.2, inf]),
    frame=st.sampled_from([0.01, 0.02, 0.1, None]),
    holds=st.lists(st.floats(0.01, 0.5), max_size=4),
)
def test_what_is_heard_is_the_whole_answer_once_however_it_is_cut_and_held(
    chunks: list[float], lead: float, frame: float | None, holds: list[float]
) -> None:
    playout = Playout(frame, lead)
    sounds = [sound(seconds) for seconds in chunks]
    made(playout, "One, two, three.", *sounds)
    playout.finish()
    speaker = Loudspeaker(playout)
    before = ""
    for after in holds:
        speaker.run(speaker.now + after)
        speaker.hold()
        heard = playout.heard(speaker.now)
        assert heard.startswith(before)
        before = heard
        playout.resume()
    speaker.run(inf)
    n_samples = sum(len(each.data) for each in sounds) // 2
    # Each hold rounds to a sample.
    assert abs(len(speaker.played(999.0)) // 2 - n_samples) <= 2 * len(holds)
    assert playout.heard(999.0) == "One, two, three."
    assert playout.played(999.0) == pytest.approx(n_samples / RATE)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=10))
def test_the_sound_is_the_same_however_the_engine_cuts_it(cuts: list[int]) -> None:
    whole = AudioData.from_samples(np.sin(np.arange(sum(cuts)) / 9.0) * 0.5, RATE)
    edges = [0, *np.cumsum(cuts)]
    pieces = [AudioData(whole.data[2 * a : 2 * b], RATE) for a, b in pairwise(edges)]
    played = []
    for sounds in ([whole], pieces):
        playout = Playout(None, inf)
        made(playout, "Sine.", *sounds)
        audio = playout.next()
        assert audio is not None
        played.append(audio.data)
    assert played[0] == played[1]


def test_a_voice_of_another_layout_that_takes_over_is_converted() -> None:
    playout = Playout(None, inf)
    made(playout, "One.", sound(0.5, rate=24_000, channels=2))
    made(playout, "Two.", sound(0.25, rate=16_000), sound(0.25, rate=16_000))
    layouts = []
    while (audio := playout.next()) is not None:
        layouts.append((audio.sample_rate, audio.channels, audio.duration_seconds))
        playout.gave(audio, 0.0)
    assert layouts == [(24_000, 2, 0.5), (24_000, 2, pytest.approx(0.5, abs=0.001))]
    grains = Playout(None, inf)
    made(grains, "One.", sound(0.5, rate=24_000, channels=2))
    made(grains, "Two.", *[sound(0.001, rate=24_000)] * 100)
    assert grains.made == pytest.approx(0.6, abs=0.001)
    mono = Playout(None, inf)
    made(mono, "One.", sound(0.5, rate=24_000))
    made(mono, "Two.", sound(0.5, rate=16_000, channels=2))
    assert mono.made == pytest.approx(1.0, abs=0.001)


def test_what_was_heard_is_whole_sentences_and_the_words_of_the_last() -> None:
    playout = Playout(0.02, 0.0)
    made(playout, "Good morning.", sound(1.0))
    made(playout, "The weather is fine today.", sound(2.0))
    speaker = Loudspeaker(playout)
    assert playout.heard(0.0) == ""
    speaker.run(0.99)
    assert playout.heard(0.99) == "Good morning."
    speaker.run(2.0)
    assert playout.heard(2.0) == "Good morning. The weather"
    speaker.run(inf)
    assert playout.heard(9.0) == "Good morning. The weather is fine today."


def test_the_last_of_a_sentence_need_not_be_heard_as_it_is_silent() -> None:
    playout = Playout(None, inf)
    made(playout, "Good morning", sound(1.0))
    Loudspeaker(playout).run(0.0)
    assert playout.heard(0.96) == "Good"
    assert playout.heard(0.98) == "Good morning"


def test_a_whole_sentence_was_heard_however_fast_it_was_said() -> None:
    playout = Playout(0.02, 0.0)
    playout.begin("The weather is fine today, and tomorrow it will rain.")
    playout.add(sound(1.0))
    playout.end()
    Loudspeaker(playout).run(inf)
    assert playout.heard(9.0) == "The weather is fine today, and tomorrow it will rain."


def test_what_was_heard_is_what_was_spoken_and_not_how_it_was_written() -> None:
    playout = Playout(None, inf)
    playout.begin("See **[here](https://example.com/a/very/long/path)**.", "See here.")
    playout.add(sound(1.0))
    playout.end()
    audio = playout.next()
    assert audio is not None
    assert playout.gave(audio, 0.0) == ["See **[here](https://example.com/a/very/long/path)**."]
    assert playout.heard(0.6) == "See"
    assert playout.heard(1.0) == "See here."


def test_a_sentence_still_in_the_making_is_not_taken_for_heard() -> None:
    playout = Playout(0.02, 0.0)
    playout.begin("The weather is fine today, and tomorrow it will rain.")
    playout.add(sound(1.0))
    Loudspeaker(playout).run(inf)
    assert playout.heard(9.0) == "The weather is"


def test_nor_one_that_the_engine_broke_off() -> None:
    playout = Playout(0.02, 0.0)
    made(playout, "The weather is fine today, and tomorrow it will rain.", sound(1.0), whole=False)
    playout.finish()
    Loudspeaker(playout).run(inf)
    assert playout.finished
    assert playout.heard(9.0) == "The weather is"


def test_what_was_said_in_a_span_of_time() -> None:
    playout = Playout(0.02, 0.0)
    made(playout, "One two three four five six seven eight.", sound(4.0))
    speaker = Loudspeaker(playout)
    speaker.run(2.0)
    speaker.hold()
    assert playout.said_between(0.0, 9.0) == "One two three four"
    assert playout.said_between(1.0, 1.6) == "three"
    assert playout.said_between(3.0, 9.0) == ""
    speaker.run(10.0)
    playout.resume()
    speaker.run(14.0)
    assert playout.said_between(10.0, 13.0) == "five six seven eight."
    assert playout.said_between(10.0, 11.1) == "five six"
    assert playout.said_between(0.0, 20.0) == "One two three four five six seven eight."


def test_what_was_said_long_ago_is_forgotten() -> None:
    playout = Playout(None, inf)
    for number in range(70):
        made(playout, f"{number}.", sound(0.5))
        audio = playout.next()
        assert audio is not None
        playout.gave(audio, float(number))
    assert playout.said_between(0.0, 6.0) == ""
    assert playout.said_between(0.0, 7.0) == "6."


def test_only_what_can_still_come_again_is_kept() -> None:
    playout = Playout(0.02, 0.1)
    made(playout, "A long story.", sound(30.0))
    speaker = Loudspeaker(playout)
    speaker.run(29.0)
    assert len(playout._data) <= 2 * 2.5 * RATE
    assert playout.made == 30.0
    speaker.hold()
    playout.resume()
    speaker.run(inf)
    assert len(speaker.played(99.0)) == 2 * 30 * RATE


def test_what_may_not_be_interrupted_is_told_for_the_next_sound() -> None:
    playout = Playout(None, inf)
    assert playout.interruptible
    made(playout, "One.", sound(0.1))
    playout.begin("Two.", interruptible=False)
    playout.add(sound(0.1))
    playout.end()
    assert playout.interruptible
    audio = playout.next()
    assert audio is not None
    playout.gave(audio, 0.0)
    assert not playout.interruptible
    playout.gave(audio, 0.1)
    playout.begin("Three.", interruptible=False)
    assert playout.interruptible, "it has no sound yet"
