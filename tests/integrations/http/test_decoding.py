"""Hostile files, and processes that behave as badly as they can."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("starlette")

from realtime_stts.audio import AudioData
from realtime_stts.encoding import StreamEncoder
from realtime_stts.errors import (
    AudioContainerError,
    AudioError,
    AudioFormatError,
    AudioLimitError,
    OverloadedError,
)
from realtime_stts.integrations._http import _decoding_process
from realtime_stts.integrations._http._decoding_child import confine, main, serve
from realtime_stts.integrations._http._decoding_process import DecodingProcess, NotReadyError
from realtime_stts.integrations._http._decoding_wire import HEADER, Limits
from realtime_stts.integrations.starlette import AudioDecoder

TONE = AudioData.from_samples(0.3 * np.sin(np.arange(16_000) / 5), 16_000)
WAV = TONE.encode("wav")
LIMITS = Limits(60.0, 1 << 24, 1 << 30, 30.0)

# Programs in place of the library's own. Each says first that it is ready.
READY = (
    "import os, struct, sys, time; say = lambda tag, data=b'': "
    "os.write(1, struct.pack('<cI', tag, len(data)) + data); say(b'R'); "
)
HANGING = READY + "time.sleep(3600)"
CRASHING = READY + "sys.stdin.buffer.read(); os.kill(os.getpid(), 11)"
LEAVING = READY + "sys.stdin.buffer.read(); os._exit(0)"

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def is_there(pid: int) -> bool:
    """Whether the process exists, if only as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


async def reached(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # it is about other processes
            await anyio.sleep(0.01)


def run(backend: str, call: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(call, backend=backend)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has processes run another program."""
    return partial(monkeypatch.setattr, _decoding_process, "_PROGRAM")


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the processes that are started."""
    started: list[int] = []
    start = _decoding_process._started

    def noted(code: str) -> subprocess.Popen[bytes]:
        process = start(code)
        started.append(process.pid)
        return process

    monkeypatch.setattr(_decoding_process, "_started", noted)
    return started


# -- what is decoded ---------------------------------------------------------------------


@BACKENDS
def test_a_file_is_decoded(backend: str):
    async def call() -> AudioData:
        async with AudioDecoder() as decoder:
            return await decoder.decode(WAV)

    assert run(backend, call) == TONE


def test_a_file_is_given_as_bytes_as_a_path_or_open(tmp_path: Path):
    path = tmp_path / "sound.txt"  # its name says nothing
    path.write_bytes(b"some words before" + TONE.encode("flac"))

    async def call() -> None:
        async with AudioDecoder() as decoder:
            with path.open("rb") as file:
                file.seek(17)
                assert await decoder.decode(file) == TONE
                assert not file.closed
            path.write_bytes(TONE.encode("flac"))
            assert await decoder.decode(path) == TONE
            assert await decoder.decode(str(path)) == TONE
            with pytest.raises(FileNotFoundError):
                await decoder.decode(tmp_path / "none.wav")
            assert await decoder.decode(path.read_bytes()) == TONE

    run("asyncio", call)


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3"])
def test_every_format_is_decoded_without_opening_anything(format: str):
    audio = DecodingProcess().ask(TONE.encode(format), LIMITS)
    assert (audio.sample_rate, audio.format) == (16_000, "pcm")
    assert audio.duration_seconds == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_what_ffmpeg_reads_is_decoded_without_opening_anything(kind: str, codec: str):
    av = pytest.importorskip("av")
    whole = io.BytesIO()
    with av.open(whole, "w", format=kind) as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        samples = TONE.resampled(48_000).samples.T.copy()
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout="mono")
        frame.sample_rate = 48_000
        mover = av.AudioResampler(
            stream.codec_context.format, "mono", 48_000, frame_size=stream.frame_size
        )
        for each in [*mover.resample(frame), *mover.resample(None), None]:
            file.mux(stream.encode(each))
    audio = DecodingProcess().ask(whole.getvalue(), LIMITS)
    assert audio.duration_seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (b"", AudioFormatError),
        (b"this is no audio at all", AudioContainerError),
        (b"fLaC" + bytes(1000), AudioFormatError),
        (WAV[:30], AudioFormatError),
    ],
)
def test_what_is_wrong_with_a_file_is_told(file: bytes, error: type[AudioError]):
    with pytest.raises(error):
        DecodingProcess().ask(file, LIMITS)


def test_a_file_damaged_anywhere_is_audio_or_a_typed_error():
    lots = np.random.default_rng(7)

    async def call() -> None:
        async with AudioDecoder(max_seconds=60.0) as decoder:
            for format in ("flac", "ogg", "opus", "mp3", "wav"):
                for _ in range(4):
                    file = bytearray(TONE.encode(format))
                    for at in lots.integers(4, len(file), 20):
                        file[at] = lots.integers(256)
                    with suppress(AudioError):
                        await decoder.decode(bytes(file))

    run("asyncio", call)


# -- what is too much --------------------------------------------------------------------


def test_a_bomb_is_given_up_at_the_limit_of_seconds():
    encoder, minute = StreamEncoder("flac"), AudioData.silence(60.0, 8000)
    hour = b"".join([*(encoder.push(minute) for _ in range(60)), encoder.flush()])
    assert len(hour) < 200_000  # it decodes to 58 MB

    async def call() -> None:
        async with AudioDecoder(max_seconds=600.0) as decoder:
            with pytest.raises(AudioLimitError, match="longer than 600 s"):
                await decoder.decode(hour)
            with pytest.raises(AudioLimitError, match=r"longer than 0\.5 s"):
                await decoder.decode(WAV, max_seconds=0.5)
            assert await decoder.decode(WAV, max_seconds=1.0) == TONE

    run("asyncio", call)


def test_a_file_may_not_decode_to_more_bytes_than_allowed():
    with pytest.raises(AudioLimitError, match=r"longer than 0\.5 s"):
        DecodingProcess().ask(WAV, Limits(60.0, 16_000, 1 << 30, 30.0))


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not limit it")
def test_a_file_may_not_take_more_memory_than_allowed():
    with pytest.raises(AudioLimitError, match="memory"):
        DecodingProcess().ask(bytes(100_000_000), Limits(60.0, 1 << 24, 1 << 24, 30.0))


def test_a_file_may_not_take_more_time_than_allowed(
    program: Callable[[str], None], pids: list[int]
):
    program(HANGING)

    async def call() -> None:
        with pytest.raises(AudioLimitError, match="too much time or memory"):
            await AudioDecoder(timeout=0.3).decode(WAV)

    run("asyncio", call)
    assert not is_there(*pids)


CONFINED = """
import encodings.ascii, os, resource, socket
from realtime_stts.integrations._http._decoding_child import confine
from realtime_stts.integrations._http._decoding_wire import Limits
if os.geteuid() == 0:
    os.setuid(65534)  # root may start processes whatever the limit
confine(Limits(60.0, 1 << 24, 1 << 26, 1.0))
def refused(what):
    try:
        what()
    except (OSError, MemoryError) as exc:
        return type(exc).__name__
    return "allowed"
for what in (
    lambda: open("/etc/hostname"),
    lambda: open("/tmp/made-by-a-decoder", "w"),
    socket.socket,
    os.fork,
    lambda: bytearray(1 << 28),
):
    os.write(1, refused(what).encode() + b" ")
while True:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not limit all of it")
def test_a_process_can_open_nothing_start_nothing_and_take_only_so_much():
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], stdout=subprocess.PIPE, check=False, timeout=60
    )
    assert done.stdout.split() == [b"OSError"] * 3 + [b"BlockingIOError", b"MemoryError"]
    assert done.returncode < 0  # a signal, for its use of processor time


def test_a_process_is_given_nothing_of_the_environment(
    program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_TOKEN", "swordfish")
    program(
        READY + "sys.stdin.buffer.read(); "
        "say(b'E', ('f' + ' '.join(sorted(os.environ)) + ' in ' + os.getcwd()).encode())"
    )
    with pytest.raises(AudioFormatError, match="OPENBLAS_NUM_THREADS") as caught:
        DecodingProcess().ask(WAV, LIMITS)
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).endswith(f" in {os.path.abspath(os.sep)}")


# -- processes that misbehave ------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        CRASHING,
        LEAVING,
        READY + "sys.stdin.buffer.read(); os.write(1, b'what?')",
        READY + "sys.stdin.buffer.read(); os.write(1, b'S\\xff\\xff\\xff\\xff')",
        READY + "sys.stdin.buffer.read(); say(b'D')",
        READY + "sys.stdin.buffer.read(); say(b'L', b'1234'); say(b'D')",
        READY + "sys.stdin.buffer.read(); say(b'?')",
        READY + "sys.stdin.buffer.read(); [say(b'S', bytes(1 << 20)) for _ in range(99)]",
    ],
    ids=["crash", "exit", "noise", "length", "no layout", "layout", "tag", "too much"],
)
def test_a_process_that_dies_or_says_nonsense_is_a_file_that_cannot_be_decoded(
    program: Callable[[str], None], pids: list[int], code: str
):
    program(code)
    with pytest.raises(AudioLimitError, match="too much time or memory"):
        DecodingProcess().ask(WAV, LIMITS)
    assert not is_there(*pids)


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("say(b'L', struct.pack('<II', 16000, 1)); say(b'S', b'odd'); say(b'D')", AudioFormatError),
        ("say(b'L', struct.pack('<II', 1, 1)); say(b'D')", AudioFormatError),
        ("say(b'L', struct.pack('<II', 8000, 9)); say(b'D')", AudioFormatError),
        (
            "say(b'L', struct.pack('<II', 8000, 1)); say(b'S', bytes(961000)); say(b'D')",
            AudioLimitError,
        ),
        ("say(b'E', b'?what')", AudioFormatError),
        ("say(b'E', b'')", AudioFormatError),
        ("say(b'E', b'cno')", AudioContainerError),
    ],
)
def test_what_a_process_says_is_checked(
    program: Callable[[str], None], says: str, error: type[AudioError]
):
    program(READY + "sys.stdin.buffer.read(); " + says)
    with pytest.raises(error):
        DecodingProcess().ask(WAV, LIMITS)


def test_words_of_a_process_are_short_and_printable(program: Callable[[str], None]):
    program(READY + "sys.stdin.buffer.read(); say(b'E', b'lbad\\n\\x1b[2J\\xff' + b'x' * 9999)")
    with pytest.raises(AudioLimitError) as caught:
        DecodingProcess().ask(WAV, LIMITS)
    assert str(caught.value).startswith("bad[2J")
    assert len(str(caught.value)) <= 300


def test_a_process_that_takes_nothing_more_may_still_say_why(program: Callable[[str], None]):
    program(READY + "say(b'E', b'fenough'); os.close(0); sys.stdout.close(); os._exit(0)")
    with pytest.raises(AudioFormatError, match="enough"):
        DecodingProcess().ask(bytes(1 << 24), LIMITS)


def test_a_process_that_does_not_begin_is_not_the_files_fault(program: Callable[[str], None]):
    program("raise SystemExit")

    async def call() -> None:
        async with AudioDecoder() as decoder:
            with pytest.raises(NotReadyError, match="does not start"):
                await decoder.decode(WAV)

    run("asyncio", call)


def test_a_spare_process_that_died_meanwhile_is_not_missed(pids: list[int]):
    async def call() -> None:
        async with AudioDecoder() as decoder:
            await reached(lambda: len(pids) == 1)
            os.kill(pids[0], 9)
            assert await decoder.decode(WAV) == TONE

    run("asyncio", call)


def test_a_system_that_starts_no_process_is_overloaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def call() -> None:
        async with AudioDecoder() as decoder:
            with pytest.raises(OverloadedError, match="no process can be started"):
                await decoder.decode(WAV)

    run("asyncio", call)


def test_a_file_that_cannot_be_read_is_its_readers_error(pids: list[int]):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        DecodingProcess().ask(Broken(), LIMITS)
    assert not is_there(*pids)


# -- how many, how long, and what is left ------------------------------------------------


def test_a_task_that_asyncio_cancels_takes_the_process_along(
    program: Callable[[str], None], pids: list[int]
):
    program(HANGING)

    async def call() -> None:
        task = asyncio.create_task(AudioDecoder().decode(WAV))
        await reached(lambda: len(pids) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_there(*pids)

    run("asyncio", call)


@BACKENDS
def test_whoever_leaves_takes_the_process_along(
    backend: str, program: Callable[[str], None], pids: list[int]
):
    program(HANGING)

    async def call() -> None:
        decoder = AudioDecoder()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decoder.decode, WAV)
            await reached(lambda: len(pids) == 1)
            tasks.cancel_scope.cancel()
        assert not is_there(*pids)

    run(backend, call)


def test_whoever_leaves_while_a_process_is_not_listening_takes_it_along(
    program: Callable[[str], None], pids: list[int]
):
    program(READY + "time.sleep(3600)")

    async def call() -> None:
        with anyio.move_on_after(0.5):
            await AudioDecoder().decode(bytes(10_000_000))  # more than a pipe holds

    run("asyncio", call)
    assert not any(is_there(pid) for pid in pids)


@BACKENDS
def test_only_so_many_are_decoded_at_once_and_only_so_many_wait(
    backend: str, program: Callable[[str], None], pids: list[int]
):
    program(HANGING)

    async def call() -> None:
        decoder = AudioDecoder(max_processes=2, max_waiting=1)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(decoder.decode, WAV)
            await reached(lambda: len(pids) == 2)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(OverloadedError, match="try again in 2 s"):
                await decoder.decode(WAV)
            assert len(pids) == 2
            tasks.cancel_scope.cancel()

    run(backend, call)
    assert not any(is_there(pid) for pid in pids)


@BACKENDS
def test_a_decoder_that_closes_ends_what_it_has_begun(
    backend: str, program: Callable[[str], None], pids: list[int]
):
    program(HANGING)

    async def refused(decoder: AudioDecoder) -> None:
        with pytest.raises(OverloadedError, match="closed"):
            await decoder.decode(WAV)

    async def call() -> None:
        async with anyio.create_task_group() as tasks:
            async with AudioDecoder(max_processes=1) as decoder:
                await reached(lambda: len(pids) == 1)
                tasks.start_soon(refused, decoder)  # is being decoded
                tasks.start_soon(refused, decoder)  # waits
                await anyio.wait_all_tasks_blocked()
            await refused(decoder)

    run(backend, call)
    assert not any(is_there(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
def test_nothing_is_left_after_many_files(pids: list[int]):
    files = [WAV, b"", b"no audio", TONE.encode("flac"), WAV[:20]]
    threads = threading.active_count()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def call() -> None:
        before = descriptors()
        async with AudioDecoder(max_processes=2) as decoder:

            async def one(file: bytes, patience: float) -> None:
                with anyio.move_on_after(patience):
                    with suppress(AudioError):
                        await decoder.decode(file)

            async with anyio.create_task_group() as tasks:
                for n in range(15):
                    tasks.start_soon(one, files[n % len(files)], 0.01 if n % 4 == 3 else 60.0)
        assert descriptors() == before

    before = descriptors()
    run("asyncio", call)
    assert descriptors() == before
    assert not any(is_there(pid) for pid in pids)
    wait(lambda: threading.active_count() == threads)


def test_a_spare_process_is_ready_only_while_the_decoder_is_open(pids: list[int]):
    async def call() -> None:
        decoder = AudioDecoder()
        assert await decoder.decode(WAV) == TONE
        assert len(pids) == 1
        async with decoder:
            assert len(pids) == 2
            await decoder.decode(WAV)
            assert len(pids) == 3

    run("asyncio", call)
    assert not any(is_there(pid) for pid in pids)


def test_a_process_killed_before_it_started_never_starts(pids: list[int]):
    process = DecodingProcess()
    process.kill()
    process.start()
    with pytest.raises(AudioLimitError):
        process.ask(WAV, LIMITS)
    process.end()
    assert process.pid is None
    assert pids == []


def test_a_process_killed_before_it_was_ready_says_so(program: Callable[[str], None]):
    program("import time; time.sleep(3600)")
    process = DecodingProcess()
    process.start()
    assert process.pid is not None
    threading.Timer(0.1, process.kill).start()
    with pytest.raises(AudioLimitError):
        process.ask(WAV, LIMITS)


def test_where_there_are_no_process_groups_the_process_alone_is_killed(
    monkeypatch: pytest.MonkeyPatch, pids: list[int]
):
    process = DecodingProcess()
    process.start()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        process.end()
    assert not is_there(*pids)


@pytest.mark.parametrize("option", ["max_seconds", "timeout", "max_memory", "max_processes"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_are_above_0(option: str, value: float):
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match="above 0"):
        AudioDecoder(**options)


def test_the_limits_of_a_call_are_above_0_too():
    with pytest.raises(ValueError, match="0 or more may wait"):
        AudioDecoder(max_waiting=-1)
    with pytest.raises(ValueError, match="above 0"):
        run("asyncio", partial(AudioDecoder().decode, WAV, max_seconds=0.0))


# -- what the process does, without one --------------------------------------------------


def told(file: bytes, limits: Limits = LIMITS, *, line: bytes | None = None) -> list[Any]:
    said: list[Any] = []
    stdin = io.BytesIO((limits.line() if line is None else line) + file)
    serve(stdin, lambda tag, payload=b"": said.append((tag, payload)), lambda _: None)
    return said


def test_it_tells_the_layout_then_samples_then_that_it_is_done():
    said = told(WAV)
    assert b"".join(tag for tag, _ in said[:3]) == b"RLS"
    assert b"".join(payload for tag, payload in said if tag == b"S") == TONE.data
    assert said[-1] == (b"D", b"")


def test_a_spare_one_that_is_not_needed_ends():
    assert told(b"", line=b"") == [(b"R", b"")]


def test_it_tells_of_errors_by_their_kind():
    assert told(b"no audio")[-1][1].startswith(b"cthe content is not audio")
    assert told(WAV[:20])[-1][1].startswith(b"f")
    assert told(WAV, Limits(0.5, 1 << 24, 1, 1.0))[-1] == (b"E", b"lthe audio is longer than 0.5 s")


@pytest.mark.parametrize(
    ("raised", "told_as"), [(MemoryError, b"lthe file takes"), (ZeroDivisionError, b"fthe file is")]
)
def test_whatever_a_library_raises_is_about_the_file(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], told_as: bytes
):
    from realtime_stts.integrations._http import _decoding_formats as formats

    def broken(file: object) -> None:
        raise raised

    monkeypatch.setattr(formats, "rehearse", lambda: None)
    monkeypatch.setattr(formats, "pieces", broken)
    assert told(WAV)[-1][1].startswith(told_as)


class Limited:
    """A system's limits, of which it lacks one and refuses another."""

    RUSAGE_SELF = 0
    RLIMIT_CORE, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_AS = "core", "cpu", "files", "memory"
    RLIMIT_FSIZE = "refused"

    def __init__(self) -> None:
        self.set: dict[str, int] = {}

    def getrusage(self, who: int) -> SimpleNamespace:
        return SimpleNamespace(ru_utime=0.4, ru_stime=0.2)

    def setrlimit(self, name: str, values: tuple[int, int]) -> None:
        if name == "refused":
            raise ValueError(name)
        assert values[0] == values[1]
        self.set[name] = values[0]


def test_limits_that_a_system_lacks_are_done_without(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    system = Limited()
    monkeypatch.setitem(sys.modules, "resource", system)
    confine(Limits(60.0, 1 << 24, 1 << 30, 1.5))
    os.write(2, b"a library's words about somebody's file")
    assert capfd.readouterr().err == ""
    assert system.set.pop("memory") > 1 << 30  # in addition to what there is already
    assert system.set == {"core": 0, "cpu": 3, "files": 3}

    def hidden(*_: object, **__: object) -> None:
        raise FileNotFoundError("/proc")

    system.set.clear()
    monkeypatch.setattr("builtins.open", hidden)
    confine(Limits(60.0, 1 << 24, 1 << 30, 1.5))
    monkeypatch.undo()
    assert system.set == {"core": 0, "cpu": 3, "files": 3}


def test_windows_has_none_of_these_limits(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    system = Limited()
    monkeypatch.setitem(sys.modules, "resource", system)
    monkeypatch.setattr(sys, "platform", "win32")
    confine(LIMITS)
    monkeypatch.undo()
    assert system.set == {}


def test_it_reads_stdin_and_tells_stdout(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    main()
    assert capfdbinary.readouterr().out == HEADER.pack(b"R", 0)


def test_a_frame_is_a_tag_a_length_and_so_many_bytes():
    assert HEADER.pack(b"S", 3) == b"S\x03\0\0\0"
