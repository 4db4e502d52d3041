from __future__ import annotations

from typing import Any

import pytest

from realtime_stts.conversation._detection import heard
from realtime_stts.conversation._events import SpeechStarted, SpeechStopped, Voiced


def framed(*probabilities: float, events: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Frames of 10 ms from 1.0 s on."""
    frames = [(1 + n / 100, 1 + (n + 1) / 100, p) for n, p in enumerate(probabilities)]
    return {"frames": frames, "speech_events": [*events], "events": [], "is_speaking": True}


def told(detection: dict[str, Any], *, wanted: bool = True) -> list[Any]:
    return [*heard(detection, 0.05, 1.05, lambda: wanted)]


def test_each_frame_of_speech_is_told_of_where_that_matters() -> None:
    detection = framed(0.9, 0.2, 0.5)
    assert told(detection) == [Voiced(1.01, pytest.approx(0.01)), Voiced(1.03, pytest.approx(0.01))]
    assert told(detection, wanted=False) == []


def test_whether_it_matters_is_asked_frame_by_frame() -> None:
    answers = iter([False, True])
    signals = [*heard(framed(0.9, 0.9), 0.02, 1.02, lambda: next(answers))]
    assert [signal.at for signal in signals] == [1.02]


def test_an_event_comes_in_its_place_and_its_frame_counts_no_more() -> None:
    start, stop = SpeechStarted(0.9, 1.02), SpeechStopped(1.03, 1.04)
    assert [type(s) for s in told(framed(0.9, 0.9, 0.9, 0.1, events=(start, stop)))] == [
        Voiced,
        SpeechStarted,
        Voiced,
        SpeechStopped,
    ]
    late = SpeechStarted(1.0, 1.2)
    assert told(framed(0.1, events=(late,))) == [late]


@pytest.mark.parametrize(
    ("detection", "signals"),
    [
        ({"events": ["speech_start"], "is_speaking": True}, [SpeechStarted(1.0, 1.05)]),
        (
            {"events": ["speech_end"], "is_speaking": False, "silence_duration_ms": 300},
            [SpeechStopped(0.75, 1.05)],
        ),
        ({"events": [], "is_speaking": True}, [Voiced(1.05, 0.05)]),
        ({"events": [], "is_speaking": False}, []),
        ({"events": ["sneeze"], "is_speaking": False}, []),
    ],
)
def test_a_detector_of_the_contract_is_dated_by_its_chunks(
    detection: dict[str, Any], signals: list[Any]
) -> None:
    assert told(detection) == [
        type(s)(*(pytest.approx(getattr(s, name)) for name in s.__slots__)) for s in signals
    ]
