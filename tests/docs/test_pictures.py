"""The pictures: drawn the same each time, and true of what they show."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

pytest.importorskip("IPython")
pytest.importorskip("matplotlib")

from realtime_stts import (
    Interrupted,
    ReplyPaused,
    ReplyResumed,
    SpeechStarted,
    SpeechStopped,
    TurnPolicy,
)
from realtime_stts.conversation._events import (
    InputEnded,
    Signal,
    StopRequested,
    Tick,
    TurnCommitted,
    Understood,
    Voiced,
)
from realtime_stts.conversation._turns import TurnState, step
from tools.docs.drawing import Arrow, Box, Label, svg
from tools.docs.pictures import PICTURES

POLICY = TurnPolicy()
SILENT = SpeechStopped(3.0, 3.0)


def after(*signals: Signal, policy: TurnPolicy = POLICY) -> TurnState:
    state = TurnState()
    for signal in signals:
        state, _ = step(state, signal, policy)
    return state


def user(state: TurnState) -> str:
    return type(state.user).__name__


def course(state: TurnState) -> str | None:
    return state.answer and state.answer.course


START = SpeechStarted(1.0, 1.0)


@pytest.mark.parametrize(
    ("signals", "there"),
    [
        pytest.param((), "Idle", id="at first"),
        pytest.param((START,), "Speaking", id="speech starts"),
        pytest.param((START, SILENT), "Paused", id="speech stops"),
        pytest.param((START, SILENT, SpeechStarted(3.2, 3.2)), "Speaking", id="starts again"),
        pytest.param((START, SILENT, Tick(4.0)), "Idle", id="end_of_turn"),
        pytest.param((START, TurnCommitted(2.0)), "Idle", id="committed"),
        pytest.param((START, InputEnded(2.0)), "Idle", id="the input ends"),
        pytest.param((START, Tick(62.0)), "Speaking", id="max_turn"),
    ],
)
def test_the_user_goes_where_the_arrows_of_the_picture_lead(
    signals: tuple[Signal, ...], there: str
) -> None:
    assert user(after(*signals)) == there
    assert f">{there}</text>" in PICTURES["turns"]()


ANSWERED = (START, SILENT, Tick(4.0), SpeechStarted(5.0, 5.0))
HELD = (*ANSWERED, Voiced(5.4, 0.4))
NO_WORDS = (SpeechStopped(5.5, 5.5), Tick(6.2), Understood(2, 0, True, 6.3))


@pytest.mark.parametrize(
    ("signals", "policy", "there"),
    [
        pytest.param(ANSWERED, POLICY, "running", id="at first"),
        pytest.param(HELD, POLICY, "held", id="speech over it"),
        pytest.param((*HELD, *NO_WORDS), POLICY, "running", id="no words"),
        pytest.param((*HELD, Understood(2, 2, False, 5.6)), POLICY, "stopped", id="words"),
        pytest.param(
            (*HELD, Understood(2, 2, False, 5.6)),
            TurnPolicy(hold_on_speech=False),
            "stopped",
            id="words first",
        ),
        pytest.param((*ANSWERED, StopRequested(5.1)), POLICY, "stopped", id="the host says so"),
    ],
)
def test_an_answer_goes_where_the_arrows_of_the_picture_lead(
    signals: tuple[Signal, ...], policy: TurnPolicy, there: str
) -> None:
    assert course(after(*signals, policy=policy)) == there
    assert f">{there}</text>" in PICTURES["answer"]()


@pytest.mark.parametrize("name", ["answer", "data-flow", "turns"])
def test_drawings_are_svg_with_a_title_and_within_their_frame(name: str) -> None:
    root = ElementTree.fromstring(PICTURES[name]())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    title = root.find("{*}title")
    assert title is not None
    assert title.text
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        reach = 3.5 * len(text.text or "")  # half of what it takes, at 7 px a character
        x, anchor = float(text.attrib["x"]), text.attrib["text-anchor"]
        assert x - (reach if anchor == "middle" else 0) > 0, text.text
        assert x + (reach if anchor == "middle" else 2 * reach) < width, text.text
        assert 0 < float(text.attrib["y"]) < height, text.text


def test_a_drawing_escapes_what_it_is_given() -> None:
    drawn = svg(10, 10, "a < b", [Label(1, 2, "<x>"), Box(0, 0, 1, 1, "", ("a & b",))])
    assert "&lt;x&gt;" in drawn
    assert "a &amp; b" in drawn
    ElementTree.fromstring(drawn)


def test_an_arrow_has_its_words_over_its_middle_unless_told_where() -> None:
    drawn = svg(10, 10, "t", [Arrow(((0, 10), (20, 10)), "one\ntwo"), Arrow(((0, 0), (1, 1)))])
    assert 'x="10" y="3"' in drawn
    assert 'x="10" y="18"' in drawn
    assert drawn.count("marker-end") == 2


def test_the_timeline_is_of_a_call_in_which_one_answer_is_held_and_one_stopped() -> None:
    for leaf in ("espeakng_loader", "pocketsphinx"):
        pytest.importorskip(leaf)
    from tools.docs import pictures

    call = pictures.anyio.run(pictures._call, backend_options=pictures.virtual_time()[1])
    outcomes = [turn.outcome for turn in call.turns]
    assert [len(call.of(kind)) for kind in (ReplyPaused, ReplyResumed, Interrupted)] == [2, 1, 1]
    assert outcomes == ["answered", "silent", "interrupted", "answered", "answered"]
    assert ElementTree.fromstring(pictures.timeline()).tag.endswith("svg")
