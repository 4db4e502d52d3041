"""What a server sends, in the pieces and the wording that it comes in."""

from __future__ import annotations

from itertools import pairwise
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.engines._http_answers import language_code, transcription_of
from realtime_stts.engines._http_sound import SoundReader

SOUND = AudioData(bytes(range(200)), 22_050, 2)
LIST = b"LIST" + pack("<I", 5) + b"INFO1\0"  # a chunk of an odd length, and its padding


def wav(
    samples: bytes = SOUND.data,
    *,
    size: int | None = None,
    kind: int = 1,
    bits: int = 16,
    channels: int = 2,
    before: bytes = b"",
    after: bytes = b"",
    extended: bytes = b"",
) -> bytes:
    width = channels * bits // 8
    header = pack("<HHIIHH", kind, channels, 22_050, 22_050 * width, width, bits) + extended
    size = len(samples) if size is None else size
    chunks = b"fmt " + pack("<I", len(header)) + header + before
    return b"RIFF\0\0\0\0WAVE" + chunks + b"data" + pack("<I", size) + samples + after


def read(body: bytes, cuts: list[int] | None = None, kind: str = "", rate: int = 24_000) -> bytes:
    """The samples of a body that comes cut there; their layout is always the same."""
    reader = SoundReader(kind, rate)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts or []), len(body)]
    sounds = [reader.push(body[a:b]) for a, b in pairwise(edges)]
    found = [sound for sound in (*sounds, reader.finish()) if sound is not None]
    return AudioData.concat(found).data if found else b""


CUTS = st.lists(st.integers(0, 400), max_size=20)


@given(st.binary(max_size=100).filter(lambda data: data[:4] != b"RIFF"), CUTS)
def test_bare_samples_are_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    """Half a sample at the end is nothing."""
    assert read(data, cuts) == data[: len(data) // 2 * 2]


@given(CUTS, st.sampled_from([None, 0, 0xFFFF_FFFF, 0x7FFF_FFFF]))
def test_a_wav_file_is_the_same_however_it_is_cut(cuts: list[int], size: int | None) -> None:
    """Also one whose header does not know its length."""
    assert read(wav(size=size, before=LIST), cuts) == SOUND.data


@given(CUTS)
def test_what_follows_the_samples_is_no_sound(cuts: list[int]) -> None:
    assert read(wav(after=LIST * 3), cuts) == SOUND.data


@pytest.mark.parametrize(
    ("kind", "bits", "format"),
    [(1, 8, "pcm_u8"), (1, 24, "pcm_s24le"), (1, 32, "pcm_s32le"), (3, 32, "pcm_f32le")],
)
def test_samples_of_any_width_become_16_bit(kind: int, bits: int, format: str) -> None:
    sound = SOUND.converted(format)
    assert read(wav(sound.data, kind=kind, bits=bits), [70, 77]) == sound.converted().data


def test_an_extensible_header_says_what_it_is_further_on() -> None:
    extension = pack("<HHI", 22, 16, 3) + pack("<H", 1) + bytes(14)
    assert read(wav(kind=0xFFFE, extended=extension), list(range(100))) == SOUND.data


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (wav(kind=85), "of a kind that is not read"),
        (wav(kind=0xFFFE), "of a kind that is not read"),
        (wav(channels=0), "of a kind that is not read"),
        (b"RIFF\0\0\0\0WAVEfmt " + pack("<I", 4) + bytes(4) + b"data", "broken header"),
        (b"RIFF\0\0\0\0WAVEjunk" + pack("<I", 1 << 30) + bytes(9), "without samples"),
        (b"RIFF\0\0\0\0WAVE" + LIST * 5000, "without samples"),
        (wav()[:40], "inside the header"),
        (b"RIFF", "inside the header"),
        (wav()[:-8], "8 bytes before"),
        (wav(bytes(8), kind=3, bits=32, channels=1)[:-4] + b"\xff" * 4, "NaN"),
    ],
)
def test_a_wav_file_that_cannot_be_read_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(body)


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        ("audio/pcm;rate=16000;channels=2", 16_000, 2),
        ('audio/L16; Rate="44100"', 44_100, 1),
        ("audio/pcm; bitrate=16000", 24_000, 1),
        ("audio/pcm; channels=0", 24_000, 1),
        ("audio/wav", 24_000, 1),
        ("", 24_000, 1),
    ],
)
def test_the_media_type_may_tell_the_layout(kind: str, rate: int, channels: int) -> None:
    sound = SoundReader(kind, 24_000).push(bytes(400))
    assert sound == AudioData(bytes(400), rate, channels)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "audio/mpeg", "audio/ogg"])
def test_another_media_type_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"is {kind}, and neither"):
        SoundReader(kind, 24_000)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("english", "en"),
        ("Haitian Creole", "ht"),
        ("en", "en"),
        ("pt-BR", "pt"),
        ("yue", "yue"),
        ("klingon", ""),
        ("", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_languages_are_codes(language: object, code: str) -> None:
    assert language_code(language) == code


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NUMBER = st.integers() | st.floats() | st.none() | st.text(max_size=2) | st.booleans()
PIECES = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"start": NUMBER, "end": NUMBER},
        optional={
            "text": JSON,
            "word": JSON,
            "avg_logprob": NUMBER,
            "no_speech_prob": NUMBER,
            "probability": NUMBER,
        },
    ),
    max_size=5,
)


@given(st.text(max_size=5), PIECES | JSON, PIECES | JSON, JSON, st.floats(0, 60))
def test_whatever_a_server_says_is_in_order_and_inside_the_clip(
    text: str, segments: object, words: object, language: object, seconds: float
) -> None:
    answer = {"text": text, "segments": segments, "words": words, "language": language}
    result = transcription_of(answer, None, seconds)
    for pieces in (result.segments, result.words):
        edges = [edge for piece in pieces for edge in (piece.start, piece.end)]
        assert edges == sorted(edges)
        assert all(0 <= edge <= seconds for edge in edges)
    parts: list[Any] = [result, *result.segments, *result.words]
    assert all(part.confidence is None or 0 <= part.confidence <= 1 for part in parts)
    assert result.no_speech_probability is None or 0 <= result.no_speech_probability <= 1


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"text": None}])
def test_an_answer_without_a_text_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="no text"):
        transcription_of(answer, None, 1.0)


def test_a_number_too_large_for_a_time_is_none() -> None:
    """JSON has integers of any size."""
    answer = {"text": "hi", "words": [{"word": "hi", "start": 0, "end": 10**400}]}
    assert transcription_of(answer, None, 1.0).words == []


def test_silence_has_no_segments() -> None:
    """Recognisers time what they then take for no speech."""
    answer = {"text": " ", "segments": [{"start": 0, "end": 1, "text": "", "no_speech_prob": 1}]}
    result = transcription_of(answer, "de", 1.0)
    assert (result.text, result.segments, result.language) == ("", [], "de")
    assert result.no_speech_probability == 1.0
