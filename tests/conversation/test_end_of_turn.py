from __future__ import annotations

import pytest

from realtime_stts import AdaptiveEndOfTurn, AudioData, EndOfTurnDetector


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "silence"),
    [
        pytest.param("", 0.5, id="nothing known"),
        pytest.param("turn the lights on", 0.5, id="no marks"),
        pytest.param("where are you from", 0.5, id="a preposition that may well be the end"),
        pytest.param("Turn the lights off.", 0.25, id="a full stop"),
        pytest.param("Really?", 0.25, id="a question"),
        pytest.param("He said “stop!”", 0.25, id="a quotation"),
        pytest.param("今日は。", 0.25, id="a full-width stop"),
        pytest.param("turn the lights off and", 1.5, id="and"),
        pytest.param("I would like, um", 1.5, id="thinking"),
        pytest.param("give me the", 1.5, id="an article"),
        pytest.param("give me the X", 0.5, id="a letter is a word as well"),
        pytest.param("I was thinking,", 1.5, id="a comma"),
        pytest.param("well…", 1.5, id="three dots"),
    ],
)
async def test_a_pause_is_judged_by_what_was_said(text: str, silence: float) -> None:
    detector = AdaptiveEndOfTurn(0.5, finished=0.5, hanging=3.0)
    assert isinstance(detector, EndOfTurnDetector)
    assert await detector.silence(text, AudioData(b"", 16_000)) == pytest.approx(silence)


@pytest.mark.parametrize(
    ("text", "silence"), [("turn the lights off", 0.6), ("Off.", 0.36), ("Off and", 1.2)]
)
def test_a_pause_is_shorter_after_a_sentence_and_twice_as_long_within_one(
    text: str, silence: float
) -> None:
    assert AdaptiveEndOfTurn().judge(text) == pytest.approx(silence)


@pytest.mark.parametrize("text", ["turn the lights off", "Off.", "Off and"])
def test_a_host_may_leave_no_pause_at_all(text: str) -> None:
    assert AdaptiveEndOfTurn(0.0, finished=0.0, hanging=0.0).judge(text) == 0.0


@pytest.mark.parametrize("values", [{"normal": -1}, {"finished": -0.1}, {"hanging": -2}])
def test_silences_are_not_negative(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="negative"):
        AdaptiveEndOfTurn(**values)
