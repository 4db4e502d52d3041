"""What samples come to, how sure that is, and when two measurements differ."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.benchmark import Figure, interval, value
from realtime_stts.benchmark._statistics import change, incomparable, percentile

NUMBERS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=40)
STATISTICS = st.sampled_from(["p50", "p95", "mean", "max"])


def figure(*samples: float, **fields: object) -> Figure:
    return Figure("stt", "delay", "ms", samples, **fields)  # type: ignore[arg-type]


def around(middle: float, n: int = 40, seed: int = 1) -> tuple[float, ...]:
    """Samples that scatter by a twentieth."""
    return tuple(np.random.default_rng(seed).normal(middle, middle / 20, n).tolist())


class TestTheFigure:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"samples": ()},
            {"samples": (1.0, nan)},
            {"samples": (inf,)},
            {"samples": (1.0,), "per": (1.0,)},
            {"samples": (1.0,), "statistic": "ratio"},
            {"samples": (1.0,), "per": (1.0, 1.0), "statistic": "ratio"},
            {"samples": (1.0, 1.0), "per": (1.0, -1.0), "statistic": "ratio"},
            {"samples": (1.0,), "per": (0.0,), "statistic": "ratio"},
            {"samples": (1.0,), "per": (inf,), "statistic": "ratio"},
        ],
    )
    def test_what_has_no_value_is_no_figure(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="stt, delay: "):
            Figure("stt", "delay", "ms", **wrong)  # type: ignore[arg-type]


class TestTheValue:
    def test_percentiles_are_by_nearest_rank(self) -> None:
        hundred = tuple(float(each) for each in range(100, 0, -1))
        assert value(figure(*hundred)) == 50
        assert value(figure(*hundred, statistic="p95")) == 95
        assert percentile(hundred, 95) == 95
        assert percentile(hundred[:20], 95) == 99  # the 19th of 20

    def test_a_rate_is_pooled(self) -> None:
        """One word wrong of one and none of nine is a tenth, not a half."""
        assert value(figure(1.0, 0.0, per=(1.0, 9.0), statistic="ratio")) == 0.1

    def test_mean_and_most(self) -> None:
        assert value(figure(1.0, 2.0, 6.0, statistic="mean")) == 3.0
        assert value(figure(1.0, 2.0, 6.0, statistic="max")) == 6.0

    @given(NUMBERS)
    def test_percentiles_and_the_most_are_samples(self, samples: list[float]) -> None:
        for statistic in ("p50", "p95", "max"):
            assert value(figure(*samples, statistic=statistic)) in samples

    @given(NUMBERS, STATISTICS, st.randoms())
    def test_their_order_does_not_matter(
        self, samples: list[float], statistic: str, chance: object
    ) -> None:
        shuffled = [*samples]
        chance.shuffle(shuffled)  # type: ignore[attr-defined]
        one, other = (value(figure(*each, statistic=statistic)) for each in (samples, shuffled))
        assert one == pytest.approx(other)


class TestTheInterval:
    @given(NUMBERS, STATISTICS)
    def test_it_lies_within_the_samples(self, samples: list[float], statistic: str) -> None:
        found = interval(figure(*samples, statistic=statistic))
        if len(samples) < 5:
            assert found is None
        else:
            assert found is not None
            low, high = found
            assert min(samples) * 0.999 <= low <= high <= max(samples) * 1.001

    def test_it_is_the_same_each_time(self) -> None:
        assert interval(figure(*around(5.0))) == interval(figure(*around(5.0)))

    def test_it_holds_the_truth_nineteen_times_of_twenty(self) -> None:
        """As far as 100 measurements can tell, and 95 % is nominal: of 50 samples a bit less."""
        held = 0
        for seed in range(100):
            found = interval(figure(*around(10.0, 50, seed), statistic="mean"), seed)
            assert found is not None
            held += found[0] <= 10.0 <= found[1]
        assert 86 <= held <= 100

    def test_more_samples_narrow_it(self) -> None:
        def width(n: int) -> float:
            found = interval(figure(*around(10.0, n), statistic="mean"))
            assert found is not None
            return found[1] - found[0]

        assert width(1000) < width(40) / 3

    def test_weights_are_drawn_with_their_samples(self) -> None:
        """Each rate is a fifth, whatever is drawn; weightless ones alone are not."""
        found = interval(
            figure(1.0, 2.0, 3.0, 4.0, 0.0, per=(5.0, 10.0, 15.0, 20.0, 0.0), statistic="ratio")
        )
        assert found == (pytest.approx(0.2), pytest.approx(0.2))

    def test_very_many_samples_take_little_memory(self) -> None:
        many = np.random.default_rng(0).normal(5, 1, 20_000)
        found = interval(figure(*many.tolist(), statistic="mean"))
        assert found is not None
        assert found[0] < 5.0 < found[1]


class TestTheChange:
    def test_half_as_long_is_better(self) -> None:
        found = change(figure(*around(10.0)), figure(*around(5.0, seed=2)))
        assert found.verdict == "better"
        assert found.ratio == pytest.approx(0.5, rel=0.1)
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0.5 < found.high < 1

    def test_twice_as_long_is_worse(self) -> None:
        assert change(figure(*around(5.0)), figure(*around(10.0, seed=2))).verdict == "worse"

    def test_where_more_is_better_it_is_the_other_way_round(self) -> None:
        fast, slow = (figure(*around(x), better="higher") for x in (10.0, 5.0))
        assert change(slow, fast).verdict == "better"
        assert change(fast, slow).verdict == "worse"

    def test_where_neither_is_better_it_is_a_change(self) -> None:
        one, other = (figure(*around(x), better="") for x in (10.0, 5.0))
        assert change(one, other).verdict == "changed"

    @given(NUMBERS.filter(lambda samples: len(samples) >= 5), STATISTICS)
    def test_nothing_differs_from_itself(self, samples: list[float], statistic: str) -> None:
        same = figure(*samples, statistic=statistic)
        found = change(same, same)
        assert found.verdict == "no difference shown"
        assert found.ratio == 1

    @given(NUMBERS.filter(lambda samples: len(samples) >= 5), NUMBERS, STATISTICS)
    def test_the_unit_does_not_matter(
        self, old: list[float], more: list[float], statistic: str
    ) -> None:
        new = [*old[:4], *more]
        one = change(figure(*old, statistic=statistic), figure(*new, statistic=statistic))
        other = change(
            figure(*(x * 1024 for x in old), statistic=statistic),
            figure(*(x * 1024 for x in new), statistic=statistic),
        )
        assert (one.ratio, one.low, one.high) == (
            pytest.approx(other.ratio),
            pytest.approx(other.low),
            pytest.approx(other.high),
        )

    def test_chance_alone_seldom_shows_a_difference(self) -> None:
        found = [
            change(figure(*around(10.0, 40, seed)), figure(*around(10.0, 40, seed + 1000)), seed)
            for seed in range(100)
        ]
        assert sum(each.verdict != "no difference shown" for each in found) <= 15

    def test_nothing_before_and_nothing_now_is_no_change(self) -> None:
        none = figure(*[0.0] * 10, statistic="mean")
        assert change(none, none).verdict == "no difference shown"

    def test_something_after_nothing_is_worse_however_much_it_is(self) -> None:
        found = change(figure(*[0.0] * 10, statistic="mean"), figure(*[1.0] * 10, statistic="mean"))
        assert (found.ratio, found.low, found.verdict) == (inf, inf, "worse")

    def test_a_rate_that_is_none_at_times(self) -> None:
        before = figure(*[0.0] * 8, 1.0, 1.0, statistic="mean")
        after = figure(*[0.0] * 7, 1.0, 1.0, 1.0, statistic="mean")
        assert change(before, after).verdict == "no difference shown"

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            (figure(*around(1.0)), replace(figure(*around(1.0)), unit="s"), "the unit was ms"),
            (figure(*around(1.0)), replace(figure(*around(1.0)), unit=""), "and is none"),
            (figure(*around(1.0)), figure(*around(1.0), statistic="p95"), "it was the p50"),
            (figure(*around(1.0)), figure(1.0, 2.0, 3.0, 4.0), "fewer than 5 samples"),
            (figure(*around(1.0)), figure(-1.0, -2.0, 3.0, 4.0, 5.0), "below zero"),
        ],
    )
    def test_what_cannot_be_compared_says_why(self, old: Figure, new: Figure, why: str) -> None:
        found = change(old, new)
        assert found.verdict == "cannot be compared"
        assert why in found.why
        assert (found.old, found.new, found.ratio) == (value(old), value(new), None)

    def test_rates_over_the_same_words_are_drawn_together(self) -> None:
        """One error less in each utterance tells, though the utterances differ by far more."""
        words = (10.0,) * 12
        wrong = tuple(float(n) for n in range(1, 7)) * 2
        fewer = tuple(n - 0.5 for n in wrong)
        before, after = (figure(*each, per=words, statistic="ratio") for each in (wrong, fewer))
        assert change(before, after).verdict == "better"
        other = replace(after, per=(*words[1:], 10.001))
        assert change(before, other).verdict == "no difference shown"

    def test_a_sample_below_zero_is_no_hindrance(self) -> None:
        """Words may be shown before they end; their median has a ratio none the less."""
        some = figure(*around(10.0), -1.0)
        assert change(some, some).verdict == "no difference shown"

    def test_a_figure_of_one_report_only(self) -> None:
        found = incomparable(None, figure(3.0), "new")
        assert (found.old, found.new, found.why) == (None, 3.0, "new")
        with pytest.raises(ValueError, match="neither"):
            incomparable(None, None, "")
