"""Values, results and errors: the same in the other process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import errors
from realtime_stts.audio import AudioData
from realtime_stts.engines._isolated_frames import Message
from realtime_stts.engines._isolated_values import (
    Foreign,
    packed_error,
    packed_result,
    plain,
    unpacked_error,
    unpacked_result,
    valued,
)
from realtime_stts.errors import (
    AudioFormatError,
    EngineCrashedError,
    EngineError,
    EngineMemoryError,
    EngineTimeoutError,
    MissingExtraError,
    UnknownEngineError,
)
from realtime_stts.protocols import (
    SynthesisResult,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)

ATOMS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.builds(Path, st.text("abc", min_size=1))
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.just("$") | st.integers(), inner)
    ),
    max_leaves=10,
)
SECONDS = st.floats(0, 1e4)
CONFIDENCES = st.none() | st.floats(0, 1)
TRANSCRIPTIONS = st.builds(
    TranscriptionResult,
    st.text(),
    st.text(),
    st.lists(st.builds(TranscriptionSegment, st.text(), SECONDS, SECONDS, CONFIDENCES)),
    CONFIDENCES,
    st.booleans(),
    st.lists(st.builds(TranscriptionWord, st.text(), SECONDS, SECONDS, CONFIDENCES)),
    st.text(),
    CONFIDENCES,
    CONFIDENCES,
)
AUDIO = st.builds(
    lambda n_frames, rate, channels, format: AudioData(
        bytes(range(4)) * n_frames * channels, rate, channels, format
    ),
    st.integers(0, 20),
    st.sampled_from([8_000, 22_050, 48_000]),
    st.integers(1, 3),
    st.sampled_from(["pcm", "pcm_u8", "pcm_s32le"]),
)


def sent(value: Any) -> Any:
    return json.loads(json.dumps(value))


def there_and_back(result: object) -> Any:
    message = packed_result(result)
    return unpacked_result(Message(sent(message.header), message.payload))


@given(VALUES)
def test_values_arrive_as_they_are(value: Any) -> None:
    assert valued(sent(plain(value))) == value


@given(TRANSCRIPTIONS | AUDIO | st.builds(SynthesisResult, AUDIO, st.text(), st.text(), SECONDS))
def test_results_arrive_with_every_field(result: object) -> None:
    assert there_and_back(result) == result


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_encoded_audio_stays_encoded(format: str) -> None:
    audio = AudioData(AudioData.silence(0.1, 16_000).encode(format), 16_000, format=format)
    assert there_and_back(audio) == audio


def test_numbers_of_numpy_arrive_as_pythons() -> None:
    given = [np.float32(0.5), np.float64(0.25), np.int64(7)]
    assert [*map(repr, valued(sent(plain(given))))] == ["0.5", "0.25", "7"]


def test_this_librarys_own_options_arrive_as_what_they_are() -> None:
    segment = TranscriptionSegment("hello", 0.0, 1.0)
    audio = AudioData.silence(0.1, 16_000)
    assert valued(sent(plain({"segment": segment, "voice": audio}))) == {
        "segment": segment,
        "voice": audio,
    }


def test_a_value_that_cannot_be_sent_is_one_that_no_engine_takes() -> None:
    arrived = valued(sent(plain({"rate": object()})))["rate"]
    assert isinstance(arrived, Foreign)
    assert "object" in repr(arrived)
    with pytest.raises(ValueError, match="cannot be sent"):
        plain([object()], strict=True)


@pytest.mark.parametrize(
    "data",
    [
        {"$": "dataclass", "of": {}, "module": "subprocess", "name": "Popen"},
        {"$": "dataclass", "of": {}, "module": "realtime_stts.audio", "name": "os"},
        {"$": "nothing known", "of": 1},
    ],
)
def test_nothing_but_values_is_made(data: Any) -> None:
    assert isinstance(valued(data), Foreign)


@pytest.mark.parametrize(
    "error",
    [
        AudioFormatError("17 bytes"),
        EngineError("whisper", "failed", request_id="req-1"),
        EngineCrashedError("whisper", "gone", exit_code=-9),
        EngineTimeoutError("whisper", 0.5),
        EngineMemoryError("whisper", "too large"),
        MissingExtraError("Whisper", "whisper", remedy="apt-get"),
        UnknownEngineError("stt", "wisper", ["whisper"]),
        ValueError("rate is 1 to 2, not 3"),
        TypeError("no such option"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_known_errors_arrive_as_they_are(error: Exception) -> None:
    arrived = unpacked_error(sent(packed_error(error, "Traceback: line 1")), "odd")
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))
    assert "line 1" in str(arrived.__cause__)


def test_every_error_of_this_library_is_known() -> None:
    for name in errors.__all__:
        assert packed_error(getattr(errors, name).__new__(getattr(errors, name)))["is"] == name


def test_other_errors_are_the_engines() -> None:
    arrived = unpacked_error(sent(packed_error(KeyError("x"))), "odd")
    assert (type(arrived), str(arrived)) == (EngineError, "odd: KeyError: 'x'")
    assert type(unpacked_error(sent(packed_error(MemoryError())), "odd")) is EngineMemoryError
    undecodable = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
    assert type(unpacked_error(sent(packed_error(undecodable)), "odd")) is ValueError
