"""What asking twice takes: the same input for each attempt, and nothing left of the last.

A live input can only be read once. `Replay` keeps what an attempt has taken of it, so that
the next one hears it from the beginning, and lets go of it once nobody can ask again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, Final

from ..audio import AudioData
from ._call import _close
from ._context import RequestContext

__all__ = ["END", "Attempts", "Judge", "On", "Replay", "first_result", "judge"]

Judge = Callable[[Exception], bool]
On = type[Exception] | tuple[type[Exception], ...] | Judge

END: Final = object()  # instead of a first result, where there is none


def judge(on: On) -> Judge:
    """``on`` as a function.

    Raises:
        TypeError: It is neither exceptions' types nor a function.
    """
    if isinstance(on, type | tuple):
        types = on if isinstance(on, tuple) else (on,)
        if not all(isinstance(each, type) and issubclass(each, Exception) for each in types):
            raise TypeError(f"`on` names types of Exception, not {on!r}")
        return lambda error: isinstance(error, types)
    if not callable(on):
        raise TypeError(f"`on` is types of Exception or a function of one, not {on!r}")
    return on


async def first_result(results: AsyncGenerator[Any]) -> Any:
    """The first result, or `END`."""
    try:
        return await anext(results)
    except StopAsyncIteration:
        return END


class Attempts:
    """What a call was given, for every attempt anew.

    Args:
        context: The call's, as the layer that asks twice was given it.
        replay_seconds: The most seconds of a stream of audio to keep; see `Replay`.
    """

    __slots__ = ("_config", "_context", "_deadline", "_engine", "_input", "_opened", "_replay")

    def __init__(self, context: RequestContext, replay_seconds: float) -> None:
        self._context = context
        self._input = {**context.input_data}
        self._config = {**context.config}
        self._engine = context.engine
        self._deadline = context.deadline
        self._opened = len(context._opened)
        self._replay: Replay | None = None
        if context.streaming and context.request_type == "stt":
            self._replay = Replay(self._input["audio"], replay_seconds)
            context.input_data["audio"] = self._replay.attempt()

    @property
    def repeatable(self) -> bool:
        """Whether another attempt would be given the same."""
        return self._replay is None or self._replay.repeatable

    def failed(self, error: Exception, earlier: Exception | None) -> Exception:
        """What to say of an attempt that raised ``error``: that, with the earlier failure
        visible in its chain; or the earlier one, if the audio to repeat it was not there.
        """
        if self._replay is not None and self._replay.lost and earlier is not None:
            return earlier
        if error.__context__ is None and error not in _chain(earlier):
            error.__context__ = earlier
        return error

    async def again(self) -> None:
        """Close what the last attempt left open, and begin the next."""
        context = self._context
        left = context._opened[self._opened :]
        del context._opened[self._opened :]
        await _close(left)
        context.input_data = {**self._input}
        context.config = {**self._config}
        context.engine = self._engine
        context.deadline = self._deadline
        if self._replay is not None:
            context.input_data["audio"] = self._replay.attempt()

    def delivered(self) -> None:
        """There is a result: nobody will ask again."""
        if self._replay is not None:
            self._replay.let_go()


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


class Replay:
    """A stream of audio for several attempts, each from the beginning.

    It never closes the source. A chunk that has come is kept before an attempt has it, so
    that none is lost, whenever the attempt ends. It cannot be repeated any more:

    - once more than ``max_seconds`` were taken, or `let_go` was called;
    - once the source itself has failed;
    - if the source is a generator, and an attempt was cancelled while it waited for it: that
      ends a generator. Where something stands around the generator, this shows only when
      the next attempt wants more: it is then told by an error instead of an end.

    Args:
        source: The chunks.
        max_seconds: The most to keep. Encoded chunks count by their size, as if they were
            16-bit PCM: the limit is there for the memory.
    """

    __slots__ = (
        "_ahead",
        "_doubtful",
        "_ended",
        "_interrupted",
        "_keeping",
        "_kept",
        "_left",
        "_reader",
        "_source",
        "_whole",
        "lost",
    )

    def __init__(self, source: AsyncIterable[AudioData], max_seconds: float) -> None:
        self._source = aiter(source)
        self._left = max_seconds
        self._kept: list[AudioData] = []  # what this attempt has had
        self._ahead: deque[AudioData] = deque()  # what an earlier one had, and this will
        self._keeping = True
        self._whole = True  # nothing is known to be missing
        self._ended = False
        self._interrupted = False  # a wait for the source was, and it gave nothing since
        self._doubtful = False  # the same, of an earlier attempt
        self._reader: _Reader | None = None
        self.lost = False  # an attempt has found that the source had been ended for it

    @property
    def repeatable(self) -> bool:
        """Whether another attempt would hear the same."""
        return self._keeping and self._whole and not (self._interrupted and self._dead)

    @property
    def _dead(self) -> bool:
        return getattr(self._source, "ag_frame", self) is None

    def attempt(self) -> _Reader:
        """The audio from the beginning. Those who read before are at their end."""
        self._ahead.extendleft(reversed(self._kept))
        self._kept.clear()
        self._doubtful = self._interrupted
        self._reader = _Reader(self)
        return self._reader

    def let_go(self) -> None:
        """Keep nothing any more: there is no further attempt."""
        self._keeping = False
        self._kept.clear()

    async def _next(self) -> AudioData:
        if self._ahead:
            chunk = self._ahead.popleft()
        else:
            chunk = await self._fetch()
            if self._keeping:
                self._left -= _seconds(chunk)
                if self._left < 0.0:
                    self.let_go()
        if self._keeping:
            self._kept.append(chunk)
        return chunk

    async def _fetch(self) -> AudioData:
        if self._ended:
            raise StopAsyncIteration
        try:
            chunk = await anext(self._source)
        except StopAsyncIteration:
            if self._doubtful:
                self.lost, self._whole = True, False
                raise _LostAudio("the rest of the audio went with an earlier attempt") from None
            self._ended = True
            raise
        except Exception:
            self._whole = False
            raise
        except BaseException:  # cancelled
            self._interrupted = True
            raise
        self._interrupted = self._doubtful = False
        return chunk


class _LostAudio(Exception):
    """An attempt that could not be given the same audio."""


class _Reader:
    """One attempt's audio."""

    __slots__ = ("_replay",)

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> AudioData:
        if self._replay._reader is not self:  # left over from an attempt that has failed
            raise StopAsyncIteration
        return await self._replay._next()


def _seconds(chunk: AudioData) -> float:
    if chunk.format.startswith("pcm"):
        return chunk.duration_seconds
    return len(chunk.data) / (2 * chunk.channels * chunk.sample_rate)
