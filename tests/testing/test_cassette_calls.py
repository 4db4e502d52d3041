"""A recorded call survives its file, and a file that is none is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import anyio
import pytest

from realtime_stts import Uninterruptible
from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    AudioFormatError,
    EngineError,
    EngineLoadError,
    EngineTimeoutError,
    UnknownEngineError,
)
from realtime_stts.protocols import (
    ConversationContext,
    Exchange,
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from realtime_stts.testing import speech
from realtime_stts.testing._cassette_calls import (
    Ending,
    Moment,
    RecordedCall,
    Result,
    decoded,
    encoded,
    response_request,
    stt_request,
    tts_request,
)

HEARD = TranscriptionResult(
    "naïve 🙂",
    "en",
    [TranscriptionSegment("naïve 🙂", 0.0, 1.0, 0.5)],
    0.5,
    True,
    [TranscriptionWord("naïve", 0.0, 0.75), TranscriptionWord("🙂", 0.75, 1.0, 0.25)],
    "naïve",
)
SOUND = speech(0.1)
NOW = {"after": 0.0, "lag": 0.0, "heard": None}


def fields(call: RecordedCall) -> dict[str, Any]:
    return {name: getattr(call, name) for name in RecordedCall.__slots__}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(HEARD, id="a transcription"),
        pytest.param(SOUND, id="audio"),
        pytest.param(AudioData(SOUND.encode("flac"), 16_000, format="flac"), id="encoded audio"),
        pytest.param(SynthesisResult(SOUND, "hm", "ada", 0.5), id="a synthesis"),
        pytest.param("one piece ", id="a piece of an answer"),
        pytest.param(Uninterruptible("Listen."), id="a piece to be heard out"),
        pytest.param("\ud800 alone", id="what is no valid text"),
    ],
)
def test_results_come_back_as_they_were(value: Any) -> None:
    call = RecordedCall(
        kind="tts",
        streamed=True,
        engine="an engine",
        request={"text": "hm", "voice_config": {"voice_id": "ada"}},
        sketches=[(1, -2, 3, 4), (0, 0, 0, 0)],
        seconds=1.25,
        heard_all=True,
        results=[Result(value, Moment(0.1 + 0.2, 0.2, 0.7)), Result(value, Moment(1.0))],
        ending=Ending(Moment(2.0, 0.5, 1.25), "completed"),
    )
    [copy] = decoded(iter([*encoded([call])]))
    assert fields(copy) == fields(call)
    assert [type(result.value) for result in copy.results] == [type(value)] * 2


def test_the_first_line_says_what_it_is() -> None:
    assert [json.loads(line) for line in encoded([])] == [
        {"cassette": "realtime-stts", "version": 1}
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        "7",
        "{}",
        '{"cassette": "mine", "version": 1}',
        '{"version": 1}',
        '{"cassette": "realtime-stts"}',
        '{"cassette": "realtime-stts", "version": "1"}',
    ],
)
def test_what_does_not_begin_as_a_cassette_is_none(line: str) -> None:
    with pytest.raises(ValueError, match="this is no cassette"):
        [*decoded(iter([line] if line else []))]


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="is of version 2, and this library reads up to version 1"):
        [*decoded(iter(['{"cassette": "realtime-stts", "version": 2}']))]


def broken(**changes: Any) -> str:
    [_, line] = encoded([RecordedCall("tts", True, "an engine", tts_request("hm", {}))])
    return json.dumps({**json.loads(line), **changes})


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        "{}",
        broken(kind="video"),
        broken(sketches=[["loud"]]),
        broken(seconds="long"),
        broken(results=[{"value": "hm"}]),
        broken(results=[{"value": 7, **NOW}]),
        broken(results=[{"value": {"text": "hm"}, **NOW}]),
        broken(results=[{"value": {"data": "?"}, **NOW}]),
        broken(
            results=[
                {
                    "value": {"data": "AAAA", "sample_rate": 7, "channels": 1, "format": "pcm"},
                    **NOW,
                }
            ]
        ),
        broken(results=[{"value": {**asdict(HEARD), "words": [{"word": "hm"}]}, **NOW}]),
        broken(ending={"why": "tired"}),
    ],
)
def test_a_broken_line_is_named(line: str) -> None:
    [header, good] = encoded([RecordedCall("tts", True, "an engine", tts_request("hm", {}))])
    with pytest.raises(ValueError, match="line 3 of the cassette is no recorded call"):
        [*decoded(iter([header, good, line]))]


# -- requests ----------------------------------------------------------------------------


def test_what_json_cannot_hold_counts_by_its_type() -> None:
    request = tts_request("hm", {"speed_factor": 2.0, "weights": (1, 2), "model": object()})
    assert request["voice_config"] == {
        "speed_factor": 2.0,
        "weights": [1, 2],
        "model": "<object>",
    }


def test_an_answer_depends_on_what_was_said_before() -> None:
    context = ConversationContext(history=(Exchange(1, "hi", "Hello there.", "Hello"),))
    assert response_request(HEARD, context) == {"text": HEARD.text, "history": [["hi", "Hello"]]}


# -- endings -----------------------------------------------------------------------------


class UnpluggedError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (EngineError("stt", "gone", request_id="7"), EngineError, "stt: gone"),
        (EngineLoadError("stt", "no file"), EngineLoadError, "stt: no file"),
        (EngineTimeoutError("stt", 2.0), EngineError, "stt: gave nothing within 2 s"),
        (AudioFormatError("noise"), AudioFormatError, "noise"),
        (ValueError("blank"), ValueError, "blank"),
        (UnpluggedError("the cable"), EngineError, "recorded: UnpluggedError: the cable"),
        (
            UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
            EngineError,
            "recorded: UnicodeDecodeError: 'utf-8' codec can't decode byte 0x78 in position 0: odd",
        ),
        (
            UnknownEngineError("stt", "x", ()),
            EngineError,
            f"recorded: UnknownEngineError: {UnknownEngineError('stt', 'x', ())}",
        ),
    ],
)
def test_an_error_is_raised_again_as_far_as_it_is_known(
    error: Exception, kind: type[Exception], text: str
) -> None:
    call = RecordedCall("stt", True, "an engine", stt_request(None))
    call.ending = Ending.of(error, Moment(0.5, 0.25, 1.0))
    [copy] = decoded(iter([*encoded([call])]))
    assert copy.ending == call.ending
    assert copy.ending.how == "error"
    again = copy.ending.exception()
    assert type(again) is kind
    assert str(again) == text
    assert again is not error


def test_a_call_may_end_in_three_ways() -> None:
    assert Ending.of(None, Moment(0.5)).how == "completed"
    assert Ending.of(GeneratorExit(), Moment(0.5)).how == "cancelled"


@pytest.mark.anyio
async def test_a_cancelled_call_is_no_failure() -> None:
    endings = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class() as exc:
            endings.append(Ending.of(exc, Moment(0.5)).how)
            raise
    assert endings == ["cancelled"]


def test_a_call_under_way_counts_as_cancelled() -> None:
    assert RecordedCall("stt", True, "an engine", stt_request("en")).ending.how == "cancelled"
