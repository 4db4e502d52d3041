"""Redaction: names become pseudonyms, errors quote nobody, personal data are masked."""

from __future__ import annotations

import re
import traceback
from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import (
    ConversationContext,
    EngineError,
    Exchange,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
)
from realtime_stts.errors import (
    CircuitOpenError,
    EngineCrashedError,
    OverloadedError,
    UnknownVoiceError,
)
from realtime_stts.middleware import (
    CallNext,
    Chain,
    InstrumentationMiddleware,
    RedactionMiddleware,
    RequestContext,
)
from realtime_stts.middleware._personal_data import Masker, mask, mask_pieces
from realtime_stts.middleware.redaction import _NOT_SHOWN, CARD, EMAIL, IBAN, PHONE, PersonalData
from realtime_stts.testing import (
    Failure,
    MiddlewareSuite,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)

from .tools import Given

pytestmark = pytest.mark.anyio

KEY = b"a key of 16 bytes or more"
ALL = {"card": CARD, "iban": IBAN, "phone": PHONE, "email": EMAIL}
SAID = "my mother's maiden name is Kowalska"
QUESTION = TranscriptionResult(SAID, "en", [])


class TestPromises(MiddlewareSuite):
    def middleware(self) -> RedactionMiddleware:
        return RedactionMiddleware()


class TestPromisesWithPatterns(MiddlewareSuite):
    changes_results = True
    translates = (EngineError, RuntimeError, ValueError)  # copies of them

    def middleware(self) -> RedactionMiddleware:
        return RedactionMiddleware(patterns={"email": EMAIL, "phone": PHONE})


# -- pseudonyms --------------------------------------------------------------------------


async def test_observers_know_people_and_voices_by_a_pseudonym() -> None:
    async def authenticated(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        context.subject = "ada@example.org"
        async for result in call_next(context):
            yield result

    told: list[Any] = []
    redaction = RedactionMiddleware(pseudonym_key=KEY)
    outside, inside = InstrumentationMiddleware(told.append), InstrumentationMiddleware(told.append)
    tts = Chain(outside, redaction, authenticated, inside).wrap(ScriptedTTSEngine(voices=["ada"]))
    await tts.synthesize("hello", {"voice_id": "ada"})
    assert [each.subject for each in told] == [redaction.pseudonym("ada@example.org")] * 2
    assert [each.voice for each in told] == [redaction.pseudonym("ada")] * 2


def test_a_pseudonym_is_the_keys_and_tells_nothing() -> None:
    redaction = RedactionMiddleware(pseudonym_key=KEY)
    assert re.fullmatch(r"p-[0-9a-f]{12}", redaction.pseudonym("ada"))
    assert redaction.pseudonym("ada") == RedactionMiddleware(pseudonym_key=KEY).pseudonym("ada")
    assert redaction.pseudonym("ada") != redaction.pseudonym("Ada")
    assert redaction.pseudonym("ada") != RedactionMiddleware().pseudonym("ada")
    assert RedactionMiddleware().pseudonym("ada") == RedactionMiddleware().pseudonym("ada")
    assert redaction.pseudonym("\ud800")


def test_a_short_key_can_be_guessed() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes, not 5"):
        RedactionMiddleware(pseudonym_key=b"short")


# -- errors ------------------------------------------------------------------------------


async def failed_to_say(error: Exception, text: str = SAID, **options: Any) -> Exception:
    """What a caller gets of an engine that fails with ``error`` where it says ``text``."""
    engine = ScriptedTTSEngine(voices=["bo", "ada"], failures=[error])
    tts = Chain(RedactionMiddleware(**options)).wrap(engine)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is the question
        await tts.synthesize(text, {"voice_id": "ada"})
    return raised.value


def quoting(message: str) -> EngineError:
    return EngineError("mouth", message)


@pytest.mark.parametrize(
    "message",
    [
        f"cannot say {SAID!r}",
        "cannot say: MY MOTHER'S\n maiden-name",
        "bad input: mother's maiden…",
        "the voice ada is ill",
        "x" * 2001,
    ],
)
async def test_a_message_that_quotes_is_not_shown(message: str) -> None:
    error = await failed_to_say(quoting(message))
    assert type(error) is EngineError
    assert (error.engine, error.message) == ("mouth", _NOT_SHOWN)
    assert error.args == ("mouth", _NOT_SHOWN)
    assert error.request_id is not None


@pytest.mark.parametrize(
    "error",
    [
        quoting("the model failed at name 7"),
        OverloadedError("too many calls", retry_after=2.0),
        CircuitOpenError("mouth", 3.0),
        ValueError("speed_factor is a positive number, not -1"),
    ],
)
async def test_one_that_does_not_passes_as_it_is(error: Exception) -> None:
    assert await failed_to_say(error) is error


@pytest.mark.parametrize(
    ("text", "message", "shown"),
    [
        ("no", "there is no room", False),
        ("no", "nothing to say", True),  # a part of another word is no quotation
        ("4711", "pin=4711", False),
        ("münze", "cannot encode 'm\\xfcnze'", False),
        ("a\nb c d e f g", "cannot say 'a\\nb c d e f g'", False),
        ("!?", "really!?", True),  # says nothing
    ],
)
async def test_short_and_escaped_texts(text: str, message: str, shown: bool) -> None:
    error = quoting(message)
    assert (await failed_to_say(error, text) is error) == shown


async def test_the_copy_keeps_type_numbers_and_where_it_was_raised_and_the_original_stays() -> None:
    original = EngineCrashedError("mouth", f"died of {SAID}", exit_code=-9)
    error = await failed_to_say(original)
    assert isinstance(error, EngineCrashedError)
    assert error.exit_code == -9
    assert original.message == f"died of {SAID}"
    assert "_speak" in "".join(traceback.format_exception(error))


async def test_no_cause_of_it_quotes_either() -> None:
    def chained(inner: Exception, *, explicit: bool) -> Exception:
        error = quoting("it failed")
        error.__context__ = inner
        error.__cause__ = inner if explicit else None
        return error

    for explicit in (True, False):
        error = await failed_to_say(chained(ValueError(SAID), explicit=explicit))
        assert SAID not in "".join(traceback.format_exception(error))
        assert error.__context__ is error.__cause__ is None
    harmless = chained(ValueError("x < 0"), explicit=True)
    assert await failed_to_say(harmless) is harmless


async def test_attributes_do_not_quote() -> None:
    error = await failed_to_say(UnknownVoiceError("ada", ["bo", "cy"]))
    assert isinstance(error, UnknownVoiceError)
    assert (error.voice_id, error.known) == (_NOT_SHOWN, ())
    noted = quoting("it failed")
    vars(noted)["__notes__"] = [f"while saying {SAID}"]
    assert SAID not in str(vars(await failed_to_say(noted)))
    detailed = quoting("it failed")
    vars(detailed)["details"] = {"text": SAID}
    assert SAID not in str(vars(await failed_to_say(detailed)))


class Stubborn(Exception):
    """Can be made of a text only."""

    def __new__(cls, text: str) -> Stubborn:
        return super().__new__(cls, text)


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("error", [Stubborn(SAID), Mute()])
async def test_what_cannot_be_copied_or_looked_at_is_told_by_its_type(error: Exception) -> None:
    shown = await failed_to_say(error)
    assert type(shown) is EngineError
    assert shown.message == f"{type(error).__name__} {_NOT_SHOWN}"


async def test_a_message_with_personal_data_is_not_shown() -> None:
    found = await failed_to_say(quoting("no mailbox bo@example.org"), patterns=ALL)
    assert isinstance(found, EngineError)
    assert found.message == _NOT_SHOWN
    error = quoting("no mailbox bo@example.org")
    assert await failed_to_say(error) is error


async def test_a_message_may_not_quote_what_was_heard() -> None:
    heard = Failure(quoting("stopped at 'my mother's maid'"), after=3, text=SAID)
    stt = Chain(RedactionMiddleware()).wrap(ScriptedSTTEngine([heard]))

    with pytest.raises(EngineError, match="not shown"):
        async for _ in stt.stream(Given(speech(1.0))):
            pass


async def test_nor_the_question_nor_what_was_said_before_nor_the_answer() -> None:
    context = ConversationContext(history=(Exchange(1, "where is my dog", "in the garden", ""),))
    for quoted in ("mother's maiden name", "where is my dog", "in the garden", "you told me so"):
        failure = Failure(quoting(quoted), after=5, text="I know, you told me so before.")
        responder = Chain(RedactionMiddleware()).wrap(ScriptedResponseGenerator([failure]))
        with pytest.raises(EngineError, match="not shown"):
            [piece async for piece in responder.stream_response(QUESTION, context)]


# -- personal data in results ------------------------------------------------------------

TEXTS = {
    "call 0170 123 45 67 now": "call [phone] now",
    "call +49 (0)170/1234567.": "call [phone].",
    "in 2026 it cost 1200.50": "in 2026 it cost 1200.50",
    "pay 4111 1111 1111 1111 today": "pay [card] today",
    "pay 4111111111111111": "pay [card]",
    "not 41111111111111112222 a card": "not 41111111111111112222 a card",
    "to DE89 3704 0044 0532 0130 00 please": "to [iban] please",
    "to GB82WEST12345698765432, ok": "to [iban], ok",
    "to DE88 3704 0044 please": "to DE88 [phone] please",  # no IBAN: its check digits are wrong
    "write to ada.l@example.co.uk.": "write to [email].",
    "a@b and c@d": "[email] and [email]",
    "@home at 5": "@home at 5",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_personal_data(text: str) -> None:
    assert mask(text, ALL) == TEXTS[text]


pieces_of_text = st.lists(
    st.sampled_from(
        [
            *("0123456789 -+(.@aé\n"),
            *("DE", "4111 1111 1111 1111", "DE89370400440532013000", "ada@example.org"),
        ]
    ),
    max_size=40,
).map("".join)


def cut(text: str, places: Iterable[int]) -> list[str]:
    at = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(at)]


@given(pieces_of_text, st.lists(st.integers(0, 1000), max_size=12))
def test_any_slicing_gives_the_same_text(text: str, places: list[int]) -> None:
    plain = {**ALL, "word": PersonalData(re.compile("a[0-9]{1,3}"), max_length=4)}
    for kinds in (ALL, plain, {"email": EMAIL}, {}):
        masker = Masker(kinds)
        masked = "".join([masker.push(piece) for piece in cut(text, places)]) + masker.flush()
        assert masked == mask(text, kinds)


@given(pieces_of_text, st.lists(st.integers(0, 1000), max_size=12))
def test_pieces_together_show_no_more_than_the_whole(text: str, places: list[int]) -> None:
    words = text.split()
    masked = mask_pieces(words, ALL)
    assert len(masked) == len(words)
    for kind in ALL.values():
        assert kind.find(" ".join(words), 0) is None or "[" in "".join(masked)


def test_a_number_that_is_spread_over_words_is_found() -> None:
    assert mask_pieces(["call", "0170", "123", "4567", "now"], ALL) == [
        *("call", "[phone]", "", "", "now"),
    ]
    assert mask_pieces(["call", " 0170", " 1234567"], ALL) == ["call", " [phone]", ""]
    assert mask_pieces([], ALL) == []


async def test_an_answer_is_held_back_only_where_something_may_have_begun() -> None:
    script = ["Well, call 0170 12 34 567 or ask bo@example.org about it."]
    responder = Chain(RedactionMiddleware(patterns={"phone": PHONE})).wrap(
        ScriptedResponseGenerator(script * 2)
    )
    pieces = [piece async for piece in responder.stream_response(QUESTION, ConversationContext())]
    assert pieces[:2] == ["Well,", " call"]
    assert "".join(pieces) == "Well, call [phone] or ask bo@example.org about it."
    whole = await responder.generate_response(QUESTION, ConversationContext())
    assert whole == "".join(pieces)


async def test_the_end_of_an_answer_comes_too() -> None:
    responder = Chain(RedactionMiddleware(patterns=ALL)).wrap(
        ScriptedResponseGenerator(["Call 01701234567", "Yes"])
    )
    for answer in ("Call [phone]", "Yes"):
        context = ConversationContext()
        pieces = [piece async for piece in responder.stream_response(QUESTION, context)]
        assert "".join(pieces) == answer


async def test_a_transcription_is_masked_in_all_its_parts() -> None:
    words = ["it", "is", "0170", "1234567", "yes"]
    result = TranscriptionResult(
        " ".join(words),
        "en",
        [
            TranscriptionSegment("it is 0170", 0.0, 1.0),
            TranscriptionSegment("1234567 yes", 1.0, 2.0),
        ],
        words=[TranscriptionWord(word, n, n + 1) for n, word in enumerate(words)],
        committed="it is 0170 1234567",
    )
    stt = Chain(RedactionMiddleware(patterns=ALL)).wrap(ScriptedSTTEngine([result]))
    masked = await stt.transcribe(speech(1.0))
    assert masked.text == "it is [phone] yes"
    assert [each.text for each in masked.segments] == ["it is [phone]", " yes"]
    assert [each.text for each in masked.words] == ["it", "is", "[phone]", "", "yes"]
    assert masked.words[4].start == 4
    assert masked.committed == "it is "  # more digits could still come


async def test_a_partial_result_shows_no_half_of_a_number() -> None:
    async def growing(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        for text in ("call", "call 0170", "call 0170 12", "call 0170 1234567", "call it 7 or so"):
            word = TranscriptionWord(text, 0.0, 1.0)
            yield TranscriptionResult(text, "en", [], partial=True, words=[word])
        async for result in call_next(context):
            yield result

    stt = Chain(RedactionMiddleware(patterns={"phone": PHONE}), growing).wrap(
        ScriptedSTTEngine(["yes"], partials=False)
    )
    results = [result async for result in stt.stream(Given(speech(1.0)))]
    assert [(each.text, len(each.words)) for each in results] == [
        ("call", 1),
        ("call ", 0),
        ("call ", 0),
        ("call [phone]", 1),
        ("call it 7 or so", 1),
        ("yes", 1),
    ]


async def test_a_plain_regular_expression_will_do() -> None:
    redaction = RedactionMiddleware(patterns={"name": re.compile("Kowalska")})
    responder = Chain(redaction).wrap(ScriptedResponseGenerator(["Hello, Ms Kowalska!"]))
    pieces = [piece async for piece in responder.stream_response(QUESTION, ConversationContext())]
    assert "".join(pieces) == "Hello, Ms [name]!"


async def test_what_tts_speaks_stays_as_it_is() -> None:
    engine = ScriptedTTSEngine()
    tts = Chain(RedactionMiddleware(patterns=ALL)).wrap(engine)
    await tts.synthesize("call 0170 1234567", {})
    assert engine.calls[0].text == "call 0170 1234567"
