"""How long a pause may last before the user's turn is over.

People pause within a sentence about as long as between turns, so silence alone cannot
tell. What was said can: nobody stops at "and", and a finished sentence with a full stop
seldom goes on. `EndOfTurnDetector` is the seam where a model may judge instead.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..audio import AudioData
from ._overlap import words_of

__all__ = ["AdaptiveEndOfTurn", "EndOfTurnDetector"]


@runtime_checkable
class EndOfTurnDetector(Protocol):
    """Says how long a pause must last to be the end of the turn."""

    async def silence(self, text: str, audio: AudioData) -> float:
        """Seconds of silence after which the turn is over, counted from the last sound.

        Called in each pause, and again when more of the transcript is known; an answer that
        comes after the pause is over, or after it has ended the turn, changes nothing.

        Args:
            text: What has been transcribed of the turn so far.
            audio: The turn's sound so far, 16-bit mono at 16 kHz.

        Raises:
            Exception: Whatever it raises is logged, and the policy's own silence counts.
        """
        ...


# Words after which something must follow: no "on" or "from", with which "turn the lights on" and
# "where are you from" end; and the sounds of somebody who thinks.
_HANGING = frozenset(
    "a an and as because but if into its my of or our than the their to uh um which while "  # noqa: SIM905
    "with your".split()
)
_FINISHED = tuple(".!?。！？؟।")  # noqa: RUF001 - full-width marks are meant
_GOES_ON = tuple(",;:，、；：…-–—")  # noqa: RUF001


class AdaptiveEndOfTurn:
    """Waits less after a finished sentence and more after one that hangs.

    The transcript tells: its punctuation, where the recogniser writes any, and its last
    word, of English. Of anything else the policy's own silence is right.

    Args:
        normal: Seconds where nothing is known, the policy's ``end_of_turn``.
        finished: Share of it after a full stop, a question or an exclamation mark.
        hanging: Multiple of it after "and", "the", "um" or a comma.

    Raises:
        ValueError: A number is negative.
    """

    def __init__(self, normal: float = 0.6, *, finished: float = 0.6, hanging: float = 2.0) -> None:
        if not (normal >= 0 and finished >= 0 and hanging >= 0):
            raise ValueError("silences and their shares must not be negative")
        self._normal, self._finished, self._hanging = normal, finished, hanging

    async def silence(self, text: str, audio: AudioData) -> float:
        return self.judge(text)

    def judge(self, text: str) -> float:
        """The same, of the text alone."""
        text = text.rstrip(" \"'”’)]")  # noqa: RUF001
        words = words_of(text)
        if text.endswith(_GOES_ON) or (words and words[-1] in _HANGING):
            return self._normal * self._hanging
        if text.endswith(_FINISHED):
            return self._normal * self._finished
        return self._normal
