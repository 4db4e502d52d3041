"""An engine's process as the calling process sees it: from its start to its end.

Threads do all of it, as no task group lives as long as an engine does, and as several event
loops may use it, one after the other or at once. One starts the process, hears what it says
and buries it; one writes; one keeps the last words of its stderr; one asks whether it is
alive. All end with the process. Calls are told their results by the first one, and wait for
them by their event loop's `Lookout`.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final
from weakref import WeakSet

from ..audio import AudioData
from ..errors import EngineCrashedError, EngineError, EngineLoadError
from ._failures import own_copy
from ._isolated_call import Call
from ._isolated_child import this_process
from ._isolated_frames import PROTOCOL, FrameError, Hello, Message, read_hello
from ._isolated_values import packed_audio, unpacked_error
from ._isolated_wire import Outbox, read_messages, write_frames
from ._lookout import lookout

__all__ = ["EngineProcess", "Launch"]

_LAST_WORDS: Final = 4096  # bytes of stderr that are kept
_BEATS: Final = 4  # questions whether it is alive, in the time in which it has to answer

# The folder that it is started in is no place to import from.
_PROGRAM: Final = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from realtime_stts.engines._isolated_child import main; main()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start, and what to expect of it; seconds, bytes."""

    name: str  # of the engine, in errors
    python: Path
    kind: str
    spec: str
    options: Any  # JSON
    environment: Mapping[str, str]
    memory_limit: int | None
    start_timeout: float
    heartbeat: float
    grace: float


class EngineProcess:
    """One process with one engine. It starts by itself, and ends when told to, or by itself.

    Args:
        on_end: Told, in a thread, whether it came to a bad end, and whether any call of it
            had a result.
    """

    def __init__(self, launch: Launch, on_end: Callable[[bool, bool], None]) -> None:
        self.name = launch.name
        self.loaded = False  # whether its model was, when it last said so
        self._owner = os.getpid()
        self._launch = launch
        self._on_end = on_end
        self._outbox = Outbox()
        self._outbox.put(
            {
                "do": "start",
                "kind": launch.kind,
                "spec": launch.spec,
                "options": launch.options,
                "memory_limit": launch.memory_limit,
            }
        )
        self._lock = Lock()  # guards what follows
        self._calls: dict[int, Call] = {}
        self._ids = count(1)
        self._closing = False
        self._told_to_end = False
        self._ended = False
        self._reason: str | None = None  # for which it was killed
        self._bells: set[Callable[[], None]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = Event()
        self._over = Event()
        self._answered = True  # since it was last asked whether it is alive
        self._worked = False
        self._failure: Exception | None = None  # with which it ended by itself
        self._last_words = bytearray()
        self._life = Thread(target=self._live, name=f"{self.name}: its process", daemon=True)
        self._life.start()
        _running.add(self)

    # -- the callers' side

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or self.ended else process.pid

    @property
    def ended(self) -> bool:
        """Whether it is no more, or is that of the process which this one was forked from."""
        return self._ended or os.getpid() != self._owner

    def open(
        self, method: str, arguments: Mapping[str, Any], payload: bytes, timeout: float | None
    ) -> Call | None:
        """Begin a call; None if the process takes no more.

        Raises:
            ValueError: The arguments are too long to be sent.
        """
        with self._lock:
            if self.ended or self._closing:
                return None
            call = Call(next(self._ids), self, timeout)
            header = {"do": "call", "id": call.id, "method": method, **arguments}
            self._outbox.put(header, payload)
            self._calls[call.id] = call
            return call

    def let_send(self, id: int, n: int) -> None:
        self._outbox.put_now({"do": "more", "id": id, "n": n})

    def send_audio(self, id: int, chunk: AudioData) -> None:
        layout, data = packed_audio(chunk)
        self._outbox.put({"do": "audio", "id": id, "layout": layout}, data)

    def send_end(self, id: int) -> None:
        self._outbox.put({"do": "audio_end", "id": id})

    def withdraw(self, call: Call) -> None:
        """Stop working on a call, if it is under way."""
        with self._lock:
            if call.id not in self._calls or self._ended:
                return
        self._outbox.forget(call.id)
        self._outbox.put_now({"do": "cancel", "id": call.id})

    def expire(self, call: Call) -> None:
        """Stop working on a call that took too long; soon, or be killed."""
        self.withdraw(call)
        grace = self._launch.grace

        def insist() -> None:
            if not call.over.wait(grace):
                self.kill(f"it did not give up a call within {grace:g} s")

        Thread(target=insist, name=f"{self.name}: a call's end", daemon=True).start()

    async def close(self) -> None:
        """End it when the calls under way are done; return when it is no more.

        Cancelled, it does not wait, and the process ends nevertheless.
        """
        bell = lookout().ring
        with self._lock:
            self._bells.add(bell)
            self._closing = True
            self._end_if_idle()
        await lookout().wait(lambda: self._ended)

    def kill(self, reason: str) -> None:
        """End it now, and with it what it started; from any thread."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._reason = self._reason or reason
            process = self._process
            if process is not None and not self._over.is_set():
                _kill(process)

    def join(self, timeout: float) -> None:
        """Wait for its end; blocks."""
        self._life.join(timeout)

    def _end_if_idle(self) -> None:
        """With the lock held."""
        if self._closing and not (self._calls or self._ended or self._told_to_end):
            self._told_to_end = True
            self._outbox.put({"do": "exit"})
            # The time of it counts from here; `_over` comes when it has ended.
            Thread(target=self._bury, name=f"{self.name}: its end", daemon=True).start()

    def _bury(self) -> None:
        grace = self._launch.grace
        if not self._over.wait(self._launch.start_timeout if not self._greeted.is_set() else grace):
            self.kill(f"it did not end within {grace:g} s")

    # -- its life, in a thread

    def _live(self) -> None:
        error: EngineError | None = None
        threads: list[Thread] = []
        process: subprocess.Popen[bytes] | None = None

        def beside(target: Callable[..., None], *args: Any) -> None:
            thread = Thread(target=target, args=args, name=self._life.name, daemon=True)
            thread.start()
            threads.append(thread)

        try:
            process = self._start()
            assert process.stdin
            assert process.stdout
            assert process.stderr
            beside(self._listen_to_stderr, process.stderr.fileno())
            beside(self._watch)
            rest = self._greet(process.stdout.fileno())
            beside(write_frames, self._outbox, process.stdin.fileno())
            for message in read_messages(process.stdout.fileno(), rest):
                self._receive(message)
        except EngineLoadError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - whatever it is, the callers must not wait for ever
            what = "its output is not for us" if isinstance(exc, FrameError) else type(exc).__name__
            self.kill(f"{what}: {exc}")
            error = EngineCrashedError(self.name, f"{what}: {exc}")
        if process is not None:
            code = self._reap(process)
            self._outbox.abandon()
            for thread in threads:
                thread.join(1.0)
            if not any(thread.is_alive() for thread in threads):
                for pipe in (process.stdin, process.stdout, process.stderr):
                    assert pipe is not None
                    pipe.close()
            error = error or self._crash(code)
            self._add_last_words(error)
        self._finish(self._failure or error)

    def _start(self) -> subprocess.Popen[bytes]:
        launch = self._launch
        try:
            process = subprocess.Popen(
                [launch.python, "-X", "faulthandler", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=_environment(launch),
                start_new_session=True,  # a Ctrl-C is for the program that uses the engine
            )
        except OSError as exc:
            raise EngineLoadError(self.name, f"cannot start {launch.python}: {exc}") from exc
        with self._lock:
            self._process = process
            if self._reason is not None:  # killed before it began
                _kill(process)
        return process

    def _greet(self, descriptor: int) -> bytes:
        """Hear its hello; return what came after it.

        Raises:
            EngineLoadError: It is of another version, or does not say hello.
            FrameError: It says something else.
        """
        heard = b""
        while (hello := read_hello(heard)) is None:
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise EngineLoadError(
                    self.name,
                    f"{self._launch.python} does not run realtime_stts"
                    + (f": {self._reason}" if self._reason else ""),
                )
            heard += data
        said, before, rest = hello
        self._greeted.set()
        self._keep(before)
        _check_versions(said, self.name, self._launch.python)
        return rest

    def _receive(self, message: Message) -> None:
        self._answered = True
        header = message.header
        match header["do"]:
            case "failed":
                self._failure = unpacked_error(header["error"], self.name)
            case "item":
                self._worked = True
                if (call := self._calls.get(header["id"])) is not None:
                    call.deliver(message)
            case "more":
                if (call := self._calls.get(header["id"])) is not None:
                    call.let_send()
            case "end":
                packed = header["error"]
                error = None if packed is None else unpacked_error(packed, self.name)
                with self._lock:
                    self.loaded = header["loaded"]
                    call = self._calls.pop(header["id"], None)
                    self._end_if_idle()
                if call is not None:
                    call.end(error)

    def _watch(self) -> None:
        """Ask it whether it is alive, and kill it if it does not say so."""
        launch = self._launch
        if not self._greeted.wait(launch.start_timeout):
            self.kill(f"it said nothing within {launch.start_timeout:g} s")
        n_missed = 0
        while not self._over.wait(launch.heartbeat / _BEATS):
            # Counted, and not timed: this process may have been stopped itself.
            if self._answered:
                n_missed, self._answered = 0, False
                self._outbox.put_now({"do": "ping"})
            elif (n_missed := n_missed + 1) == _BEATS:
                self.kill(f"it did not answer for {launch.heartbeat:g} s")

    def _listen_to_stderr(self, descriptor: int) -> None:
        while data := os.read(descriptor, 1 << 12):
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._last_words += data
        del self._last_words[:-_LAST_WORDS]

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for its end, which its pipe's end foretold; return its exit code."""
        if not self._told_to_end:
            _kill(process)  # it may have closed the pipe and no more
        code = process.wait()
        with self._lock:
            self._over.set()
        _kill(process)  # what it started, and left
        self._greeted.set()
        return code

    def _crash(self, code: int) -> EngineError | None:
        if self._closing and not self._calls and self._reason is None:
            return None
        what = self._reason or f"its process ended with {_described(code)}"
        return EngineCrashedError(self.name, what, exit_code=code)

    def _add_last_words(self, error: EngineError | None) -> None:
        """Have the error tell what the process said of it."""
        words = self._last_words.decode("utf-8", "replace").strip()
        if error is not None and words:
            error.message += f"; the last it said:\n{words}"
            error.args = (error.engine, error.message)

    def _finish(self, error: Exception | None) -> None:
        badly = error is not None and error is not self._failure and not self._told_to_end
        self._on_end(badly, self._worked)  # before anybody can start another
        with self._lock:
            self._ended, self.loaded = True, False
            self._over.set()
            calls, self._calls = self._calls, {}
        self._outbox.abandon()
        for call in calls.values():
            call.end(None if error is None else own_copy(error, self.name))
        for bell in self._bells:
            bell()


def _environment(launch: Launch) -> dict[str, str]:
    """This process's variables, but for what names the packages of another Python."""
    environment = dict(os.environ)
    if launch.python != Path(sys.executable):
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
            environment.pop(name, None)
    return {**environment, **launch.environment}


def _check_versions(hello: Hello, engine: str, python: Path) -> None:
    here = this_process()
    if (hello.protocol, hello.project) != (here.protocol, here.project):
        raise EngineLoadError(
            engine,
            f"{python} (Python {hello.python}) has realtime_stts {hello.project}, which speaks "
            f"version {hello.protocol} of the processes' language; here are {here.project} and "
            f"{PROTOCOL}. Make the environment again: realtime-stts env create NAME",
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those it started; they are a session of their own."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


# The processes there are; threads of a program that ends are not waited for, these are.
_running: WeakSet[EngineProcess] = WeakSet()


@atexit.register
def _end_all() -> None:
    processes = [process for process in _running if not process.ended]
    for process in processes:
        process.kill("the program ends")
    for process in processes:
        process.join(5.0)
