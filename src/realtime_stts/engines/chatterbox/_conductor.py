"""One model, many voices at once: speech tokens for all of them, and sound for the most urgent.

One thread does the work, and is there only while there is work. It takes turns between one
token for every sentence there is (`Talker`) and one step of one sentence's rendering, as
`_turns` decides, so that whoever came last waits for a step and not for a sentence. It holds
the model's `Worker` while any call is under way. Calls wait in line when as many are under
way as may, or when somebody wants the model for something else, such as unloading it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread
from time import monotonic
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import EngineError, EngineMemoryError, OverloadedError, RealtimeSTTSError
from .._device import is_out_of_memory
from .._failures import let_go, own_copy
from .._worker import StreamJob, Withdrawn, Worker
from ._talker import Talker, Utterance
from ._turns import Claim, next_turn

__all__ = ["Conductor", "Line", "Sound", "Stage"]

_LINES_AHEAD: Final = 2  # of a call: one is rendered, and one has its tokens
_RATE: Final = 24_000


@dataclass(frozen=True, slots=True)
class Sound:
    """Some of what a line sounds like."""

    line: int
    samples: NDArray[np.float32]  # (n,), 24 kHz
    ends: bool  # whether it is the line's last


class Rendering(Protocol):
    """Turns one line's tokens into sound; see `_render`."""

    @property
    def needed(self) -> int | None: ...
    def feed(self, tokens: Sequence[int], last: bool) -> None: ...
    def next_chunk(self) -> Iterator[None]: ...
    def take(self) -> NDArray[np.float32]: ...


class Line(Protocol):
    """A piece of text that is spoken in one go."""

    def utterance(self, attempt: int) -> Utterance:
        """How it is spoken; at each attempt with other dice."""
        ...

    @property
    def rerolls(self) -> int:
        """How often it may be spoken again, if it cannot be right."""
        ...

    def is_plausible(self, n_tokens: int) -> bool:
        """Whether so many tokens may say it."""
        ...

    def warn(self, n_tokens: int) -> None:
        """Say that it has so many, which is not plausible, and that they are used."""
        ...

    @property
    def closing(self) -> Sequence[int]:
        """Tokens that follow its own."""
        ...

    def rendering(self) -> Rendering: ...


class Stage(Protocol):
    """A loaded model."""

    @property
    def talker(self) -> Talker: ...

    def lines(self, request: Any, check: Callable[[], None]) -> Sequence[Line]:
        """What a request is to say, with its voice made ready; blocks.

        Args:
            check: Raises when nobody waits for it any more.
        """
        ...


class _Call(StreamJob[Sound]):
    """One request on its way."""

    def __init__(self, request: Any, came: float, changed: Callable[[], None]) -> None:
        super().__init__()
        self.request = request
        self._came = came
        self._on_change = changed
        self._lines: deque[tuple[int, Line]] = deque()
        self._spoken: deque[_Spoken] = deque()  # lines with tokens, in order
        self._first_sound: float | None = None
        self._seconds = 0.0  # of sound, given

    def prepare(self, lines: Sequence[Line]) -> None:
        self._lines = deque(enumerate(lines))

    # -- the reader's side

    def take(self) -> Sound:
        try:
            return super().take()
        finally:
            self._on_change()

    def withdraw(self) -> None:
        super().withdraw()
        self._on_change()

    # -- the working thread's side

    @property
    def has_begun(self) -> bool:
        return bool(self._spoken)

    @property
    def is_over(self) -> bool:
        return not self._lines and not self._spoken

    @property
    def claim(self) -> Claim:
        due = self._came if self._first_sound is None else self._first_sound + self._seconds
        return Claim(
            due=due,
            renders=bool(self._spoken) and self._spoken[0].renders and not self.is_ahead,
            speaks=self.begins_line or any(not each.utterance.ended for each in self._spoken),
        )

    @property
    def begins_line(self) -> bool:
        """Whether its next line can begin to be spoken: one at a time is."""
        return (
            bool(self._lines)
            and len(self._spoken) < _LINES_AHEAD
            and all(each.utterance.ended for each in self._spoken)
        )

    def begin_line(self, talker: Talker) -> None:
        number, line = self._lines[0]
        spoken = _Spoken(number, line, line.utterance(0), line.rendering())
        talker.join(spoken.utterance, self.check)
        self._lines.popleft()
        self._spoken.append(spoken)

    def hear(self, talker: Talker) -> None:
        """Take over the tokens of the last step."""
        for spoken in self._spoken:
            spoken.hear(talker, self.check)
        while self._spoken and self._spoken[0].is_over:  # one without a token
            self.emit(Sound(self._spoken.popleft().number, np.zeros(0, np.float32), ends=True))

    def render(self, now: Callable[[], float]) -> None:
        """One step towards the next sound."""
        spoken = self._spoken[0]
        samples = spoken.render()
        if samples is None:
            return
        ends = spoken.is_over
        if self._first_sound is None:
            self._first_sound = now()
        self._seconds += len(samples) / _RATE
        self.emit(Sound(spoken.number, samples, ends))
        if ends:
            self._spoken.popleft()

    def leave(self, talker: Talker) -> None:
        for spoken in self._spoken:
            talker.leave(spoken.utterance)
        self._spoken.clear()
        self._lines.clear()


@dataclass(slots=True)
class _Spoken:
    """A line that has tokens, or is about to."""

    number: int
    line: Line
    utterance: Utterance
    rendering: Rendering
    attempt: int = 0
    n_fed: int = 0
    steps: Iterator[None] | None = None
    has_sound: bool = False
    ended: bool = False  # the rendering knows that there are no more tokens

    @property
    def renders(self) -> bool:
        needed = self.rendering.needed
        return self.steps is not None or (
            needed is not None and (self.ended or self.n_fed >= needed)
        )

    @property
    def is_over(self) -> bool:
        return self.ended and self.rendering.needed is None

    def hear(self, talker: Talker, check: Callable[[], None]) -> None:
        utterance = self.utterance
        if self.ended:
            return
        n = len(utterance.tokens)
        if utterance.ended and (utterance.is_cut or not self.line.is_plausible(n)):
            # What is being made into sound cannot be taken back.
            if self.attempt < self.line.rerolls and not self.has_sound and self.steps is None:
                self.attempt, self.n_fed = self.attempt + 1, 0
                self.utterance = self.line.utterance(self.attempt)
                self.rendering = self.line.rendering()
                talker.join(self.utterance, check)
                return
            self.line.warn(n)
        new = utterance.tokens[self.n_fed :]
        self.n_fed = n
        self.ended = utterance.ended
        self.rendering.feed([*new, *self.line.closing] if self.ended else new, self.ended)

    def render(self) -> NDArray[np.float32] | None:
        if self.steps is None:
            self.steps = self.rendering.next_chunk()
        with torch.inference_mode():
            for _ in self.steps:
                return None
            self.steps, self.has_sound = None, True
            return self.rendering.take()


class Conductor:
    """Serves calls with a model, as many at once as there may be.

    Args:
        engine: Whose name its errors and its thread have.
        worker: Guards the model.
        stage: The loaded model; asked for at each step, by whoever holds the worker.
        max_active: Calls that are spoken at the same time.
        max_waiting: Calls that wait for that, at most.
    """

    def __init__(
        self,
        engine: str,
        worker: Worker,
        stage: Callable[[], Stage],
        *,
        max_active: int,
        max_waiting: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._stage = stage
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._clock = clock
        self._changed = Condition()  # guards the two below
        self._waiting: deque[_Call] = deque()
        self._serving = False

    async def say(self, request: Any) -> AsyncGenerator[Sound]:
        """Speak; closing this ends it within a step.

        Raises:
            OverloadedError: As many wait as may.
            EngineMemoryError: It did not fit into memory.
            EngineError: The model failed.
        """
        call = _Call(request, self._clock(), self._ring)
        self._add(call)
        try:
            async with aclosing(call.results()) as sounds:
                async for sound in sounds:
                    yield sound
        finally:
            call.withdraw()

    def _add(self, call: _Call) -> None:
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                raise OverloadedError(f"{self._max_waiting} calls of {self._engine} wait already")
            self._waiting.append(call)
            if not self._serving:
                # No daemon: a model's code must not be torn from the interpreter as it ends.
                Thread(target=self._serve, name=self._engine).start()
                self._serving = True
            self._changed.notify_all()

    def _ring(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- the working thread's side

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._serving = False
                    return
            with self._worker.exclusive():
                self._work()

    def _work(self) -> None:
        """Hold the model until no call is under way."""
        active: list[_Call] = []
        while True:
            self._admit(active)
            for call in [call for call in active if call.withdrawn or call.is_over]:
                self._end(active, call)
            if not active:
                return
            turn = next_turn([call.claim for call in active])
            if turn is None:
                with self._changed:  # all readers are behind, and what they do rings
                    self._changed.wait_for(partial(self._may_go_on, active))
            elif turn.render is None:
                self._speak(active)
            else:
                call = active[turn.render]
                with self._failing(active, [call]):
                    self._stage()
                    call.render(self._clock)

    def _may_go_on(self, active: Sequence[_Call]) -> bool:
        return (
            any(call.withdrawn for call in active)
            or next_turn([call.claim for call in active]) is not None
            or (bool(self._waiting) and self._has_room(active))
        )

    def _has_room(self, active: Sequence[_Call]) -> bool:
        # Else whoever waits to unload the model would wait for as long as calls come.
        return len(active) < self._max_active and not (active and self._worker.wanted)

    def _admit(self, active: list[_Call]) -> None:
        while self._has_room(active):
            with self._changed:
                if not self._waiting:
                    return
                call = self._waiting.popleft()
            active.append(call)
            with self._failing(active, [call]):
                call.check()
                call.prepare(self._stage().lines(call.request, call.check))

    def _speak(self, active: list[_Call]) -> None:
        """Begin the most urgent line that can begin, or else one more token for all."""
        new = min(
            (call for call in active if call.begins_line),
            key=lambda call: call.claim.due,
            default=None,
        )
        if new is not None:
            with self._failing(active, [new]):
                new.begin_line(self._stage().talker)
            return

        def check() -> None:
            if all(call.withdrawn for call in active):
                raise Withdrawn

        with self._failing(active, [call for call in active if call.claim.speaks]):
            talker = self._stage().talker
            try:
                talker.step(check)
            except BaseException:
                talker.clear()
                raise
        for call in [*active]:
            with self._failing(active, [call]):
                call.hear(talker)

    @contextmanager
    def _failing(self, active: list[_Call], calls: Sequence[_Call]) -> Iterator[None]:
        """Let those calls end by what goes wrong, and no others."""
        try:
            yield
        except Withdrawn:
            for call in calls:
                if call.withdrawn:
                    self._end(active, call)
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is awaited
            error = self._typed(exc)
            let_go(error)
            for call in calls:
                self._end(active, call, own_copy(error, self._engine))

    def _end(self, active: list[_Call], call: _Call, error: BaseException | None = None) -> None:
        if call.has_begun:
            call.leave(self._stage().talker)
        active.remove(call)
        call.end(error)

    def _typed(self, error: BaseException) -> BaseException:
        if isinstance(error, RealtimeSTTSError | ValueError):
            return error
        if is_out_of_memory(error):
            own: EngineError = EngineMemoryError(self._engine, str(error).partition("\n")[0])
        else:
            own = EngineError(self._engine, f"the model failed: {error}")
        own.__cause__ = error
        return own
