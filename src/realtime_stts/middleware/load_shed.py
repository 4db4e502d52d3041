"""Load shedding: no new sessions while the engine cannot keep up with those it has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from anyio import current_time

from ..audio import AudioData
from ..errors import OverloadedError
from ..protocols import SynthesisResult
from ._context import RequestContext
from ._load import Load, Sessions, Waiting
from ._middleware import CallNext

__all__ = ["LoadShedMiddleware", "LoadShedStatistics"]

# New sessions are let in again at this share of `max_rtf`: there has to be room for some of
# them, or the first one would close the door again.
_RESUME: Final = 0.8


@dataclass(frozen=True, slots=True)
class LoadShedStatistics:
    """The numbers at one moment."""

    shedding: bool  # what the last new session was told
    rtf: dict[str, float]  # by "stt" and "tts" as of their last call, where there is enough audio
    sessions: int  # admitted and not known to be idle
    admitted: int  # sessions, and calls outside of any, since the start
    refused: int  # calls, since the start


class LoadShedMiddleware:
    """Refuses new sessions while the engine is slower than it has to be.

    Each session that is let in slows down the others, and past a real-time factor of 1 all
    of them stutter. So while calls wait for results longer than ``max_rtf`` seconds for each
    second of audio, on average over the last ``window`` seconds, calls of sessions that
    were not admitted before raise `OverloadedError`; those that were go on undisturbed.

    It counts audio that STT hears and TTS makes, each on its own: one of them too slow is
    enough. Waiting includes queues further in, and leaves out the time an STT stream waits
    for the speaker. Of a call that was withdrawn counts what led to results; of one that
    failed, all. Calls of responders pass by.

    One instance belongs to one event loop, and to the engines that share a machine.

    Args:
        max_rtf: Seconds waited for a second of audio, above which nobody new is let in;
            below 0.8 times that they are let in again.
        window: Seconds over which it is measured.
        min_audio: Seconds of audio in the window, below which it is not judged.
        idle: Seconds without a call after which a session has to be admitted anew.
        max_sessions: Sessions between calls that are remembered; the one that has been
            silent for longest is forgotten first.
        clock: Seconds.
        name: What logs call it.

    Raises:
        ValueError: A number is not positive.
    """

    def __init__(
        self,
        *,
        max_rtf: float = 0.9,  # of 1, past which there are gaps: room for what begins now
        window: float = 30.0,  # a few sentences of each session
        min_audio: float = 5.0,  # one short word costs more than its length on any engine
        idle: float = 60.0,  # as long as somebody may think about what to say next
        max_sessions: int = 10_000,  # about 2 MB
        clock: Callable[[], float] = current_time,
        name: str = "load_shed",
    ) -> None:
        for what, value in (
            ("max_rtf", max_rtf),
            ("window", window),
            ("min_audio", min_audio),
            ("idle", idle),
            ("max_sessions", max_sessions),
        ):
            if not value > 0:
                raise ValueError(f"{what} is more than 0, not {value!r}")
        self.name = name
        self._window = window
        self._clock = clock
        self._loads = {
            kind: Load(window, max_rtf, max_rtf * _RESUME, min_audio) for kind in ("stt", "tts")
        }
        self._sessions = Sessions(idle, max_sessions)
        self._shedding = False
        self._admitted = self._refused = 0

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type not in self._loads:
            return call_next(context)
        return self._measured(context, call_next)

    def statistics(self) -> LoadShedStatistics:
        """The numbers now."""
        rtf = {kind: load.latest for kind, load in self._loads.items()}
        return LoadShedStatistics(
            self._shedding,
            {kind: value for kind, value in rtf.items() if value is not None},
            len(self._sessions),
            self._admitted,
            self._refused,
        )

    async def _measured(self, context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        session = context.session_id
        self._admit(session)
        call = _Measured(context, self._loads[context.request_type], self._clock)
        if session is not None:
            self._sessions.begin(session)
        try:
            async with aclosing(call_next(context)) as results:
                while True:
                    call.waiting.ask(True)
                    try:
                        result = await anext(results)
                    except StopAsyncIteration:
                        call.noted()
                        return
                    except Exception:
                        call.noted()
                        raise
                    call.result(result)
                    yield result
        finally:
            if session is not None:
                self._sessions.end(session, self._clock())

    def _admit(self, session: str | None) -> None:
        now = self._clock()
        if session is not None and self._sessions.known(session, now):
            return
        # Every one is asked, because each keeps in mind how it last answered.
        self._shedding = True in [load.too_high(now) for load in self._loads.values()]
        if self._shedding:
            self._refused += 1
            raise OverloadedError(
                f"{self.name}: the sessions there are need all of the engine",
                retry_after=self._window,  # by then, nothing that is measured now counts
            )
        self._admitted += 1


class _Measured:
    """One call: what its audio is, and how long was waited for it."""

    __slots__ = ("_audio", "_hears", "_load", "_measurable", "waiting")

    def __init__(self, context: RequestContext, load: Load, clock: Callable[[], float]) -> None:
        self.waiting = Waiting(clock)
        self._load = load
        self._audio = 0.0  # s, since the last result
        self._measurable = True
        self._hears = context.request_type == "stt"
        if self._hears and context.streaming:
            given = context.input_data
            given["audio"] = _Heard(given["audio"], self)
        elif self._hears:
            self.count(context.input_data["audio"])

    def count(self, audio: object) -> None:
        if isinstance(audio, AudioData) and audio.format.startswith("pcm"):
            self._audio += audio.duration_seconds
        else:  # an encoded file is not decoded just to learn its length
            self._measurable = False

    def result(self, result: Any) -> None:
        if not self._hears:
            self.count(result.audio_data if isinstance(result, SynthesisResult) else result)
        self.noted()

    def noted(self) -> None:
        """No result is waited for any more, or for now."""
        now = self.waiting.ask(False)
        waited, audio, self._audio = self.waiting.taken(), self._audio, 0.0
        if self._measurable:
            self._load.add(waited, audio, now)


class _Heard:
    """The chunks of a stream, counted as the engine takes them."""

    __slots__ = ("_call", "_chunks")

    def __init__(self, chunks: AsyncIterable[AudioData], call: _Measured) -> None:
        self._chunks = aiter(chunks)
        self._call = call

    def __aiter__(self) -> _Heard:
        return self

    async def __anext__(self) -> AudioData:
        waiting = self._call.waiting
        waiting.listen(True)
        try:
            chunk = await anext(self._chunks)
        finally:
            waiting.listen(False)
        self._call.count(chunk)
        return chunk
