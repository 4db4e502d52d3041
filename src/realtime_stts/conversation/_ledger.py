"""PURE: when things happened in one turn, and where its time went.

Moments are seconds of the event loop's clock, or None for what did not happen.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._events import TurnMetrics

__all__ = ["Ledger"]


@dataclass(slots=True)
class Ledger:
    """The moments of one turn. The first moment of each kind counts."""

    end_of_turn_delay: float = 0.0
    decided_at: float | None = None  # that the user had finished
    understood_at: float | None = None  # the final transcript
    first_token_at: float | None = None  # the responder's first piece
    worded_at: float | None = None  # its first sentence
    sounded_at: float | None = None  # the first sound made
    handed_at: float | None = None  # the first sound taken by the host
    audio_duration: float = 0.0
    playout: float = 0.0
    interruptions: int = 0

    def metrics(self) -> TurnMetrics:
        """Where the time went; what came before the turn was over took none."""
        delays: list[float | None] = []
        before = self.decided_at
        for moment in (self.understood_at, self.worded_at, self.sounded_at, self.handed_at):
            if before is None or moment is None:
                delays.append(None)
                before = None
            else:
                delays.append(max(0.0, moment - before))
                before = max(before, moment)
        transcription, text, sound, handover = delays
        token = None
        if self.first_token_at is not None and self.understood_at is not None:
            since = max(self.understood_at, self.decided_at or self.understood_at)
            token = max(0.0, self.first_token_at - since)
        first_audio = None
        if handover is not None and self.decided_at is not None and before is not None:
            first_audio = self.end_of_turn_delay + (before - self.decided_at)
        return TurnMetrics(
            end_of_turn_delay=self.end_of_turn_delay,
            transcription_delay=transcription,
            time_to_first_text=text,
            tts_time_to_first_byte=sound,
            handover_delay=handover,
            time_to_first_audio=first_audio,
            time_to_first_token=token,
            audio_duration=self.audio_duration,
            playout=self.playout,
            interruptions=self.interruptions,
        )
