"""When a word of a sentence is said, and what was heard of it, if the voice does not tell."""

# ruff: noqa: RUF001 - full-width marks are meant

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime_stts import MissingExtraError
from realtime_stts.conversation._timing import SpokenWord, heard_text, spoken_words


def words(text: str) -> list[str]:
    return [word.text for word in spoken_words(text, 1.0)]


def share(word: str, text: str) -> float:
    """How much of the sound of ``text`` is that word."""
    (found,) = [each for each in spoken_words(text, 1.0) if each.text == word]
    return found.end - found.start


def pause(text: str) -> float:
    """How long it is silent between the two words of ``text``, in lengths of the first."""
    first, second = spoken_words(text, 1.0)
    return (second.start - first.end) / (first.end - first.start)


def test_words_of_equal_length_share_the_sound() -> None:
    assert spoken_words("one two six", 3.0) == [
        SpokenWord("one", 0.0, 1.0),
        SpokenWord("two", 1.0, 2.0),
        SpokenWord("six", 2.0, 3.0),
    ]


def test_a_longer_word_takes_longer() -> None:
    assert share("extraordinary", "an extraordinary day") > 3 * share("an", "an extraordinary day")


def test_a_digit_takes_as_long_as_a_word() -> None:
    assert share("5", "5 four") > share("four", "5 four") > share("5", "5 four") / 2
    assert share("1999", "1999 internationally") > share("internationally", "1999 internationally")


def test_a_sign_that_is_read_takes_time() -> None:
    assert share("%", "% four") > share("four", "% four")


def test_marks_make_pauses_and_accents_none() -> None:
    assert pause("word word") == pause("re\u0301e word") == 0.0
    assert 0.0 < pause("word, word") < pause("word; word") < pause("word. word")
    assert pause("word.” word") == pause("word? word")
    assert pause('"word", word') == pytest.approx(pause("word, word"))


def test_the_pause_after_the_last_word_is_in_the_sound() -> None:
    (word,) = spoken_words("Word.", 1.0)
    assert 0.5 < word.end < 1.0


def test_and_is_half_as_long_as_one_between_words() -> None:
    first, second = spoken_words("Word. Word.", 1.0)
    assert 1.0 - second.end == pytest.approx((second.start - first.end) / 2)


def test_a_word_keeps_its_marks() -> None:
    assert words(' "Well," (he) said: no! ') == ['"Well,"', "(he)", "said:", "no!"]


def test_in_text_without_spaces_each_character_is_a_word() -> None:
    assert words("你好，「世界」。") == ["你", "好，", "「世", "界」。"]
    assert words("用Python写") == ["用", "Python", "写"]
    assert words("สวัสดี") == ["ส", "วั", "ส", "ดี"]
    assert words("안녕하세요 여러분") == ["안녕하세요", "여러분"]
    assert words("「") == ["「"]
    assert share("写", "写 four") > share("four", "写 four") / 2


def test_text_without_words_has_none() -> None:
    assert spoken_words(" ", 1.0) == []
    assert spoken_words("", 0.0) == []


def test_what_was_heard_is_written_as_it_was() -> None:
    text = "One,  two; six."
    assert heard_text(text, 3.0, 0.0) == ""
    assert heard_text(text, 3.0, 0.4) == ""
    assert heard_text(text, 3.0, 1.0) == "One,"
    assert heard_text(text, 3.0, 2.0) == "One,  two;"
    assert heard_text(text + " ", 3.0, 3.0) == text + " "
    assert heard_text(text, 3.0, inf) == text
    assert heard_text("one two six", 3.0, 2.0) == "one two"


def test_of_no_sound_nothing_was_heard_before_it_was_played() -> None:
    assert heard_text("One", 0.0, 0.0) == ""
    assert heard_text("One", 0.0, 0.1) == "One"


@pytest.mark.parametrize("duration", [-0.1, nan, inf])
def test_a_duration_that_makes_no_sense_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        spoken_words("One", duration)
    with pytest.raises(ValueError, match="duration"):
        heard_text("One", duration, 1.0)


def test_a_position_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="number"):
        heard_text("One", 1.0, nan)


# -- any text

TEXT = st.text() | st.text(st.sampled_from("ab 5,.?%你「。é\u0301\n"))
SECONDS = st.floats(0.0, 300.0)


@given(TEXT, SECONDS)
def test_words_follow_one_another_within_the_sound(text: str, duration: float) -> None:
    spoken = spoken_words(text, duration)
    assert "".join(word.text for word in spoken) == "".join(text.split())
    moments = [moment for word in spoken for moment in (word.start, word.end)]
    assert moments == sorted(moments)
    assert all(0.0 <= moment <= duration * (1 + 1e-9) for moment in moments)


@given(TEXT, SECONDS, SECONDS, SECONDS)
@example("a b", 1.0, 0.5, 1.0)
def test_who_hears_longer_hears_as_much_or_more(
    text: str, duration: float, once: float, again: float
) -> None:
    sooner, later = sorted((once, again))
    assert heard_text(text, duration, later).startswith(heard_text(text, duration, sooner))
    assert text.startswith(heard_text(text, duration, later))


@given(TEXT, st.floats(0.01, 300.0), st.floats(0.0, 1.0, exclude_max=True))
def test_what_was_heard_ends_with_the_last_word_that_was_said(
    text: str, duration: float, part: float
) -> None:
    played = part * duration
    said = [word.text for word in spoken_words(text, duration) if word.end <= played]
    heard = heard_text(text, duration, played)
    assert "".join(heard.split()) == ("".join(said) if 0.0 < played < duration else "")


# -- a real voice

SENTENCES = {
    "en-us": [
        "Good morning, and welcome to the museum; the doors close at six.",
        "Your order of 3 books has been shipped, and it should arrive on Tuesday.",
        "I am afraid that I have no idea what you are talking about.",
        "Please remember: the password must have at least 12 characters.",
        "The president of the committee answered every question patiently.",
    ],
    "de": ["Der Arzt hat heute leider keine Sprechstunde, aber morgen ab 10 Uhr."],
    "fr": ["Merci beaucoup, votre commande a bien été enregistrée."],
}


@pytest.mark.anyio
async def test_a_real_voice_ends_its_words_about_when_estimated() -> None:
    """A word's end is that of the sound of the text up to it, said alone.

    The weights come from other sentences.
    """
    espeak = pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    engine = espeak.ESpeakTTSEngine()

    async def sound(text: str, voice: str) -> tuple[float, float]:
        """Its duration, and when it falls silent."""
        audio = (await engine.synthesize(text, {"voice_id": voice})).audio_data
        loud = np.flatnonzero(np.abs(audio.samples[:, 0]) > 0.005)
        return audio.duration_seconds, loud[-1] / audio.sample_rate

    errors = []
    for voice, sentences in SENTENCES.items():
        for sentence in sentences:
            duration, _ = await sound(sentence, voice)
            said = ""
            for word in spoken_words(sentence, duration):
                said = f"{said} {word.text}".strip()
                _, end = await sound(said.rstrip(",;:."), voice)
                errors.append(abs(word.end - end))
    assert len(errors) > 70
    assert np.mean(errors) < 0.15
    assert np.max(errors) < 0.4
