"""How words come and change, how a player fares, and where something was measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.benchmark._machine import _cpu_model, machine, packages
from realtime_stts.benchmark._player import longest_gap, underruns
from realtime_stts.benchmark._words import common, has_spaces, pieces, shown_for_good, unstable

WORDS = st.lists(st.sampled_from("abc"), max_size=5)
HYPOTHESES = st.lists(WORDS, min_size=1, max_size=6)
ARRIVALS = st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 1)), min_size=1, max_size=12)


class TestWords:
    def test_a_word_counts_from_when_it_stays(self) -> None:
        """ "ship" is shown at 2, taken back at 3, and comes back with the final result."""
        results = [(1.0, ["a"]), (2.0, ["a", "ship"]), (3.0, ["a", "sheep"]), (4.0, ["a", "ship"])]
        assert shown_for_good(results) == [1.0, 4.0]

    def test_all_that_is_taken_back_is_unstable(self) -> None:
        assert unstable([["a"], ["a", "ship"], ["a", "sheep", "is"], ["a", "ship", "is"]]) == 3
        assert unstable([["a"], ["a", "b"], ["a", "b", "c"]]) == 0

    @given(HYPOTHESES)
    def test_words_are_shown_in_their_order_and_never_after_the_end(
        self, hypotheses: list[list[str]]
    ) -> None:
        results = [(float(at), words) for at, words in enumerate(hypotheses)]
        shown = shown_for_good(results)
        assert len(shown) == len(hypotheses[-1])
        assert shown == sorted(shown)
        for position, at in enumerate(shown):
            assert all(common(words, hypotheses[-1]) > position for words in hypotheses[int(at) :])

    @given(WORDS)
    def test_words_that_only_grow_are_stable_and_shown_at_once(self, words: list[str]) -> None:
        growing = [words[:n] for n in range(len(words) + 1)]
        assert unstable(growing) == 0
        results = [(float(at), shown) for at, shown in enumerate(growing)]
        assert shown_for_good(results) == [float(n) for n in range(1, len(words) + 1)]

    def test_where_no_space_is_between_words_characters_count(self) -> None:
        assert pieces("hello there", "en") == ["hello", "there"]
        assert pieces("你好 吗", "zh-CN") == ["你", "好", "吗"]
        assert has_spaces("de_AT")
        assert not has_spaces("ja")


class TestThePlayer:
    def test_sound_that_comes_in_time_has_no_gap(self) -> None:
        assert underruns([(0.1, 0.5), (0.5, 0.5), (1.0, 0.5)]) == 0

    def test_one_delay_is_one_gap(self) -> None:
        assert underruns([(0.1, 0.2), (0.5, 0.5), (0.9, 0.5)]) == 1

    def test_a_buffer_hides_a_short_delay(self) -> None:
        late = [(0.0, 0.05), (0.02, 0.05), (0.12, 0.05), (0.15, 0.05)]
        assert underruns(late) == 1
        assert underruns(late, 0.1) == 0

    def test_what_is_shorter_than_the_buffer_is_played_when_all_is_there(self) -> None:
        assert underruns([(0.0, 0.01), (5.0, 0.01)], 1.0) == 0

    def test_after_a_gap_it_fills_its_buffer_again(self) -> None:
        """Else each of the late chunks would be a gap of its own."""
        late = [(0.0, 0.1), (1.0, 0.05), (1.2, 0.05), (1.22, 0.1)]
        assert underruns(late, 0.1) == 1
        assert underruns(late) == 2

    @given(ARRIVALS)
    def test_what_is_all_there_plays_through(self, chunks: list[tuple[float, float]]) -> None:
        assert underruns([(0.0, seconds) for _, seconds in chunks]) == 0

    @given(ARRIVALS)
    def test_there_are_fewer_gaps_than_chunks(self, chunks: list[tuple[float, float]]) -> None:
        arrivals = sorted(chunks)
        assert 0 <= underruns(arrivals) < len(arrivals)
        assert underruns(arrivals, 1e9) == 0

    def test_the_longest_wait(self) -> None:
        assert longest_gap([(0.1, 0.5), (0.2, 0.5), (0.9, 0.5)]) == pytest.approx(0.7)
        assert longest_gap([(0.1, 0.5)]) == 0


class TestTheMachine:
    def test_it_says_what_a_figure_depends_on(self) -> None:
        here = machine()
        assert here["cpu"]
        assert isinstance(here["cores"], int)
        assert str(here["date"]).endswith("+00:00")
        assert {"realtime-stts", "numpy"} <= packages().keys()
        assert "chatterbox" not in packages()

    def test_where_the_system_does_not_say_which_cores_may_be_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.delattr(os, "getloadavg", raising=False)
        assert (machine()["cores"], machine()["load"]) == (os.cpu_count(), None)

    def test_the_processor_by_the_kernel_or_by_what_python_knows(self, tmp_path: Path) -> None:
        cpuinfo = tmp_path / "cpuinfo"
        assert _cpu_model(cpuinfo)
        cpuinfo.write_text("processor : 0\nmodel name : Abacus 3000\n")
        assert _cpu_model(cpuinfo) == "Abacus 3000"
        cpuinfo.write_text("processor : 0\n")
        assert _cpu_model(cpuinfo)
