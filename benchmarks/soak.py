"""Many conversations at a time, for minutes of virtual time: none may lose a word.

Every caller has a script of their own: every 20 to 40 s of audio they say something of 2 to
5 s, and are answered with 1 s of speech. All sound names its caller and its number in its
samples. The recogniser reads them there, and the caller compares: an utterance counts as
transcribed if each of its samples came, in order and without a sound of anybody else's,
and as answered if the host was handed the whole sound of the answer to it.

Exits with 1 if anything was lost, if memory grew after the second minute by more than
16 MiB and 64 KiB a session, or if a task or thread was left.
"""

from __future__ import annotations

import argparse
import gc
import re
import resource
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import anyio
import numpy as np

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    FinalTranscript,
    ReplyAudio,
    Session,
    SynthesisResult,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
)
from realtime_stts.testing import ScriptedPauseDetector, virtual_time

from ._report import Row, table, write

__all__ = ["main"]

_RATE = 16_000  # Hz
_EVERY = (20.0, 40.0)  # s; from one utterance to the next
_LENGTH = (2.0, 5.0)  # s; of an utterance
_ANSWER = 1.0  # s; of an answer
_FADE = 0.01  # s; an answer's ends may be softened
_LATENCY = 0.2  # s; of each engine
_CHUNK = 0.5  # s; of what the voice hands over at a time

_WARM_UP = 2  # minutes
# MiB, and MiB for each session. A few hundred bytes an utterance stay, as history, and the
# allocator takes its share; a second of sound kept of each would be many times as much.
_MAX_GROWTH = (16.0, 1 / 16)
_PATIENCE = 120.0  # s of virtual time after the last sound, for the last answers


# -- sound with a name -------------------------------------------------------------------


def _sound(caller: int, number: int, n_samples: int) -> bytes:
    """Samples that alternate between the two numbers; neither is 0, which is silence."""
    pair = np.array([caller, number], np.int16).tobytes()
    return (pair * (n_samples // 2 + 1))[: 2 * n_samples]


def _heard(data: bytes) -> str:
    """The words for what is in there: the same as `_Utterance.text` if it is whole."""
    samples = np.frombuffer(data, np.int16)
    samples = samples[samples != 0]
    if samples.size < 2:
        return ""
    caller, number = int(samples[0]), int(samples[1])
    if samples.tobytes() != _sound(caller, number, samples.size):
        return "several voices"
    return _text(caller, number, samples.size)


def _text(caller: int, number: int, n_samples: int) -> str:
    return f"caller {caller} says {number} in {n_samples} samples"


@dataclass(frozen=True, slots=True)
class _Utterance:
    """What a caller says, in samples of their line."""

    caller: int
    number: int
    start: int
    length: int

    @property
    def text(self) -> str:
        return _text(self.caller, self.number, self.length)

    @property
    def sound(self) -> bytes:
        return _sound(self.caller, self.number, self.length)

    def is_answered_by(self, sound: bytes) -> bool:
        expected = _sound(self.caller, self.number, round(_ANSWER * _RATE))
        inner = slice(faded := 2 * round(_FADE * _RATE), len(expected) - faded)
        return len(sound) == len(expected) and sound[inner] == expected[inner]


def _script(caller: int, seconds: float, seed: int) -> list[_Utterance]:
    """All that is said to its end within so many seconds."""
    random = Random(f"{seed} {caller}")
    script: list[_Utterance] = []
    start = random.uniform(1.0, _EVERY[1])
    while start + (length := random.uniform(*_LENGTH)) < seconds:
        script.append(
            _Utterance(caller, len(script) + 1, round(start * _RATE), round(length * _RATE))
        )
        start += random.uniform(*_EVERY)
    return script


# -- engines that go by it ---------------------------------------------------------------


class _Recogniser:
    model_loaded = True

    async def is_available(self) -> bool:
        return True

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await anyio.sleep(_LATENCY)
        return TranscriptionResult(_heard(audio.data), "en", [])

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        data = bytearray()
        async for chunk in audio:
            data += chunk.data
            seconds = len(data) / (2 * _RATE)
            yield TranscriptionResult(f"{seconds:.1f} seconds", "en", [], partial=True)
        yield await self.transcribe(AudioData(bytes(data), _RATE), language)


class _Voice:
    model_loaded = True

    async def list_voices(self) -> list[dict[str, Any]]:
        return []

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        chunks = [chunk async for chunk in self.stream(text, voice_config)]
        return SynthesisResult(AudioData.concat(chunks), text, "")

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        caller, number = map(int, re.findall(r"\d+", text))
        sound = AudioData(_sound(caller, number, round(_ANSWER * _RATE)), _RATE)
        await anyio.sleep(_LATENCY)
        for i in range(round(_ANSWER / _CHUNK)):
            yield sound.sliced(i * _CHUNK, (i + 1) * _CHUNK)


async def _answer(transcription: TranscriptionResult, context: ConversationContext) -> str:
    await anyio.sleep(_LATENCY)
    caller, number, _ = re.findall(r"\d+", transcription.text)
    return f"This is the answer for {caller} to {number}."


# -- the callers -------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    said: int = 0
    transcribed: int = 0
    answered: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.said} said, {self.transcribed} transcribed, {self.answered} answered"


async def _call(
    session: Session, script: Sequence[_Utterance], packets: AsyncIterable[AudioData], tally: _Tally
) -> None:
    """One caller: talks, and compares what comes back."""
    heard: dict[int, list[bytes]] = {}  # sound of the answers, by turn
    async with session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.feed, packets)
        async for event in session:
            match event:
                case FinalTranscript(turn, text):
                    if text == script[turn - 1].text:
                        tally.transcribed += 1
                    else:
                        tally.faults.append(f"{script[turn - 1].text!r} was heard as {text!r}")
                case ReplyAudio(turn, audio):
                    heard.setdefault(turn, []).append(audio.data)
                case TurnEnded(turn):
                    if script[turn - 1].is_answered_by(b"".join(heard.pop(turn, []))):
                        tally.answered += 1
                    else:
                        tally.faults.append(f"another answer than that to {script[turn - 1]}")
                case TurnFailed(turn, error):
                    tally.faults.append(f"{script[turn - 1]}: {error!r}")


async def _line(
    script: Sequence[_Utterance], begin: float, packet: float, n_packets: int, tally: _Tally
) -> AsyncGenerator[AudioData]:
    """The caller's end of the line: packets, each when its sound has been spoken."""
    length = round(packet * _RATE)
    nothing = AudioData(bytes(2 * length), _RATE)
    coming = list(reversed(script))
    for i in range(n_packets):
        await anyio.sleep_until(begin + (i + 1) * packet)
        first, last = i * length, (i + 1) * length
        data = None
        while coming and coming[-1].start < last:
            one = coming[-1]
            data = data or bytearray(nothing.data)
            start, end = max(first, one.start), min(last, one.start + one.length)
            data[2 * (start - first) : 2 * (end - first)] = one.sound[
                2 * (start - one.start) : 2 * (end - one.start)
            ]
            if end < one.start + one.length:
                break
            coming.pop()
            tally.said += 1
        yield nothing if data is None else AudioData(bytes(data), _RATE)


# -- the run -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Outcome:
    tally: _Tally = field(default_factory=_Tally)
    memory: list[float] = field(default_factory=list)  # MiB; at first, then after each minute
    tasks_left: int = 0
    threads_left: int = 0
    wall: float = 0.0  # s


async def _soak(n_sessions: int, minutes: int, packet: float, seed: int) -> _Outcome:
    outcome = _Outcome()
    tally = outcome.tally
    n_tasks, n_threads = len(anyio.get_running_tasks()), threading.active_count()
    seconds = 60.0 * minutes
    scripts = [_script(caller, seconds, seed) for caller in range(1, n_sessions + 1)]
    detectors = iter([_detector(script) for script in scripts])
    engine = ConversationEngine(
        stt=_Recogniser(),
        tts=_Voice(),
        responder=_answer,
        pause_detector=lambda: next(detectors),
    )
    started, begin = perf_counter(), anyio.current_time()

    async def report() -> None:
        for minute in range(1, minutes + 1):
            await anyio.sleep_until(begin + 60.0 * minute)
            outcome.memory.append(_memory())
            wall = perf_counter() - started
            print(
                f"minute {minute} of {minutes}: {tally}; {outcome.memory[-1]:.0f} MiB; "
                f"{wall:.0f} s of wall time",
                flush=True,
            )

    outcome.memory.append(_memory())
    with anyio.move_on_after(seconds + _PATIENCE):  # what is still unanswered then, is lost
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(report)
            for number, script in enumerate(scripts):
                # No two packets at the same moment, as in life.
                first = begin + packet * number / n_sessions
                line = _line(script, first, packet, int(seconds / packet), tally)
                tasks.start_soon(_call, engine.session(), script, line, tally)
    await anyio.wait_all_tasks_blocked()
    outcome.tasks_left = len(anyio.get_running_tasks()) - n_tasks
    outcome.threads_left = threading.active_count() - n_threads
    outcome.wall = perf_counter() - started
    return outcome


def _detector(script: Sequence[_Utterance]) -> ScriptedPauseDetector:
    spans = [(one.start / _RATE, (one.start + one.length) / _RATE) for one in script]
    return ScriptedPauseDetector(spans, delay=0.1)


def _memory() -> float:
    """MiB resident now; at most, where the system does not say."""
    gc.collect()
    try:
        n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return _peak_memory()
    return n_pages * resource.getpagesize() / 2**20


def _peak_memory() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main(arguments: Sequence[str] | None = None) -> int:
    summary, *details = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=summary,
        epilog="\n\n".join(details),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sessions", type=int, default=1000, help="callers (%(default)s)")
    parser.add_argument("--minutes", type=int, default=10, help="virtual time (%(default)s)")
    parser.add_argument("--packet", type=float, default=0.5, help="s of audio (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the scripts (%(default)s)")
    folder = Path(__file__).parent.parent / "out" / "bench"
    parser.add_argument("--out", type=Path, default=folder, help="folder")
    options = parser.parse_args(arguments)
    if not 1 <= options.sessions <= 32_767:
        parser.error("--sessions is 1 to 32767: their numbers are 16-bit samples")
    if options.minutes < 1 or not 0.02 <= options.packet <= 60:
        parser.error("--minutes is at least 1, --packet 0.02 to 60")

    backend, backend_options = virtual_time()
    outcome = anyio.run(
        _soak,
        options.sessions,
        options.minutes,
        options.packet,
        options.seed,
        backend=backend,
        backend_options=backend_options,
    )
    rows = _rows(outcome, options.sessions, options.minutes)
    print(f"\n{table(rows)}\n-> {write('soak', rows, options.out)}", flush=True)
    for fault in outcome.tally.faults[:10]:
        print(fault, file=sys.stderr)
    return 0 if all(row.equal for row in rows) else 1


def _rows(outcome: _Outcome, n_sessions: int, minutes: int) -> list[Row]:
    """What was found; where there is a peer, it is what ours has to be or to stay under."""
    tally = outcome.tally
    after_warm_up = outcome.memory[min(_WARM_UP, minutes) :]
    growth = max(after_warm_up) - after_warm_up[0]
    allowed = _MAX_GROWTH[0] + _MAX_GROWTH[1] * n_sessions
    return [
        Row("sessions", n_sessions, ""),
        Row("utterances said", tally.said, "", equal=tally.said > 0),
        Row(
            "transcribed / said", tally.transcribed, "", tally.said, tally.transcribed == tally.said
        ),
        Row("answered / said", tally.answered, "", tally.said, tally.answered == tally.said),
        *(
            Row(f"memory after minute {minute}", memory, "MiB")
            for minute, memory in enumerate(outcome.memory)
        ),
        Row("growth after the warm-up / allowed", growth, "MiB", allowed, growth <= allowed),
        Row("peak memory", _peak_memory(), "MiB"),
        Row("tasks left", outcome.tasks_left, "", equal=outcome.tasks_left == 0),
        Row("threads left", outcome.threads_left, "", equal=outcome.threads_left == 0),
        Row("wall time", outcome.wall, "s"),
        Row("real time / wall time", 60 * minutes * n_sessions / outcome.wall, "x"),
    ]


if __name__ == "__main__":
    sys.exit(main())
