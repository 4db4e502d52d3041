"""PURE: what is said over the bot's answer, judged by its words.

Three things take no floor. A *backchannel* ("mm-hm") says that one listens: V. Yngve, "On
getting a word in edgewise", 1970. An *echo* is the bot's own voice, come back through the
microphone: what is heard is then what was being said. And where there are no words, there
was a cough or a door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal

__all__ = ["BACKCHANNELS", "Heard", "agreed", "judge", "words_of"]

# Words that take no floor while the bot speaks, in English; what looks like one word of two
# is there in parts. "No", "stop" and "wait" are not among them: those are meant.
BACKCHANNELS = frozenset(
    "ah aha alright cool gotcha great hm hmm huh i mhm mm mmhm mmhmm mmm nice oh ok okay "  # noqa: SIM905
    "really right see sure uh uhhuh uhuh um wow yeah yep yes yup".split()
)

Kind = Literal["words", "silent", "backchannel", "echo"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a transcript amounts to."""

    kind: Kind
    n_words: int  # that count


def words_of(text: str) -> list[str]:
    """The words, in one spelling: no case, no punctuation."""
    words = ("".join(filter(str.isalnum, word)) for word in text.casefold().split())
    return [word for word in words if word]


def agreed(before: str, now: str) -> str:
    """What two successive partial transcripts agree on, as words: the rest is a guess as yet.

    A recogniser that knows a few sentences hears the beginning of one in any sound.
    """
    same = takewhile(lambda pair: pair[0] == pair[1], zip(words_of(before), words_of(now)))  # noqa: B905
    return " ".join(word for word, _ in same)


def judge(
    text: str, said: str, backchannels: frozenset[str] | None, self_echo: float | None
) -> Heard:
    """What ``text`` amounts to, heard while the bot said ``said``.

    Args:
        text: The transcript, perhaps not yet complete.
        said: What the bot was saying just before and meanwhile; "" if nothing.
        backchannels: As `words_of` spells them; None for `BACKCHANNELS`.
        self_echo: Share of the words, in order, that must be the bot's to make an echo, in
            (0, 1]; None for no echoes.
    """
    words = words_of(text)
    if not words:
        return Heard("silent", 0)
    if self_echo is not None and _share(words, words_of(said)) >= self_echo:
        return Heard("echo", 0)
    known = BACKCHANNELS if backchannels is None else backchannels
    counting = [word for word in words if word not in known]
    return Heard("words", len(words)) if counting else Heard("backchannel", 0)


def _share(words: Sequence[str], said: Sequence[str]) -> float:
    blocks = SequenceMatcher(None, words, said, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(words)
