"""Any engine in a process of its own, and in a Python environment of its own if it needs one.

Packages that pin what a program needs otherwise, models that crash, leak or never end: none
of it reaches the program. A process that ends fails the calls under way, and the next call
starts another.
"""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from pathlib import Path
from threading import TIMEOUT_MAX, Lock
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

import anyio
from typing_extensions import Self

from .._request import current_request_id
from ..audio import AudioData
from ..errors import EngineError
from ..protocols import SynthesisResult, TranscriptionResult
from ._environments import find_environment, interpreter, made_environments
from ._isolated_call import Call
from ._isolated_process import EngineProcess, Launch
from ._isolated_values import packed_audio, plain, unpacked_result

__all__ = ["IsolatedSTTEngine", "IsolatedTTSEngine"]

T = TypeVar("T")

_TIMED: Final = ("synthesize", "speak", "transcribe", "listen")

_FIRST_REST: Final = 0.5  # s before the process after the second crash in a row
_LONGEST_REST: Final = 30.0  # s


class _Isolated:
    """An engine in a process of its own: what both kinds have in common."""

    _kind: ClassVar[str]

    def __init__(
        self,
        spec: str,
        *,
        python: str | os.PathLike[str] | None = "auto",
        options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        timeout: float | None = None,
        start_timeout: float = 120.0,
        heartbeat: float = 60.0,
        grace: float = 10.0,
    ) -> None:
        for name, seconds in (
            ("timeout", 1.0 if timeout is None else timeout),
            ("start_timeout", start_timeout),
            ("heartbeat", heartbeat),
            ("grace", grace),
        ):
            if not 0.0 < seconds <= TIMEOUT_MAX:
                raise ValueError(f"{name} is over 0 seconds, not {seconds}")
        if memory_limit is not None and (memory_limit < 1 or sys.platform == "win32"):
            raise ValueError(f"memory_limit is over 0 bytes, and for POSIX, not {memory_limit}")
        self.name = spec.partition(":")[0]
        self._timeout = timeout
        self._launch = Launch(
            name=self.name,
            python=_python(python, self.name),
            kind=self._kind,
            spec=spec,
            options=plain(dict(options or {}), strict=True),
            environment=dict(environment or {}),
            memory_limit=memory_limit,
            start_timeout=start_timeout,
            heartbeat=heartbeat,
            grace=grace,
        )
        self._place = _Place()
        weakref.finalize(self, self._place.clear)

    # -- life cycle

    @property
    def model_loaded(self) -> bool:
        """Whether the model was loaded when the process last said so."""
        process = self._place.process
        return process is not None and process.loaded and not process.ended

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        process = self._place.process
        return None if process is None else process.pid

    async def load(self) -> None:
        await self._ask("load")

    async def unload(self) -> None:
        """Wait for calls in flight, then release the model and end the process."""
        process = self._place.take()
        if process is not None:
            await process.close()

    async def warmup(self) -> None:
        await self._ask("warmup")

    async def __aenter__(self) -> Self:
        await self.load()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unload()

    # -- calls

    async def _ask(self, method: str, payload: bytes = b"", **arguments: Any) -> Any:
        """The one result of a call, or None if it has none."""
        with await self._called(method, payload, **arguments) as call:
            message = await call.next()
            result = None if message is None else unpacked_result(message)
            while await call.next() is not None:
                pass
            return result

    async def _called(self, method: str, payload: bytes = b"", **arguments: Any) -> Call:
        """A call that is under way, until it is left as a context."""
        arguments["request_id"] = current_request_id()
        rest = self._place.rest()
        if rest > 0.0:
            await anyio.sleep(rest)
        call = None
        while call is None:
            process = self._place.fill(self._launch)
            timeout = self._timeout if method in _TIMED else None
            call = process.open(method, arguments, payload, timeout)
        return call


class IsolatedTTSEngine(_Isolated):
    """Text to speech in a process of its own.

    The process starts with the first call, and ends by `unload`, with this object, or with
    the program. What the engine has beside the Protocol's methods cannot be called. Values
    of a voice configuration and options are numbers, texts, bytes, paths, audio, this
    library's own options, and lists and mappings of them.

    Args:
        spec: The engine, as for `load_tts`: ``chatterbox``, ``espeak:en-us+f3``.
        python: The Python that runs it, which has this very version of realtime_stts: the
            name of an environment that ``realtime-stts env create`` made, or an interpreter's
            path. None is this Python; ``auto`` the environment with the engine's name if there
            is one, and else this Python.
        options: The engine's own.
        environment: Variables of the process, over those of this one.
        memory_limit: Bytes that the process may have for data (``RLIMIT_DATA``; where the
            system keeps to it, as Linux does). More fails a call, or ends the process.
        timeout: Seconds that a caller waits for speech, a text, or a stream's next piece of it;
            loading on demand is part of that, and `load` is not. None waits as long as it takes.
        start_timeout: Seconds in which the process has to begin, before the engine's import.
        heartbeat: Seconds for which the process may give no sign of life. A model may hold
            the interpreter's lock for long.
        grace: Seconds in which a call that took too long has to end, or a process that was
            told to, before it is killed.

    Raises:
        ValueError: There is no such environment or interpreter, a number is out of range, or
            an option cannot be sent. Whether the engine takes its options shows at the first
            call.
    """

    _kind = "tts"

    async def synthesize(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> SynthesisResult:
        result = await self._ask("synthesize", text=text, voice_config=plain(voice_config or {}))
        return _of(SynthesisResult, result, self.name)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        arguments = {"text": text, "voice_config": plain(voice_config or {})}
        with await self._called("speak", **arguments) as call:
            while (message := await call.next()) is not None:
                yield _of(AudioData, unpacked_result(message), self.name)

    async def list_voices(self) -> list[dict[str, Any]]:
        return _of(list, await self._ask("list_voices"), self.name)


class IsolatedSTTEngine(_Isolated):
    """Speech to text in a process of its own; otherwise as `IsolatedTTSEngine`."""

    _kind = "stt"

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        layout, data = packed_audio(audio)
        result = await self._ask("transcribe", data, layout=layout, language=language)
        return _of(TranscriptionResult, result, self.name)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        """Transcribe chunks as they arrive.

        The source is never cancelled to deliver a result: one that comes while it is waited
        for, or an error, is delivered once the next chunk is there.
        """
        with await self._called("listen", language=language) as call:
            async for chunk in audio:
                while not call.sendable or call.ready:
                    await call.wait(lambda: call.sendable or call.ready)
                    if call.ready:
                        message = call.take()
                        if message is None:  # it ended before its sound did
                            return
                        yield _of(TranscriptionResult, unpacked_result(message), self.name)
                call.send(chunk)
            call.send_end()
            while (message := await call.next()) is not None:
                yield _of(TranscriptionResult, unpacked_result(message), self.name)

    async def is_available(self) -> bool:
        """Whether its process starts and says so."""
        try:
            return bool(await self._ask("is_available"))
        except (EngineError, ImportError, LookupError):
            return False


class _Place:
    """Where an engine's process is, if there is one. Its own object, so that the engine can go."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.process: EngineProcess | None = None
        self._crashes = _Crashes()

    def fill(self, launch: Launch) -> EngineProcess:
        """The process; started now if there is none."""
        with self._lock:
            if self.process is None or self.process.ended:
                self.process = EngineProcess(launch, self._ended)
            return self.process

    def rest(self) -> float:
        """Seconds to wait before a process is started."""
        with self._lock:
            if self.process is not None and not self.process.ended:
                return 0.0
        return self._crashes.rest(monotonic())

    def take(self) -> EngineProcess | None:
        """The process, which is the place's no more."""
        with self._lock:
            process, self.process = self.process, None
            return process

    def clear(self) -> None:
        process = self.take()
        if process is not None:
            process.kill("nobody needs it any more")

    def _ended(self, badly: bool, worked: bool) -> None:
        self._crashes.ended(monotonic(), badly=badly, worked=worked)


class _Crashes:
    """How long to wait before another process is started: longer with every crash in a row.

    The first one is nobody's pattern, and costs no wait.
    """

    def __init__(self) -> None:
        self._n = 0
        self._last = 0.0

    def ended(self, now: float, *, badly: bool, worked: bool) -> None:
        """A process ended; whether badly, and whether any call of it had a result."""
        if worked or not badly:
            self._n = 0
        if badly:
            self._n, self._last = self._n + 1, now

    def rest(self, now: float) -> float:
        """Seconds to wait now."""
        if self._n < 2:
            return 0.0
        rest = min(_FIRST_REST * 2.0 ** min(self._n - 2, 32), _LONGEST_REST)
        return max(0.0, self._last + rest - now)


def _python(given: str | os.PathLike[str] | None, engine: str) -> Path:
    """The interpreter that is meant.

    Raises:
        ValueError: There is none.
    """
    if given is None or given == "auto":
        made = find_environment(engine) if given else None
        return Path(sys.executable) if made is None else interpreter(made)
    name = os.fspath(given)
    if (environment := find_environment(name)) is not None:
        return interpreter(environment)
    found = shutil.which(name)
    if found is None:
        made_ones = ", ".join(path.name for path in made_environments()) or "none"
        raise ValueError(
            f"{name} is no Python interpreter, and no environment: there are {made_ones}. "
            "One is made by: realtime-stts env create NAME"
        )
    return Path(found).absolute()  # but not where its links lead: that is another environment


def _of(kind: type[T], result: Any, engine: str) -> T:
    """``result``, which is to be of that kind."""
    if not isinstance(result, kind):
        raise EngineError(engine, f"gave {type(result).__name__}, and no {kind.__name__}")
    return result
