"""Successive hypotheses of one recording become a transcript that only grows."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts._agreement import (
    Agreement,
    TrimPolicy,
    agree,
    confidence_of,
    finish,
    sentences,
    text_of,
    timed_words,
    trimmed,
)
from realtime_stts.protocols import (
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)

WORD = 0.5  # s
Words = tuple[TranscriptionWord, ...]


def spoken(text: str, at: float = 0.0, each: float = WORD) -> Words:
    """The words of a text, one after the other without a pause."""
    return tuple(
        TranscriptionWord(word, at + i * each, at + (i + 1) * each)
        for i, word in enumerate(text.split())
    )


def heard(*hypotheses: str | Words) -> Agreement:
    state = Agreement()
    for hypothesis in hypotheses:
        words = spoken(hypothesis) if isinstance(hypothesis, str) else hypothesis
        state = agree(state, words)
    return state


def told(state: Agreement) -> tuple[str, str]:
    return text_of(state.committed), text_of(state.tail)


def times(words: Words) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start, 6), round(word.end, 6)) for word in words]


# -- agreeing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hypotheses", "committed", "tail"),
    [
        pytest.param([], "", "", id="nothing heard is nothing said"),
        pytest.param(["the cat"], "", "the cat", id="one decode commits nothing"),
        pytest.param(["the cat", "the cat sat"], "the cat", "sat", id="two that agree commit"),
        pytest.param(["the cat", "a cat sat"], "", "a cat sat", id="from the first word on only"),
        pytest.param(
            ["the cat sat", "the hat sat"], "the", "hat sat",
            id="what comes after a difference is not agreed on",
        ),
        pytest.param(
            ["the cat", "the hat", "the cat"], "the", "cat",
            id="only successive decodes count",
        ),
        pytest.param(
            ["so, the cat", "So the CAT. Sat"], "So the CAT.", "Sat",
            id="case and punctuation do not matter, and the later ones are kept",
        ),
        pytest.param(["- & so", "- - so"], "-", "- so", id="but a sign alone is a word"),
        pytest.param(["का कि", "का की"], "का", "की", id="a vowel sign is no punctuation"),
        pytest.param(["the cat", ""], "", "", id="what is not heard again was not said"),
        pytest.param(
            ["the cat", "the cat", "", "the cat sat", "the cat sat on"], "the cat sat", "on",
            id="unless it was committed",
        ),
        pytest.param(
            ["the cat", "the cat", "a hat sat", "a hat sat on"], "the cat sat", "on",
            id="a committed word stays, whatever it becomes",
        ),
        pytest.param(
            ["ice cream", "ice cream", "I scream now", "I scream now too"], "ice cream now", "too",
            id="however many of them",
        ),
    ],
)  # fmt: skip
def test_words_are_committed(hypotheses: list[str], committed: str, tail: str) -> None:
    assert told(heard(*hypotheses)) == (committed, tail)


def test_the_later_times_are_committed() -> None:
    state = heard(spoken("the cat", at=0.0), spoken("the cat sat", at=0.1))
    assert state.committed == spoken("the cat sat", at=0.1)[:2]


def test_the_last_decode_decides_in_the_end() -> None:
    state = finish(heard("the cat", "the cat sat", "the cat sits down"))
    assert told(state) == ("the cat sits down", "")


# -- finding where the committed words end -----------------------------------------------


def after(committed: str, tail: str, start: float = 0.0) -> Agreement:
    """Words of `WORD` seconds each since 0, of which those before ``start`` are not decoded."""
    words = spoken(f"{committed} {tail}")
    n_committed = len(committed.split())
    return Agreement(words[:n_committed], words[n_committed:], start)


@pytest.mark.parametrize(
    ("state", "hypothesis", "new"),
    [
        pytest.param(
            after("the cat", "sat"), spoken("cat sat on"), "sat on",
            id="a committed word is not heard again",
        ),
        pytest.param(
            after("the cat", "sat"), spoken("the big cat sat on"), "sat on",
            id="a word more is heard before the end",
        ),
        pytest.param(
            after("going to", "leave"), spoken("gonna", 0.0, 1.0) + spoken("leave now", 1.0),
            "leave now", id="two committed words are heard as one",
        ),
        pytest.param(
            after("a b c d e f", "g h"), spoken("a b c d e f g h i", each=0.3), "g h i",
            id="times wander back",
        ),
        pytest.param(
            after("a b c d e f", "g h"), spoken("a b c d e f g h i", each=0.9), "g h i",
            id="times wander on",
        ),
        pytest.param(
            after("no", "no"), spoken("no no no"), "no no", id="a word is said again",
        ),
        pytest.param(
            after("ask not", ""), spoken("not what", 0.6), "what",
            id="the last committed word is heard again, a little late",
        ),
        pytest.param(
            after("the lazy dog", "jumps", 1.5), spoken("dog jumps over", 1.5, 0.1),
            "jumps over", id="the rest of a word that was cut is heard as that word",
        ),
        pytest.param(
            after("the lazy dog", "jumps", 1.3), spoken("og", 1.3, 0.2) + spoken("jumps", 1.6),
            "jumps", id="or as something else",
        ),
        pytest.param(
            after("very very", "very good", 1.0), spoken("very good thing", 1.0),
            "very good thing", id="a word after the cut is that before it, said again",
        ),
        pytest.param(
            after("not at all", "", 1.5), spoken("all right", 1.5), "all right",
            id="even if it was not heard before",
        ),
        pytest.param(
            after("a b c d e f g h", "i", 4.0), spoken("g h i j", 4.0), "i j",
            id="words that guessed times put before the cut are heard again",
        ),
        pytest.param(
            after("no", "n", 2.0), spoken("no n", 2.0), "no n",
            id="a word long after the cut is another, whatever follows",
        ),
        pytest.param(
            after("the cat sat", "", 0.5), spoken("cat sat", 0.5), "", id="nothing is new",
        ),
        pytest.param(after("the cat", "sat"), (), "", id="nothing is heard"),
        pytest.param(after("the", "cat"), spoken("cat"), "cat", id="a committed word is missing"),
        pytest.param(
            after("so", "so good it is"), spoken("is"), "is", id="and much of the tail as well",
        ),
        pytest.param(
            after("so", "very very good"), spoken("very good"), "very good",
            id="or one of two that are alike",
        ),
    ],
)  # fmt: skip
def test_what_was_committed_is_not_said_twice(
    state: Agreement, hypothesis: Words, new: str
) -> None:
    later = finish(agree(state, hypothesis))
    assert later.committed[: len(state.committed)] == state.committed
    assert text_of(later.committed[len(state.committed) :]) == new


def test_times_never_go_back() -> None:
    state = agree(after("the cat", "sat"), spoken("the cat sat on", each=0.4))
    assert text_of(state.committed) == "the cat sat"
    assert times(state.committed[2:] + state.tail) == [("sat", 1.0, 1.2), ("on", 1.2, 1.6)]


# -- trimming ----------------------------------------------------------------------------

POLICY = TrimPolicy(keep=3.0, limit=6.0)


@pytest.mark.parametrize(
    ("state", "end", "start"),
    [
        pytest.param(after("a. b. c. d.", ""), 3.0, 0.0, id="short sound is kept"),
        pytest.param(after("a. b. c. d.", ""), 3.1, 1.4, id="all but the last sentence is not"),
        pytest.param(after("a b c. d e. f", ""), 3.1, 1.4, id="nor what follows that"),
        pytest.param(after("a b c d e. f", ""), 3.1, 0.0, id="one sentence is the last"),
        pytest.param(after("a.", "b. c. d."), 3.1, 0.0, id="uncommitted sentences do not count"),
        pytest.param(after("a. b. c. d", "", 0.95), 4.0, 0.95, id="nor those trimmed already"),
        pytest.param(after("a. b. c. d. e. f.", "", 2.0), 4.0, 2.0, id="nor does their sound"),
        pytest.param(
            after("a b c d e f g h i j k", "", 2.0), 5.5, 2.0, id="nor does it towards the limit"
        ),
        pytest.param(
            Agreement(spoken("a. b.") + spoken("c.", 1.25)), 3.1, 1.1,
            id="a sentence is cut in the pause after it",
        ),
        pytest.param(
            after('a! "b?" c… d。', ""), 3.1, 1.4, id="sentences end in many ways",
        ),
        pytest.param(
            after("a b c d e f g h i j", ""), 6.0, 0.0, id="up to the limit a sentence is whole"
        ),
        pytest.param(
            after("a b c d e f g h i j", ""), 6.2, 3.4, id="past it, it is cut after a word"
        ),
        pytest.param(after("a b c d e f g h i j", ""), 7.0, 3.9, id="that ends there"),
        pytest.param(after("a b c d e f g", ""), 6.2, 3.6, id="in the pause, if there is one"),
        pytest.param(after("a b", ""), 6.2, 3.2, id="or in silence"),
        pytest.param(Agreement(), 60.0, 57.0, id="of any length"),
        pytest.param(
            replace(after("a b", ""), tail=spoken("k l", 5.0)), 6.2, 3.2,
            id="between words as well",
        ),
    ],
)  # fmt: skip
def test_sound_is_trimmed(state: Agreement, end: float, start: float) -> None:
    later = trimmed(state, end, POLICY)
    assert later.start == pytest.approx(start)
    assert replace(later, start=state.start) == state


def test_past_the_limit_nothing_waits_for_agreement() -> None:
    state = trimmed(after("a b", "c d e f g h i j k"), 6.2, POLICY)
    assert told(state) == ("a b c d e f g", "h i j k")
    assert state.start == 3.4
    state = trimmed(after("a b", "c d e f g h i j k"), 7.0, POLICY)
    assert told(state) == ("a b c d e f g h", "i j k"), "the next word begins just there"


@pytest.mark.parametrize(
    ("keep", "limit"), [(-1.0, 5.0), (5.0, 4.0), (0.0, 0.9), (float("nan"), 5.0)]
)
def test_a_policy_that_makes_no_sense_is_refused(keep: float, limit: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        TrimPolicy(keep, limit)


@pytest.mark.parametrize(("keep", "limit"), [(0.0, 1.0), (1.0, 1.0)])
def test_little_may_be_kept(keep: float, limit: float) -> None:
    assert TrimPolicy(keep, limit).limit == limit


def test_by_default_a_turn_is_kept_whole() -> None:
    assert TrimPolicy() == TrimPolicy(keep=10.0, limit=20.0)


# -- words -------------------------------------------------------------------------------


def result(
    text: str,
    segments: list[TranscriptionSegment] | None = None,
    words: list[TranscriptionWord] | None = None,
    confidence: float | None = None,
) -> TranscriptionResult:
    return TranscriptionResult(text, "en", segments or [], confidence, words=words or [])


def test_words_are_the_engines_own() -> None:
    words = [TranscriptionWord(" hello", 1.0, 1.4, 0.9), TranscriptionWord("there", 1.5, 2.0, 0.8)]
    segments = [TranscriptionSegment("hello there", 0.0, 3.0)]
    assert timed_words(result("hello there", segments, words), 0.0, 3.0) == (
        TranscriptionWord("hello", 1.0, 1.4, 0.9),
        TranscriptionWord("there", 1.5, 2.0, 0.8),
    )


def test_they_are_spelled_as_in_the_text() -> None:
    assert times(
        timed_words(result("Hello, there!", words=[*spoken("hello there")]), 0.0, 3.0)
    ) == [
        ("Hello,", 0.0, 0.5),
        ("there!", 0.5, 1.0),
    ]


@pytest.mark.parametrize("text", ["Hello there, you", "Hello", "Goodbye then", ""])
def test_unless_the_text_is_another(text: str) -> None:
    assert timed_words(result(text, words=[*spoken("hello there")]), 0.0, 3.0) == spoken(
        "hello there"
    )


def test_without_them_those_of_a_segment_are_spread_by_length() -> None:
    segments = [
        TranscriptionSegment("I know.", 1.0, 2.2, 0.7),
        TranscriptionSegment("No!", 3.0, 3.5),
    ]
    assert timed_words(result("I know. No!", segments), 0.0, 4.0) == (
        TranscriptionWord("I", 1.0, 1.2, 0.7),
        TranscriptionWord("know.", 1.2, 2.2, 0.7),
        TranscriptionWord("No!", 3.0, 3.5),
    )


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([], []),
        ([], [TranscriptionWord(" ", 0.0, 1.0)]),
        ([TranscriptionSegment("I", 0.0, 1.0)], []),
        ([TranscriptionSegment("", 0.0, 1.0)], []),
    ],
    ids=["none", "blank words", "segments of less", "segments without text"],
)
def test_without_either_they_are_spread_over_the_sound(
    segments: list[TranscriptionSegment], words: list[TranscriptionWord]
) -> None:
    assert timed_words(result("I know.", segments, words, 0.7), 2.0, 3.2) == (
        TranscriptionWord("I", 2.0, 2.2, 0.7),
        TranscriptionWord("know.", 2.2, 3.2, 0.7),
    )


def test_a_word_of_one_letter_takes_all_the_sound() -> None:
    assert times(timed_words(result("I"), 0.0, 1.0)) == [("I", 0.0, 1.0)]


def test_silence_has_no_words() -> None:
    assert timed_words(result(" "), 0.0, 1.0) == ()


def test_times_lie_in_the_sound_and_in_order() -> None:
    """Whisper ends a segment of a short clip at 30 seconds."""
    words = [
        TranscriptionWord("a", -0.1, 0.5),
        TranscriptionWord("b", 0.4, 0.3),
        TranscriptionWord("c", 1.0, 30.0),
        TranscriptionWord("d", 30.0, 30.0),
    ]
    assert times(timed_words(result("a b c d", words=words), 0.0, 2.0)) == [
        ("a", 0.0, 0.5), ("b", 0.5, 0.5), ("c", 1.0, 2.0), ("d", 2.0, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "n_words"),
    [
        ("one two", 2),
        ("你好。再见!", 4),
        ("東京タワー", 5),
        ("กำลังมา", 6),
        ("看 YouTube 吗？", 3),  # noqa: RUF001
    ],
)
def test_a_letter_is_a_word_where_none_are_spaced(text: str, n_words: int) -> None:
    words = timed_words(result(text), 0.0, 1.0)
    assert len(words) == n_words
    assert text_of(words) == text


def test_sentences_become_segments() -> None:
    words = [replace(word, confidence=0.5) for word in spoken("So. Who are you? I")]
    assert sentences(words) == [
        TranscriptionSegment("So.", 0.0, 0.5, 0.5),
        TranscriptionSegment("Who are you?", 0.5, 2.0, 0.5),
        TranscriptionSegment("I", 2.0, 2.5, 0.5),
    ]
    assert sentences(words[:4]) == sentences(words)[:2]
    assert sentences([]) == []


def test_confidence_is_weighed_by_length() -> None:
    long, short = TranscriptionWord("a", 0.0, 3.0, 1.0), TranscriptionWord("b", 3.0, 4.0, 0.6)
    assert confidence_of([long, short]) == pytest.approx(0.9)
    assert confidence_of([TranscriptionWord("a", 0.0, 0.0, 0.6)]) == pytest.approx(0.6)
    assert confidence_of([long, TranscriptionWord("b", 3.0, 4.0)]) is None
    assert confidence_of([]) is None


# -- whatever is said --------------------------------------------------------------------

VOCABULARY = ["no", "No,", "yes.", "very", "good", "Good!"]
seconds = st.integers(0, 3000).map(lambda n: n / 100)
hypotheses = st.lists(
    st.builds(lambda text, start, length: TranscriptionWord(text, start, start + length),
              st.sampled_from(VOCABULARY), seconds, seconds),
    max_size=12,
)  # fmt: skip


@given(st.lists(st.tuples(hypotheses, seconds), max_size=8))
def test_what_is_committed_is_the_beginning_of_all_that_is_committed_later(
    decodes: list[tuple[list[TranscriptionWord], float]],
) -> None:
    state, end = Agreement(), 0.0
    states = [state]
    for hypothesis, more in decodes:
        end += more
        state = agree(state, timed_words(result("", words=hypothesis), state.start, end))
        states.append(state)
        state = trimmed(state, end, POLICY)
        states.append(state)
        assert end - state.start <= POLICY.limit
    states.append(finish(state))
    for before, now in pairwise(states):
        assert now.committed[: len(before.committed)] == before.committed
        assert text_of(now.committed).startswith(text_of(before.committed))
        assert now.start >= before.start
    edges = [edge for word in states[-1].committed for edge in (word.start, word.end)]
    assert edges == sorted(edges)


# A speech: (pause before it, length, text) of each word, in hundredths of a second.
speeches = st.lists(
    st.tuples(st.integers(0, 150), st.integers(20, 60), st.sampled_from(VOCABULARY)), max_size=40
).map(lambda parts: laid_out(parts))
decode_times = st.lists(st.integers(50, 300).map(lambda n: n / 100), min_size=60, max_size=60)


def laid_out(parts: list[tuple[int, int, str]]) -> Words:
    at, words = 0, []
    for pause, length, text in parts:
        words.append(TranscriptionWord(text, (at + pause) / 100, (at + pause + length) / 100))
        at += pause + length
    return tuple(words)


@given(speeches, decode_times, st.randoms(use_true_random=False))
def test_right_decodes_make_the_right_transcript(
    speech: Words, steps: list[float], chance: random.Random
) -> None:
    """However the sound is trimmed, and whatever is said twice.

    Of a word cut in two, either piece is heard as the word, or as another one each time.
    """
    length = speech[-1].end if speech else 1.0
    state, end, decoded = Agreement(), 0.0, 0.0
    for step in steps:
        end = min(end + step, length)
        words = []
        for word in speech:
            start, stop = max(word.start, state.start), min(word.end, end)
            if (start, stop) == (word.start, word.end):
                words.append(word)
            elif start < stop:
                piece = chance.choice([word.text, f"{word.text[0]}{end}"])
                words.append(TranscriptionWord(piece, start, stop))
        state = agree(state, words)
        decoded = max(decoded, end - state.start)
        if end < length:
            state = trimmed(state, end, POLICY)
    assert end == length
    assert decoded <= POLICY.limit + max(steps)
    assert text_of(finish(state).committed) == text_of(speech)


@given(speeches, decode_times, st.randoms(use_true_random=False))
def test_times_may_jitter(speech: Words, steps: list[float], chance: random.Random) -> None:
    """A word is heard where more than half of it is; its times are up to 50 ms off."""
    length = speech[-1].end if speech else 1.0
    state, end = Agreement(), 0.0
    for step in steps:
        end = min(end + step, length)
        state = agree(
            state,
            [
                replace(
                    word,
                    start=word.start + chance.uniform(-0.05, 0.05),
                    end=word.end + chance.uniform(-0.05, 0.05),
                )
                for word in speech
                if state.start < (word.start + word.end) / 2 < end
            ],
        )
        if end < length:
            state = trimmed(state, end, POLICY)
    assert text_of(finish(state).committed) == text_of(speech)


@given(st.lists(st.sampled_from(VOCABULARY), max_size=30), decode_times)
def test_without_times_right_decodes_of_the_whole_are_enough(
    speech: list[str], steps: list[float]
) -> None:
    state, end = Agreement(), 0.0
    for step in steps:
        end += step
        so_far = " ".join(speech[: int(end / WORD)])
        state = agree(state, timed_words(result(so_far), 0.0, end))
    assert text_of(finish(state).committed) == " ".join(speech)
