"""A decoding process as its parent sees it: started, asked once, and buried."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from threading import Event, Lock
from typing import IO, BinaryIO, Final

from ...audio import AudioData
from ...errors import AudioError, AudioFormatError, AudioLimitError, OverloadedError
from ._decoding_wire import (
    DONE,
    ERROR,
    ERRORS,
    HEADER,
    LAYOUT,
    LAYOUT_FIELDS,
    MAX_PAYLOAD,
    READY,
    SAMPLES,
    Limits,
)

__all__ = ["DecodingProcess", "NotReadyError"]

# Isolated, it would not find a package where only this process looks for it.
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from realtime_stts.integrations._http._decoding_child import main; main()"
)

# Of this process's environment, what a system may need to load libraries at all.
_KEPT: Final = ("DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")

_CHUNK: Final = 1 << 18  # bytes of a file that are handed over at a time
_WORDS: Final = 300  # characters of an error's text


class NotReadyError(RuntimeError):
    """The process ended before it was given anything: nobody's file did that."""


class DecodingProcess:
    """One process, for one file. Its methods block; `kill` does not.

    Any thread may call any of them, at any time: `ask` alone only once.

    Args:
        program: Python code for it, in place of the library's; for tests.
    """

    def __init__(self, program: str | None = None) -> None:
        self._program = _PROGRAM if program is None else program
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._asked = self._over = False
        self._ended = Event()

    @property
    def pid(self) -> int | None:
        """None while it has not started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Have it load its libraries, for a file that may come. Idempotent.

        Raises:
            OverloadedError: The system starts no process.
        """
        with self._lock:
            if self._process is None and not self._over:
                self._process = _started(self._program)

    def ask(self, source: bytes | BinaryIO, limits: Limits) -> AudioData:
        """The sound of ``source``. The process has ended when this has, however it did.

        Raises:
            AudioError: What the process says is wrong with the file; `AudioLimitError` too
                if it was killed, by `kill` or by what it is not allowed to use.
            NotReadyError: It did not begin.
            OSError: ``source`` cannot be read.
            OverloadedError: The system starts no process.
        """
        self.start()
        with self._lock:
            if self._over or self._process is None:
                raise _exhausted()
            self._asked = True
        try:
            return self._answer(self._process, source, limits)
        finally:
            self._bury()

    def kill(self) -> None:
        """Have it end at once, or never start."""
        with self._lock:
            self._over = True
            if self._process is not None and not self._ended.is_set():
                _kill(self._process)

    def end(self) -> None:
        """Kill it and wait until it, and the call that asked it, have ended. Idempotent."""
        self.kill()
        if self._asked:  # it never becomes so after a kill
            self._ended.wait()
        else:
            self._bury()

    def _answer(
        self, process: subprocess.Popen[bytes], source: bytes | BinaryIO, limits: Limits
    ) -> AudioData:
        stdin, stdout = _pipes(process)
        if next(_frames(stdout), None) != (READY, b""):
            if self._over:
                raise _exhausted()
            raise NotReadyError("the process that decodes audio does not start")
        _hand_over(source, limits, stdin)
        if (audio := _told(stdout, limits)) is not None:
            return audio
        raise _exhausted()

    def _bury(self) -> None:
        """End it, if it has not, and let go of all that was held for it. Idempotent."""
        self.kill()
        with self._lock:
            if self._process is not None and not self._ended.is_set():
                self._process.wait()  # until then the system gives its number to no other
                for pipe in _pipes(self._process):
                    with suppress(OSError):  # what was not written yet goes nowhere
                        pipe.close()
            self._ended.set()


def _started(program: str) -> subprocess.Popen[bytes]:
    paths = [os.path.abspath(path) for path in sys.path if path]
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", program, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=os.path.abspath(os.sep),
            env=kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # stacks are memory
            start_new_session=True,  # it is killed with whatever it may have started
        )
    except OSError as exc:
        raise OverloadedError("no process can be started to decode audio") from exc


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _exhausted() -> AudioLimitError:
    return AudioLimitError("the file takes too much time or memory to decode")


def _hand_over(source: bytes | BinaryIO, limits: Limits, stdin: IO[bytes]) -> None:
    for piece in _parcels(source, limits):
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[stdin.write(rest) :]
        except OSError:  # it has read enough to refuse, and says so; or it has died
            break
    with suppress(OSError):
        stdin.close()


def _parcels(source: bytes | BinaryIO, limits: Limits) -> Iterator[bytes]:
    yield limits.line()
    if isinstance(source, bytes):
        yield source
    else:
        while chunk := source.read(_CHUNK):
            yield chunk


def _told(stdout: IO[bytes], limits: Limits) -> AudioData | None:
    """The audio that the process tells of; None if it stops, or tells no sense.

    Raises:
        AudioError: It tells of an error, or its audio is none.
    """
    pcm, layout = BytesIO(), b""
    for tag, payload in _frames(stdout):
        if tag == LAYOUT:
            layout = payload
        elif tag == SAMPLES and pcm.tell() + len(payload) <= limits.n_bytes:
            pcm.write(payload)
        elif tag == DONE and len(layout) == LAYOUT_FIELDS.size:
            sample_rate, channels = LAYOUT_FIELDS.unpack(layout)
            return _audio(pcm.getvalue(), sample_rate, channels, limits)
        elif tag == ERROR:
            raise _error(payload)
        else:
            return None
    return None


def _audio(pcm: bytes, sample_rate: int, channels: int, limits: Limits) -> AudioData:
    audio = AudioData(pcm, sample_rate, channels)
    if audio.duration_seconds > limits.seconds:
        raise AudioLimitError(f"the audio is longer than {limits.seconds:g} s")
    return audio


def _error(payload: bytes) -> AudioError:
    said = payload.decode(errors="replace")
    words = "".join(each for each in said[1 : _WORDS + 1] if each.isprintable())
    return ERRORS.get(said[:1], AudioFormatError)(words)


def _frames(stdout: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What it says, until it stops or a frame is longer than any."""
    while len(header := _exactly(stdout, HEADER.size)) == HEADER.size:
        tag, length = HEADER.unpack(header)
        if length > MAX_PAYLOAD or len(payload := _exactly(stdout, length)) < length:
            return
        yield tag, payload


def _exactly(stdout: IO[bytes], n_bytes: int) -> bytes:
    """So many bytes; fewer at the end of the stream."""
    got = bytearray()
    while len(got) < n_bytes and (more := stdout.read(n_bytes - len(got))):
        got += more
    return bytes(got)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):  # macOS: a group of only the dead
        os.killpg(process.pid, signal.SIGKILL)
