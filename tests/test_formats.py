"""PCM bytes and float samples: exact where they can be, rounded and clipped where not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts._formats import (
    ENCODED,
    PCM,
    check_finite,
    check_layout,
    from_float,
    stored,
    to_float,
)
from realtime_stts.errors import AudioFormatError

INTEGER = [format for format, (_, scale) in PCM.items() if scale]


def integers(data: bytes, format: str) -> list[int]:
    """The samples as Python reads them, byte by byte."""
    width = PCM[format][0]
    values = [
        int.from_bytes(data[at : at + width], "little", signed=format != "pcm_u8")
        for at in range(0, len(data), width)
    ]
    return [value - 128 for value in values] if format == "pcm_u8" else values


def every_value(format: str) -> bytes:
    width = PCM[format][0]
    return b"".join(value.to_bytes(width, "little") for value in range(1 << (8 * width)))


@pytest.mark.parametrize("format", ["pcm", "pcm_s16le", "pcm_u8"])
def test_every_value_survives_the_round_trip(format: str) -> None:
    data = every_value(format)
    assert from_float(to_float(data, format), format) == data


@given(st.lists(st.integers(-(1 << 23), (1 << 23) - 1)))
def test_24_bits_survive_the_round_trip(values: list[int]) -> None:
    data = b"".join(value.to_bytes(3, "little", signed=True) for value in values)
    assert from_float(to_float(data, "pcm_s24le"), "pcm_s24le") == data


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1)))
def test_32_bits_keep_the_24_that_float32_has(values: list[int]) -> None:
    data = b"".join(value.to_bytes(4, "little", signed=True) for value in values)
    back = integers(from_float(to_float(data, "pcm_s32le"), "pcm_s32le"), "pcm_s32le")
    assert all(abs(b - a) <= max(1, abs(a) >> 24) for a, b in zip(values, back, strict=True))


@pytest.mark.parametrize("format", INTEGER)
def test_the_most_negative_integer_is_exactly_minus_one(format: str) -> None:
    width, scale = PCM[format]
    assert scale is not None
    lowest = bytes([0] if format == "pcm_u8" else [*bytes(width - 1), 0x80])
    assert to_float(lowest, format).tolist() == [-1.0]
    middle = bytes([0x80] if format == "pcm_u8" else width)
    assert to_float(middle, format).tolist() == [0.0]
    step = bytes([0x81] if format == "pcm_u8" else [1, *bytes(width - 1)])
    assert to_float(step, format).tolist() == [1 / scale]


@pytest.mark.parametrize(
    ("format", "value", "data"),
    [
        ("pcm", 0x1234, b"\x34\x12"),
        ("pcm_s24le", 0x123456, b"\x56\x34\x12"),
        ("pcm_s24le", -2, b"\xfe\xff\xff"),
        ("pcm_s32le", 0x12345600, b"\x00\x56\x34\x12"),
        ("pcm_u8", 0x12, b"\x92"),
    ],
)
def test_bytes_are_little_endian_on_every_machine(format: str, value: int, data: bytes) -> None:
    scale = PCM[format][1]
    assert scale is not None
    assert from_float(np.array([value / scale]), format) == data
    assert to_float(data, format).tolist() == [value / scale]


@pytest.mark.parametrize("format", PCM)
def test_stored_samples_are_in_the_byte_order_of_the_machine(format: str) -> None:
    samples = stored(bytes(range(24)), format)
    assert samples.dtype.isnative
    if format in INTEGER:
        assert samples.tolist() == integers(bytes(range(24)), format)


FLOATS = st.one_of(st.floats(-1.5, 1.5), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(FLOATS), st.sampled_from(INTEGER), st.sampled_from([np.float64, np.longdouble]))
def test_floats_are_rounded_to_the_nearest_and_clipped(
    values: list[float], format: str, dtype: type[np.floating[Any]]
) -> None:
    """However large: nothing wraps, and nothing overflows on the way."""
    scale = PCM[format][1]
    assert scale is not None
    expected = [max(-scale, min(scale - 1, round(Fraction(value) * scale))) for value in values]
    assert integers(from_float(np.array(values, dtype), format), format) == expected


@given(
    st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False)), st.sampled_from(INTEGER)
)
def test_narrow_floats_are_converted_like_wide_ones(values: list[float], format: str) -> None:
    wide = from_float(np.array(values, np.float64), format)
    assert from_float(np.array(values, np.float32), format) == wide
    assert from_float(np.array(values, np.float16), format) == wide


@given(st.lists(FLOATS, min_size=1))
def test_float_pcm_is_clipped_both_ways(values: list[float]) -> None:
    data = from_float(np.array(values), "pcm_f32le")
    expected = np.array([max(-1.0, min(1.0, value)) for value in values], "<f4")
    assert data == expected.tobytes()
    loud = np.clip(np.array(values), -1e38, 1e38).astype("<f4").tobytes()
    assert to_float(loud, "pcm_f32le").tolist() == expected.tolist()


def test_channels_interleave_whatever_the_memory_order() -> None:
    frames: NDArray[np.float32] = np.array([[0.25, -0.25], [0.5, -0.5]], np.float32)
    for format in PCM:
        assert from_float(np.asfortranarray(frames), format) == from_float(frames, format)


def test_an_encoded_format_has_no_samples() -> None:
    for format in [*ENCODED, "pcm_s16be", ""]:
        with pytest.raises(AudioFormatError, match=r"not a PCM format: pcm, "):
            from_float(np.zeros(1), format)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_layouts_of_speech_and_music_pass(sample_rate: int, channels: int) -> None:
    check_layout(sample_rate, channels)


@pytest.mark.parametrize(
    "sample_rate", [0, -16_000, 7_999, 192_001, 2**31 - 1, True, 16_000.0, "16000", None]
)
def test_other_rates_do_not(sample_rate: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"sample rate is 8000 to 192000 Hz, not"):
        check_layout(sample_rate, 1)


@pytest.mark.parametrize("channels", [0, -1, 9, True, 1.0, "1", None])
def test_other_channel_counts_do_not(channels: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"1 to 8 channels, not"):
        check_layout(16_000, channels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(AudioFormatError, match="NaN or infinity"):
        check_finite(np.array([0.0, value, 0.0]))
    check_finite(np.array([np.finfo(np.float64).max]))
