"""The work whose instructions the guard counts.

Each entry of `WORKLOADS` prepares once and returns a round: the same work at each call, of
some hundred thousand to some million instructions, with no network, no file and no waiting.
What a round returns says that the work was done, and is the same each time. Event loops run
on virtual time, so no timer depends on how slowly a counted program runs.

The module is run as a file by `child`, which may be given another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from functools import cache, partial
from itertools import repeat
from typing import Any, Final

import numpy as np

from realtime_stts import (
    AudioData,
    ConversationEngine,
    ConversationState,
    Event,
    FinalTranscript,
    Interrupted,
    PartialTranscript,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    ReplyText,
    SentenceSpoken,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    StateChanged,
    TranscriptionResult,
    TranscriptionSegment,
    TranscriptionWord,
    TurnEnded,
    TurnFailed,
    TurnMetrics,
    UserIdle,
)
from realtime_stts.audio import StreamResampler
from realtime_stts.conversation._detection import heard
from realtime_stts.conversation._events import (
    EndOfTurnJudged,
    ReplyFinished,
    ReplyPart,
    Signal,
    StopRequested,
    Tick,
    TurnCommitted,
    TurnOpened,
    Understood,
    Voiced,
)
from realtime_stts.conversation._messages import MessageEncoder, Version, parse_command
from realtime_stts.conversation._turns import TurnPolicy, TurnState, step, wants_voicing
from realtime_stts.engines._isolated_frames import Unframer, frames, packed_header
from realtime_stts.engines._isolated_values import packed_result, unpacked_result
from realtime_stts.middleware import (
    AnalyticsMiddleware,
    Chain,
    CircuitBreakerMiddleware,
    ConcurrencyLimitMiddleware,
    LoggingMiddleware,
    RetryMiddleware,
    TimeoutMiddleware,
    TimingMiddleware,
)
from realtime_stts.testing import (
    ScriptedPauseDetector,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
    virtual_time,
)

__all__ = ["WORKLOADS", "Round"]

Round = Callable[[], object]

_FRAME: Final = 0.02  # s
_CLIP: Final = AudioData.silence(1.0, 16_000)
_TEXT: Final = "could you tell me when the last train to the coast leaves"
_WORDS: Final = _TEXT.split()
_RESULT: Final = TranscriptionResult(
    _TEXT,
    "en",
    [TranscriptionSegment(_TEXT, 0.5, 4.1, 0.9)],
    0.9,
    words=[TranscriptionWord(word, i * 0.3, i * 0.3 + 0.2, 0.9) for i, word in enumerate(_WORDS)],
)
_PARTIAL: Final = TranscriptionResult(_TEXT, "en", [], partial=True, committed="could you")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all rounds, on virtual time; it lives as long as the process."""
    loop: asyncio.AbstractEventLoop = virtual_time()[1]["loop_factory"]()
    return loop


def _looped(work: Callable[[], Coroutine[Any, Any, object]]) -> Round:
    loop = _loop()
    return lambda: loop.run_until_complete(work())


# -- the chain -----------------------------------------------------------------------------


class _Engine:
    """Answers at once, to everything: what is left is what stands around it."""

    model_loaded = True

    def __init__(self, n_results: int) -> None:
        self._n_results = n_results

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        return _RESULT

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        for _ in range(self._n_results - 1):
            yield _PARTIAL
        yield _RESULT

    async def is_available(self) -> bool:
        return True


async def _nothing() -> AsyncGenerator[AudioData]:
    if False:
        yield _CLIP


def _layers(n: int) -> Chain:
    to_nowhere = logging.Logger("guard", logging.INFO)
    to_nowhere.addHandler(logging.NullHandler())
    layers = (
        TimingMiddleware(),
        LoggingMiddleware(logger=to_nowhere),
        AnalyticsMiddleware(),
        TimeoutMiddleware(first=5.0, total=30.0),
        ConcurrencyLimitMiddleware(64, waiting=64),
        CircuitBreakerMiddleware(),
        RetryMiddleware(),
    )
    return Chain(*layers[:n])


def _calls(n: int, n_layers: int) -> Round:
    stt = _layers(n_layers).wrap(_Engine(1))

    async def work() -> int:
        results = [await stt.transcribe(_CLIP) for _ in range(n)]
        return results.count(_RESULT)

    return _looped(work)


def _streams(n: int, n_layers: int) -> Round:
    stt = _layers(n_layers).wrap(_Engine(n))

    async def work() -> int:
        return sum([1 async for _ in stt.stream(_nothing())])

    return _looped(work)


# -- the turn core -------------------------------------------------------------------------

_SIGNALS: Final[tuple[Signal, ...]] = (
    SpeechStarted(1.0, 1.1),  # a turn with a pause in it, and its answer
    *(Tick(1.1 + i * _FRAME) for i in range(40)),
    SpeechStopped(2.0, 2.2),
    EndOfTurnJudged(1, 0.8, 2.21),
    SpeechStarted(2.4, 2.5),
    SpeechStopped(3.0, 3.2),
    *(Tick(3.2 + i * _FRAME) for i in range(40)),
    Understood(1, 8, True, 4.0),
    SpeechStarted(5.0, 5.1),  # a cough over it: held, and resumed
    *(Voiced(5.1 + i * _FRAME, _FRAME) for i in range(1, 20)),
    SpeechStopped(5.5, 5.6),
    *(Tick(5.6 + i * _FRAME) for i in range(150)),
    ReplyPart(1, False, 8.7),
    ReplyPart(1, True, 8.8),
    SpeechStarted(9.0, 9.1),  # words over it: stopped
    *(Voiced(9.1 + i * _FRAME, _FRAME) for i in range(1, 20)),
    Understood(3, 2, False, 9.6),
    ReplyFinished(1, 9.7),
    SpeechStopped(10.0, 10.2),
    *(Tick(10.2 + i * _FRAME) for i in range(40)),
    ReplyFinished(2, 11.1),
    TurnOpened(11.5),  # a key, held and let go
    TurnCommitted(12.5),
    StopRequested(13.0),
    ReplyFinished(3, 13.1),
    ReplyFinished(4, 13.2),
    *(Tick(13.2 + i) for i in range(40)),  # nobody speaks any more
)


def _machine() -> int:
    policy = TurnPolicy(speculative=True)
    state, n_actions = TurnState(), 0
    for signal in _SIGNALS:
        state, actions = step(state, signal, policy)
        n_actions += len(actions)
    return n_actions


def _detection() -> Round:
    """What each 20 ms frame costs between the detector and the machine."""
    policy = TurnPolicy()
    pieces: list[dict[str, Any]] = []
    for number in range(250):
        start = number * _FRAME
        spoken = 50 <= number < 150
        news: list[SpeechStarted | SpeechStopped] = []
        if number == 50:
            news.append(SpeechStarted(start - 0.1, start))
        if number == 150:
            news.append(SpeechStopped(start - 0.2, start))
        pieces.append(
            {
                "is_speaking": spoken,
                "speech_events": news,
                "frames": [(start, start + _FRAME, 0.9 if spoken else 0.1)],
            }
        )

    def work() -> int:
        state, clock, n_actions = TurnState(), 0.0, 0

        def wanted() -> bool:
            return wants_voicing(state, policy)

        for piece in pieces:
            clock += _FRAME
            for signal in heard(piece, _FRAME, clock, wanted):
                state, actions = step(state, signal, policy)
                n_actions += len(actions)
            state, actions = step(state, Tick(clock), policy)
            n_actions += len(actions)
        return n_actions

    return work


class _Voice(ScriptedTTSEngine):
    """Has its sound at hand: to compute it is no work of a session's."""

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        for chunk in _SAID:
            yield chunk


_SAID: Final = [speech(0.1)] * 3


def _session(*spans: tuple[float, float]) -> Round:
    """A session that hears 1.5 seconds, its user speaking in those spans."""
    sound = speech(1.5) if spans else AudioData.silence(1.5, 16_000)
    pieces = [sound.sliced(i * _FRAME, (i + 1) * _FRAME) for i in range(75)]

    async def work() -> tuple[int, list[str]]:
        engine = ConversationEngine(
            stt=ScriptedSTTEngine(repeat(_TEXT)),
            tts=_Voice(),
            responder=ScriptedResponseGenerator(repeat("It leaves at ten past nine.")),
            pause_detector=lambda: ScriptedPauseDetector(spans),
        )
        async with engine.session() as session:
            for piece in pieces:
                await session.push(piece)
            await session.end_input()
            events = [event async for event in session]
        return len(events), [event.outcome for event in events if isinstance(event, TurnEnded)]

    return _looped(work)


# -- resampling ----------------------------------------------------------------------------


def _resampling(sample_rate: int, format: str) -> Round:
    """A second of noise in chunks of 20 ms, to the 16 kHz that recognisers take."""
    n_samples = round(sample_rate * _FRAME)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (50, n_samples)).astype(np.float32)
    chunks = [AudioData.from_samples(piece, sample_rate, format) for piece in noise]

    def work() -> int:
        resampler = StreamResampler(16_000)
        n_frames = sum(resampler.push(chunk).n_frames for chunk in chunks)
        return n_frames + resampler.flush().n_frames

    return work


def _whole_clip() -> Round:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 24_000).astype(np.float32)
    clip = AudioData.from_samples(noise, 24_000)
    return lambda: clip.resampled(16_000).n_frames


# -- messages ------------------------------------------------------------------------------

_SPOKEN: Final = AudioData.silence(0.1, 24_000)
_EVENTS: Final[tuple[Event, ...]] = (
    SpeechStarted(1.0, 1.1),
    SpeechStopped(2.0, 2.3),
    StateChanged(ConversationState.PROCESSING),
    PartialTranscript(1, _TEXT, _PARTIAL),
    FinalTranscript(1, _TEXT, _RESULT),
    ReplyText(1, "It leaves at ten past nine."),
    ReplyAudio(1, _SPOKEN),
    ReplyAudio(1, _SPOKEN),
    SentenceSpoken(1, "It leaves at ten past nine."),
    ReplyPaused(1, 5.0, 0.4),
    ReplyResumed(1, 6.0, 0.4),
    Interrupted(1, 6.5, "It leaves at"),
    UserIdle(7.0, 37.0),
    TurnEnded(1, _TEXT, "It leaves at ten past nine.", TurnMetrics(0.6, 0.2, 0.1, 0.1, 0.0, 1.0)),
    TurnFailed(2, ValueError("no"), "0123456789abcdef"),
    SessionEnded("input ended"),
)
_COMMANDS: Final = (
    *("reset", "ping", "stop", "stats", "begin_turn", "commit", "interrupt", "none such"),
    *("change_mode", "change_response_mode"),
)


def _encoding(version: Version) -> Round:
    def work() -> int:
        encoder, n = MessageEncoder(version), 0
        for _ in range(5):
            for event in _EVENTS:
                n += sum(len(json.dumps(message)) for message in encoder.encode(event))
        return n

    return work


def _streamed_encoding() -> Round:
    pieces = [ReplyAudio(turn, _SPOKEN) for turn in range(1, 21) for _ in range(10)]

    def work() -> int:
        encoder = MessageEncoder(2, "stream")
        return sum(len(encoder.encode(piece)) for piece in pieces)

    return work


def _commands() -> Round:
    lines = [json.dumps({"action": action, "mode": "echo"}) for action in _COMMANDS] * 10

    def is_command(line: str) -> bool:
        try:
            parse_command(json.loads(line))
        except ValueError:
            return False
        return True

    return lambda: sum(map(is_command, lines))


def _isolated() -> Round:
    """Results of every kind through the frames of an engine's own process, and back."""
    results: list[object] = [_RESULT, _PARTIAL, _SPOKEN, {"voices": [1, 2.0, "three", None]}]

    def work() -> int:
        unframer, n = Unframer(), 0
        for number, result in enumerate(results * 5):
            packed = packed_result(result)
            header = packed_header({"id": number, **packed.header})
            for frame in frames(header, packed.payload, number):
                for message in unframer.feed(frame):
                    n += unpacked_result(message) is not None
        return n

    return work


WORKLOADS: Final[dict[str, Callable[[], Round]]] = {
    "500 calls, no layer": partial(_calls, 500, 0),
    "50 calls, three layers": partial(_calls, 50, 3),
    "20 calls, seven layers": partial(_calls, 20, 7),
    "1000 streamed results, no layer": partial(_streams, 1000, 0),
    "200 streamed results, three layers": partial(_streams, 200, 3),
    "100 streamed results, seven layers": partial(_streams, 100, 7),
    "turn machine, 368 signals": lambda: _machine,
    "detection and turn machine, 250 frames": _detection,
    "session, 75 frames of silence": _session,
    "session, 75 frames with an answered turn": partial(_session, (0.1, 0.6)),
    "resampling 1 s of 48 kHz, 16-bit": partial(_resampling, 48_000, "pcm"),
    "resampling 1 s of 48 kHz, float": partial(_resampling, 48_000, "pcm_f32le"),
    "resampling 1 s of 24 kHz, 16-bit": partial(_resampling, 24_000, "pcm"),
    "resampling 1 s of 24 kHz, at once": _whole_clip,
    "messages, version 1": partial(_encoding, 1),
    "messages, version 2": partial(_encoding, 2),
    "messages, streamed sound": _streamed_encoding,
    "messages, commands": _commands,
    "frames of an isolated engine": _isolated,
}
