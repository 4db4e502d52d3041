"""Redaction: what was said, and by whom, goes no further than it must."""

from __future__ import annotations

import hmac
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from secrets import token_bytes
from typing import Any, Final

from ..errors import EngineError
from ..protocols import TranscriptionResult
from ._context import RequestContext
from ._middleware import CallNext
from ._personal_data import CARD, EMAIL, IBAN, PHONE, Masker, PersonalData, mask, mask_pieces

__all__ = ["CARD", "EMAIL", "IBAN", "PHONE", "PersonalData", "RedactionMiddleware"]

_NOT_SHOWN: Final = "(message not shown: it may quote what was said)"

_MIN_KEY: Final = 16  # bytes: 128 bits, which nobody guesses
_DIGITS: Final = 12  # hexadecimal; of a million names, two share one with a chance of 0.2 %
_STEP: Final = 8  # letters and digits; any 15 in a row of a message hold 8 from such a step
_LONGEST: Final = 2000  # characters of a message that is looked at; a longer one is not shown
_HEARD: Final = 20  # the last results of an STT stream, which a message might quote
_ANSWERED: Final = 500  # the same of an answer: pieces of a word or so
_GROWING: Final = re.compile(r"[0-9@]")  # what an undecided end of a partial result may show
_PROCESS_KEY: Final = token_bytes(32)


class RedactionMiddleware:
    """Keeps people's words and names out of what others see. First in a chain, it covers all.

    * What observers call a person or a voice becomes a pseudonym, the same for the same name
      and key: ``context.pseudonym`` makes it. Who a call is for stays in ``context.subject``.
    * An error that quotes the call's texts, its voice or who asks, or that comes of one that
      does, goes outward as a copy of the same type that says nothing: its message, its texts
      and its causes are gone, its numbers stay. (Of a type that cannot be copied so, as an
      `EngineError`.) Others pass as they are.
    * With ``patterns``, personal data in results of STT and responders are masked, by the
      name of their pattern: ``[email]``. The answer of a responder is held back where such
      a thing may have begun. All that is further out, and whoever called, has the masked
      text; the engine had the real one. Texts that TTS is given are spoken as they are.

    Args:
        pseudonym_key: A secret of at least 16 bytes. With the same one, pseudonyms are the
            same in other processes and after a restart; by default they are not.
        patterns: What is masked, by name: `CARD`, `IBAN`, `PHONE` and `EMAIL` are ready.
            Where two begin at one place, the one listed first counts. A plain regular
            expression may match at most 64 characters.
        name: What logs call it.

    Raises:
        ValueError: The key is too short.
    """

    def __init__(
        self,
        *,
        pseudonym_key: bytes | None = None,
        patterns: Mapping[str, PersonalData | re.Pattern[str]] | None = None,
        name: str = "redaction",
    ) -> None:
        key = _PROCESS_KEY if pseudonym_key is None else pseudonym_key
        if len(key) < _MIN_KEY:
            raise ValueError(f"a pseudonym's key has at least {_MIN_KEY} bytes, not {len(key)}")
        self.name = name
        self._key = key
        self._kinds = {
            label: kind if isinstance(kind, PersonalData) else PersonalData(kind)
            for label, kind in (patterns or {}).items()
        }

    def pseudonym(self, name: str) -> str:
        """What ``name`` is called where its owner must not be known."""
        made = hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), "sha256")
        return f"p-{made.hex()[:_DIGITS]}"

    async def __call__(
        self, context: RequestContext, call_next: CallNext, /
    ) -> AsyncGenerator[Any]:
        context.pseudonym = self.pseudonym
        answers = context.request_type == "response"
        said: deque[str] = deque(maxlen=_ANSWERED if answers else _HEARD)
        masker = Masker(self._kinds)
        try:
            async with aclosing(call_next(context)) as results:
                async for result in results:
                    if isinstance(result, TranscriptionResult):
                        said.append(result.text)
                        yield self._masked(result) if self._kinds else result
                    elif isinstance(result, str):
                        said.append(result)
                        if not self._kinds:
                            yield result
                        elif not context.streaming:
                            yield mask(result, self._kinds)
                        elif decided := masker.push(result):
                            yield decided
                    else:
                        yield result
            if rest := masker.flush():
                yield rest
        except Exception as exc:
            shown = self._shown(exc, context, ["".join(said)] if answers else said)
            if shown is exc:
                raise
        else:
            return
        # Outside of the block above, so that the one that quotes is not its context.
        raise shown

    def _masked(self, result: TranscriptionResult) -> TranscriptionResult:
        kinds, text, hidden = self._kinds, result.text, False
        if result.partial:  # a number that is only half said may become one of those
            masker = Masker(kinds)
            text, rest = masker.push(text), masker.flush()
            hidden = _GROWING.search(rest) is not None
            text += "" if hidden else rest
        else:
            text = mask(text, kinds)
        segments = [] if hidden else result.segments
        words = [] if hidden else result.words
        masked_segments = mask_pieces([each.text for each in segments], kinds)
        masked_words = mask_pieces([each.text for each in words], kinds)
        return replace(
            result,
            text=text,
            # No later result may change what is committed, so nothing undecided is.
            committed=Masker(kinds).push(result.committed),
            segments=[
                replace(each, text=shown)
                for each, shown in zip(segments, masked_segments, strict=True)
            ],
            words=[
                replace(each, text=shown) for each, shown in zip(words, masked_words, strict=True)
            ],
        )

    def _shown(self, exc: Exception, context: RequestContext, said: Iterable[str]) -> Exception:
        quotation = _Quotation([*_private(context), *said], self._kinds)
        if not any(quotation.in_error(each) for each in _chain(exc)):
            return exc
        return _without_texts(exc) or EngineError(
            context.engine, f"{type(exc).__name__} {_NOT_SHOWN}", request_id=context.request_id
        )


def _private(context: RequestContext) -> Iterable[str]:
    """What a call was given that a message may not quote."""
    given = context.input_data
    texts: list[object] = [given.get("text"), context.config.get("voice_id"), context.subject]
    if context.request_type == "response":
        texts.append(given["transcription"].text)
        texts += [text for each in given["context"].history for text in (each.user, each.reply)]
    return [text for text in texts if isinstance(text, str)]


def _chain(exc: BaseException) -> list[BaseException]:
    """An error with all that caused it, and what is in its groups."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [exc]
    while left:
        each = left.pop()
        if each is not None and not any(each is known for known in found):
            found.append(each)
            left += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return found


class _Quotation:
    """Tells whether something quotes one of several texts, or a good part of one."""

    def __init__(self, texts: Iterable[str], kinds: Mapping[str, PersonalData]) -> None:
        # As a message shows it: as it is, or with its odd characters escaped.
        forms = {form for text in texts for form in (text, repr(text), ascii(text))}
        self._texts = {letters for form in forms if (letters := _letters(form))}
        # A short one is often a part of other words.
        self._words = {
            words for form in forms if (words := _words(form)) and len(words) < 2 * _STEP
        }
        self._kinds = kinds

    def in_error(self, exc: BaseException) -> bool:
        try:
            return any(
                self.in_text(value if isinstance(value, str) else repr(value))
                for value in (str(exc), *exc.args, *vars(exc).values())
            )
        except Exception:  # noqa: BLE001 - what cannot be looked at is not shown
            return True

    def in_text(self, text: str) -> bool:
        if len(text) > _LONGEST or any(kind.find(text, 0) for kind in self._kinds.values()):
            return True
        words, letters = _words(text), _letters(text)
        parts = [letters[at : at + _STEP] for at in range(0, len(letters) - _STEP + 1, _STEP)]
        return any(quoted in words for quoted in self._words) or any(
            (len(quoted) >= _STEP and quoted in letters) or any(part in quoted for part in parts)
            for quoted in self._texts
        )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _words(text: str) -> str:
    """Its words, with a space before and after each; "" for none."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} " if words else ""


def _without_texts(exc: Exception) -> Exception | None:
    """A copy with its engine, its request and its numbers; None if there can be none."""

    def emptied(value: Any) -> Any:
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(exc, EngineError) and value in (exc.engine, exc.request_id):
            return value
        return type(value)() if isinstance(value, tuple | list | dict) else _NOT_SHOWN

    try:
        copy = type(exc).__new__(type(exc))
        copy.args = tuple(map(emptied, exc.args))
        vars(copy).update({key: emptied(value) for key, value in vars(exc).items()})
        str(copy)
    except Exception:  # noqa: BLE001 - any class of errors may come here
        return None
    return copy.with_traceback(exc.__traceback__)
