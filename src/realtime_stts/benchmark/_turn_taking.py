"""When the bot takes the floor: how often too soon, and how late when it is right.

A timer that is short answers quickly and cuts people off, a long one keeps them waiting:
both figures belong together. Each turn (`spoken_turns`) goes through a session of its own
on virtual time, with a real pause detector, and its words are known as they are said, so
that what is measured is the detector and the rule and not a recogniser. Nobody answers.

A turn is cut off if any end was decided before its last sound. The delay is from its last
sound to the first end that was decided after it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from dataclasses import dataclass

import anyio

from ..audio import AudioData
from ..conversation import (
    AdaptiveEndOfTurn,
    ConversationEngine,
    EndOfTurnDetector,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
)
from ..engines import load_pause_detector
from ..errors import MissingExtraError
from ..protocols import ConversationContext, PauseDetector, TranscriptionResult
from ..testing import ScriptedTTSEngine, chunked, run_on_virtual_time
from ._check import CheckError
from ._figures import Figure, Job
from ._spoken_turns import LEAD_IN, PAUSES, SpokenTurn, spoken_turns

__all__ = ["Taken", "measure", "take_turns"]

_DETECTORS = ("silero", "webrtc", "energy")
_TURNS, _TURNS_QUICK = 200, 40
_AT_A_TIME = 10  # what runs on virtual time cannot be cancelled before it has ended
_KNOWN_AFTER = 0.2  # s from a word's end until a recogniser has it

# The end of the last frame in which a detector still hears something is not the last sample's.
_TOLERANCE = 0.05  # s; a frame of any of them


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a turn is taken to be over."""

    name: str
    silence: float  # s
    judge: EndOfTurnDetector | None = None


_RULES = (
    _Rule("300 ms timer", 0.3),
    _Rule("600 ms timer", 0.6),
    _Rule("adaptive, 600 ms", 0.6, AdaptiveEndOfTurn(0.6)),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one turn."""

    cut: bool  # an end was decided while it was not over
    delay: float | None  # s from its last sound to the first end decided after it; None: no end was


async def measure(job: Job) -> list[Figure]:
    """False cut-offs and delay of each detector that is installed, with each rule.

    Raises:
        CheckError: A turn failed.
        ValueError: There is no utterance.
    """
    turns = spoken_turns(job.utterances, _TURNS_QUICK if job.quick else _TURNS, job.seed)
    figures = []
    for name in _DETECTORS:
        try:
            detector = load_pause_detector(name)
        except MissingExtraError:
            continue
        for rule in _RULES:
            job.tell(f"{name}, {rule.name}")
            taken: list[Taken] = []
            for first in range(0, len(turns), _AT_A_TIME):
                few = turns[first : first + _AT_A_TIME]
                policy = TurnPolicy(end_of_turn=rule.silence)
                taken += await run_on_virtual_time(take_turns, few, detector, policy, rule.judge)
            figures += _figures(f"{name}, {rule.name}", taken, judged=rule.judge is not None)
    return figures


def _figures(case: str, taken: Sequence[Taken], *, judged: bool) -> list[Figure]:
    cut = tuple(100.0 * turn.cut for turn in taken)
    delays = tuple(1e3 * turn.delay for turn in taken if turn.delay is not None)
    note = f"of turns with {PAUSES}"
    if judged:
        note += f"; each word, and its marks, known {_KNOWN_AFTER:g} s after it"
    figures = [Figure("turn-taking", f"{case}: cut off", "%", cut, statistic="mean", note=note)]
    if delays:
        figures += [
            Figure("turn-taking", f"{case}: delay", "ms", delays),
            Figure("turn-taking", f"{case}: delay, p95", "ms", delays, statistic="p95"),
        ]
    return figures


async def take_turns(
    turns: Sequence[SpokenTurn],
    detector: PauseDetector,
    policy: TurnPolicy,
    judge: EndOfTurnDetector | None,
) -> list[Taken]:
    """What becomes of each turn. It is meant for virtual time: it takes as long as they do.

    Raises:
        CheckError: A turn failed.
    """
    return [_taken(turn, await _ends(turn, detector, policy, judge)) for turn in turns]


def _taken(turn: SpokenTurn, ends: Sequence[float]) -> Taken:
    # A detector may take the first moments of a line for speech: nobody has spoken yet.
    late = [end - turn.end for end in ends if end > LEAD_IN]
    return Taken(
        any(each < -_TOLERANCE for each in late),
        min((max(0.0, each) for each in late if each >= -_TOLERANCE), default=None),
    )


async def _ends(
    turn: SpokenTurn,
    detector: PauseDetector,
    policy: TurnPolicy,
    judge: EndOfTurnDetector | None,
) -> list[float]:
    """When the session took it to be over, in seconds of its line."""
    scribe = _Scribe(turn)
    engine = ConversationEngine(
        stt=scribe,
        tts=ScriptedTTSEngine(),  # never asked
        responder=_nothing,
        pause_detector=detector,
        policy=policy,
        end_of_turn=judge,
    )
    ends: list[float] = []
    failure: Exception | None = None
    session = engine.session()
    scribe.clock = lambda: session.clock
    async with session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, chunked(turn.line, paced=True))
        async for event in session:
            match event:
                case TurnEnded(speech=(_, end), metrics=metrics):
                    ends.append(end + metrics.end_of_turn_delay)
                case TurnFailed(error=error):
                    failure = error
    if failure is not None:
        raise CheckError(f"a turn failed: {failure}") from failure
    return ends


async def _nothing(said: TranscriptionResult, context: ConversationContext) -> str:
    return ""


class _Scribe:
    """A recogniser that is never wrong: it has each word a moment after it was said.

    ``clock`` tells how much of the line has been heard; a stream has the words that were
    said from its first sound on.
    """

    model_loaded = True

    def __init__(self, turn: SpokenTurn) -> None:
        self.clock: Callable[[], float] = lambda: 0.0
        self._words = turn.words
        self._n_known = 0  # of the words, by the streams so far

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return self._heard(self._n_known, self.clock())

    async def is_available(self) -> bool:
        return True

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        first = self._n_known
        told = ""
        async for _ in audio:
            result = self._heard(first, self.clock() - _KNOWN_AFTER, partial=True)
            if result.text != told:
                told = result.text
                yield result
        result = self._heard(first, self.clock())
        self._n_known = first + len(result.text.split())
        yield result

    def _heard(self, first: int, until: float, *, partial: bool = False) -> TranscriptionResult:
        words = [word.text for word in self._words[first:] if word.end <= until]
        return TranscriptionResult(" ".join(words), "en", [], partial=partial)
