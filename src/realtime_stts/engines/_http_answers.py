"""PURE: what a server of OpenAI's API says was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, isfinite
from typing import Any, Final

from ..protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord

__all__ = ["language_code", "transcription_of"]

# OpenAI's own server names languages in English, as Whisper does; ISO 639 has the codes.
_NAMES: Final = """
af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, be belarusian,
bg bulgarian, bn bengali, bo tibetan, br breton, bs bosnian, ca catalan, cs czech, cy welsh,
da danish, de german, el greek, en english, es spanish, et estonian, eu basque, fa persian,
fi finnish, fo faroese, fr french, gl galician, gu gujarati, ha hausa, haw hawaiian, he hebrew,
hi hindi, hr croatian, ht haitian creole, hu hungarian, hy armenian, id indonesian,
is icelandic, it italian, ja japanese, jv javanese, ka georgian, kk kazakh, km khmer,
kn kannada, ko korean, la latin, lb luxembourgish, ln lingala, lo lao, lt lithuanian,
lv latvian, mg malagasy, mi maori, mk macedonian, ml malayalam, mn mongolian, mr marathi,
ms malay, mt maltese, my myanmar, ne nepali, nl dutch, nn nynorsk, no norwegian, oc occitan,
pa punjabi, pl polish, ps pashto, pt portuguese, ro romanian, ru russian, sa sanskrit,
sd sindhi, si sinhala, sk slovak, sl slovenian, sn shona, so somali, sq albanian, sr serbian,
su sundanese, sv swedish, sw swahili, ta tamil, te telugu, tg tajik, th thai, tk turkmen,
tl tagalog, tr turkish, tt tatar, uk ukrainian, ur urdu, uz uzbek, vi vietnamese, yi yiddish,
yo yoruba, yue cantonese, zh chinese
"""
_CODES: Final = {
    name: code for code, _, name in (entry.strip().partition(" ") for entry in _NAMES.split(","))
}


def language_code(language: object) -> str:
    """ISO 639 of a code or an English name; "" for anything else."""
    name = language.strip().lower() if isinstance(language, str) else ""
    if name in _CODES:
        return _CODES[name]
    code = name.partition("-")[0]
    return code if 2 <= len(code) <= 3 and code.isascii() and code.isalpha() else ""


def transcription_of(answer: object, language: str | None, seconds: float) -> TranscriptionResult:
    """The result that a JSON answer stands for, ``json`` or ``verbose_json``.

    Times are made to be in order and inside the clip; where one is missing, or is no
    number, that piece is left out. Nothing else is believed of it either.

    Args:
        language: What was asked for, where the answer does not say.
        seconds: The clip's length.

    Raises:
        ValueError: It has no text.
    """
    said = answer.get("text") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(said, str):
        raise ValueError("has no text")  # noqa: TRY004 - it is what a server sent
    text = said.strip()
    raw = _mappings(answer.get("segments"))
    segments = [
        TranscriptionSegment(str(each.get("text", "")).strip(), start, end, _confidence(each))
        for each, start, end in _timed(raw, seconds)
    ]
    words = [
        TranscriptionWord(
            str(each.get("word", "")).strip(), start, end, _probability(each.get("probability"))
        )
        for each, start, end in _timed(_mappings(answer.get("words")), seconds)
    ]
    silent = [_probability(each.get("no_speech_prob")) for each in raw]
    known = [each for each in silent if each is not None]
    return TranscriptionResult(
        text,
        language_code(answer.get("language")) or language or "",
        segments if text else [],
        _mean(segments),
        words=words if text else [],
        # There was no speech in it if there was none in any part.
        no_speech_probability=min(known) if known and len(known) == len(silent) else None,
    )


def _mappings(found: object) -> list[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _timed(
    pieces: Iterable[Mapping[str, Any]], seconds: float
) -> Iterable[tuple[Mapping[str, Any], float, float]]:
    last = 0.0
    for piece in pieces:
        start, end = _number(piece.get("start")), _number(piece.get("end"))
        if start is None or end is None:
            continue
        start = min(max(start, last), seconds)
        last = min(max(end, start), seconds)
        yield piece, start, last


def _confidence(segment: Mapping[str, Any]) -> float | None:
    """The mean probability of a token, of which Whisper's servers tell the logarithm."""
    logarithm = _number(segment.get("avg_logprob"))
    return None if logarithm is None else exp(min(logarithm, 0.0))


def _mean(segments: list[TranscriptionSegment]) -> float | None:
    """Of the segments' confidences, by their length; None if one has none."""
    total = length = 0.0
    for segment in segments:
        if segment.confidence is None:
            return None
        lasts = max(segment.end - segment.start, 1e-3)  # s
        total, length = total + segment.confidence * lasts, length + lasts
    return min(1.0, total / length) if length else None


def _probability(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0.0 <= number <= 1.0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers of any size
        return None
    return number if isfinite(number) else None
