"""PURE: speech probabilities, frame by frame, become "speech started" and "speech stopped".

Two thresholds (hysteresis) and two durations keep the answer steady: speech starts once
the probability has stayed at or above ``start_above`` for ``min_speech``, and stops once
it has stayed below ``stop_below`` for ``min_silence`` (the hangover). Both events are
dated to where it truly happened, the first frame of speech and the first of silence, and
also say when they were decided. Thresholds and hangover are those Silero VAD ships
(https://github.com/snakers4/silero-vad, ``get_speech_timestamps``). That function drops
speech that proves too short once it is over; here a start waits until it is long enough,
because a live event cannot be taken back.

It stands below engines and conversations because both speak of its events.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "INITIAL",
    "EndpointPolicy",
    "EndpointState",
    "Paused",
    "Quiet",
    "Rising",
    "SpeechEvent",
    "SpeechStarted",
    "SpeechStopped",
    "Talking",
    "step",
]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at ``at``, which was certain at ``decided``; both on the audio clock."""

    at: float
    decided: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Speech ended at ``at``, which was certain at ``decided``; both on the audio clock."""

    at: float
    decided: float


SpeechEvent = SpeechStarted | SpeechStopped


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """When speech counts as started and as stopped."""

    start_above: float = 0.5  # probability; Silero's own default
    stop_below: float = 0.35  # probability; Silero's default is 0.15 under the other
    min_speech: float = 0.09  # s; three 30 ms frames: a click is shorter
    min_silence: float = 0.3  # s; longer than the closure of a stop consonant

    def __post_init__(self) -> None:
        if not 0.0 <= self.stop_below <= self.start_above <= 1.0:
            raise ValueError(
                "thresholds must satisfy 0 <= stop_below <= start_above <= 1, "
                f"not {self.stop_below} and {self.start_above}"
            )
        if not (self.min_speech >= 0.0 and self.min_silence >= 0.0):
            raise ValueError("min_speech and min_silence must not be negative")


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody speaks."""


@dataclass(frozen=True, slots=True)
class Rising:
    """Speech since ``since``, still too short to count."""

    since: float


@dataclass(frozen=True, slots=True)
class Talking:
    """Somebody speaks."""


@dataclass(frozen=True, slots=True)
class Paused:
    """Silence since ``since``, still too short to end the speech."""

    since: float


EndpointState = Quiet | Rising | Talking | Paused
INITIAL: EndpointState = Quiet()

# Frame times are products of frame counts and durations: a tenth of a millisecond forgives
# their rounding and is far under any frame.
_TOLERANCE = 1e-4  # s


def step(
    state: EndpointState,
    start: float,
    end: float,
    probability: float,
    policy: EndpointPolicy,
) -> tuple[EndpointState, SpeechEvent | None]:
    """Hear one frame, ``[start, end)`` seconds, of that speech probability."""
    if isinstance(state, Quiet | Rising):
        if probability < policy.start_above:
            return Quiet(), None
        since = state.since if isinstance(state, Rising) else start
        if end - since >= policy.min_speech - _TOLERANCE:
            return Talking(), SpeechStarted(since, end)
        return Rising(since), None
    if probability >= policy.stop_below:
        return Talking(), None
    since = state.since if isinstance(state, Paused) else start
    if end - since >= policy.min_silence - _TOLERANCE:
        return Quiet(), SpeechStopped(since, end)
    return Paused(since), None
