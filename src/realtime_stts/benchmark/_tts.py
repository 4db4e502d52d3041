"""How soon and how evenly speech is made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from ..audio import AudioData
from ..protocols import ManagedTTSEngine
from ._check import CheckError
from ._figures import Figure, Job
from ._onsets import first_sound
from ._player import Arrival, longest_gap, underruns

__all__ = ["measure"]

_ROUNDS, _ROUNDS_QUICK = 3, 2
_BUFFER = 0.1  # s


@dataclass(frozen=True, slots=True)
class _Said:
    """One text, spoken; seconds since it was asked for."""

    arrivals: list[Arrival]
    lead: float  # the silence that it begins with
    took: float
    duration: float

    @property
    def first_byte(self) -> float:
        return self.arrivals[0][0]


async def measure(job: Job) -> list[Figure]:
    """Every text, streamed to a reader that takes each chunk at once.

    Raises:
        CheckError: A text came without any sound.
        EngineError: The engine failed.
    """
    rounds = _ROUNDS_QUICK if job.quick else _ROUNDS
    said: list[_Said] = []
    async with job.tts() as engine:
        job.tell("tts: warming up")
        await engine.warmup()
        for round_ in range(1, rounds + 1):
            for number, each in enumerate(job.utterances, 1):
                job.tell(f"tts: round {round_}, sentence {number} of {len(job.utterances)}")
                said.append(await _spoken(engine, each.text))
    return _figures(said)


async def _spoken(engine: ManagedTTSEngine, text: str) -> _Said:
    chunks: list[AudioData] = []
    arrivals: list[Arrival] = []
    began = anyio.current_time()
    async with aclosing(engine.stream(text)) as stream:
        async for chunk in stream:
            at = anyio.current_time() - began
            if chunk.n_frames:  # a chunk with nothing in it is not the first of the sound
                arrivals.append((at, chunk.duration_seconds))
                chunks.append(chunk)
    took = anyio.current_time() - began
    lead = first_sound(AudioData.concat(chunks)) if chunks else None
    if lead is None:
        raise CheckError(f"the speech of {text!r} has no sound in it")
    return _Said(arrivals, lead, took, sum(seconds for _, seconds in arrivals))


def _figures(said: Sequence[_Said]) -> list[Figure]:
    def gaps(buffer: float) -> tuple[float, ...]:
        return tuple(float(underruns(each.arrivals, buffer)) for each in said)

    return [
        Figure(
            "tts",
            "time to the first byte",
            "ms",
            tuple(1000 * each.first_byte for each in said),
        ),
        Figure(
            "tts",
            "time to the first sound",
            "ms",
            tuple(1000 * (each.first_byte + each.lead) for each in said),
            note="with the silence that the speech begins with",
        ),
        Figure(
            "tts",
            "real-time factor",
            "x",
            tuple(each.took for each in said),
            tuple(each.duration for each in said),
            "ratio",
            note="seconds for a second of sound",
        ),
        Figure(
            "tts",
            "longest wait between chunks",
            "ms",
            tuple(1000 * longest_gap(each.arrivals) for each in said),
            statistic="p95",
            note="a sentence's longest; 0 where all comes in one",
        ),
        Figure(
            "tts",
            "gaps in a sentence, played at once",
            "",
            gaps(0.0),
            statistic="mean",
            note="underruns of a player that begins with the first chunk",
        ),
        Figure(
            "tts",
            f"gaps in a sentence, {1000 * _BUFFER:.0f} ms buffered",
            "",
            gaps(_BUFFER),
            statistic="mean",
            note="of one that first has so much",
        ),
    ]
