"""What a caller waits for: from their last sound to the bot's first, in the recorded streams.

A caller says the utterances one after the other to a conversation with the job's engines,
on the real clock, and whoever answers does so at once with the same few words: what is
measured is everything but the thinking. Both sides are recorded on one timeline, and the
gap is read from there; beside it stands what the session itself tells, and its stages. A
voice that begins with silence, or a detector that is early, shows in the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

from ..conversation import ConversationEngine, ReplyAudio, TurnFailed, TurnMetrics
from ..protocols import (
    ConversationContext,
    ManagedSTTEngine,
    ManagedTTSEngine,
    PauseDetector,
    TranscriptionResult,
)
from ..testing import Call, Caller
from ._check import CheckError
from ._figures import Figure, Job
from ._onsets import first_sound, last_sound
from ._recordings import Recordings, shortest

__all__ = ["converse", "gaps", "measure"]

_TURNS, _TURNS_QUICK = 30, 5
_ANSWER: Final = "Here is an answer."
_NOTE = "the answer is there at once"
_STAGES: Final = {
    "end_of_turn_delay": "the silence that ends a turn",
    "transcription_delay": "the transcript",
    "time_to_first_text": "the answer's first sentence",
    "tts_time_to_first_byte": "its first sound",
    "handover_delay": "its handover",
}


async def measure(job: Job) -> list[Figure]:
    """Voice to voice, recorded and told, and its stages.

    Raises:
        CheckError: A turn failed, or none was answered.
        ValueError: There is no utterance.
    """
    async with job.stt() as stt, job.tts() as tts:
        await stt.warmup()
        await tts.warmup()
        call = await converse(job, stt, tts)
    return _figures(call)


async def converse(
    job: Job, stt: ManagedSTTEngine, tts: ManagedTTSEngine, detector: PauseDetector | None = None
) -> Call:
    """The call: so many utterances, each said once what came before has been answered."""
    n = _TURNS_QUICK if job.quick else _TURNS
    utterances = shortest(job.utterances, n) if job.quick else job.utterances
    said = {f"{i + 1}": each for i, each in enumerate(islice(cycle(utterances), n))}
    engine = ConversationEngine(
        stt=stt, tts=tts, responder=_answer, pause_detector=detector, language=job.language
    )
    voice = Recordings({name: utterance.audio for name, utterance in said.items()})
    caller = Caller(engine, voice=voice)
    for name in said:
        caller = caller.says(name)
    job.tell(f"{n} utterances, in real time")
    return await caller.run()


async def _answer(said: TranscriptionResult, context: ConversationContext) -> str:
    return _ANSWER


def gaps(call: Call) -> dict[int, float]:
    """Seconds from the caller's last sound to the bot's first, by turn, for turns with both."""
    caller, bot = call.caller, call.bot
    came: dict[int, float] = {}
    for moment, event in call.events:
        if isinstance(event, ReplyAudio):
            came.setdefault(event.turn, moment)
    found = {}
    for turn, moment in came.items():
        heard = first_sound(bot, moment - 0.01)  # a frame of the gate may begin before it
        said = last_sound(caller, moment)
        if heard is not None and said is not None:
            found[turn] = heard - said
    return found


def _figures(call: Call) -> list[Figure]:
    if failed := call.of(TurnFailed):
        raise CheckError(f"a turn failed: {failed[0].error}") from failed[0].error
    recorded = gaps(call)
    told = {
        turn.number: turn.metrics
        for turn in call.turns
        if turn.metrics is not None
        and turn.metrics.time_to_first_audio is not None
        and turn.number in recorded
    }
    if not told:
        raise CheckError("nothing that the caller said was answered: nobody heard a word in it")
    both = [(recorded[number], metrics) for number, metrics in told.items()]
    gap = _ms([seconds for seconds, _ in both])
    off = _ms([seconds - (each.time_to_first_audio or 0.0) for seconds, each in both])
    metrics = [each for _, each in both]
    return [
        _figure("recorded", gap, note=_NOTE),
        Figure("voice-to-voice", "recorded, p95", "ms", gap, statistic="p95", note=_NOTE),
        _figure("as the session tells it", _told(metrics, "time_to_first_audio")),
        Figure("voice-to-voice", "recorded, less what is told", "ms", off, better=""),
        *(_figure(f"of it, {what}", _told(metrics, name)) for name, what in _STAGES.items()),
    ]


def _figure(case: str, samples: tuple[float, ...], note: str = "") -> Figure:
    return Figure("voice-to-voice", case, "ms", samples, note=note)


def _told(metrics: Sequence[TurnMetrics], name: str) -> tuple[float, ...]:
    return _ms([getattr(each, name) or 0.0 for each in metrics])


def _ms(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(1e3 * each for each in seconds)
