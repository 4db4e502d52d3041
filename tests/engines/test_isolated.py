"""An engine in a process of its own: whatever that process does, the caller goes on."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from realtime_stts import AudioData, ManagedSTTEngine, ManagedTTSEngine
from realtime_stts.engines import _isolated_process, load_stt, load_tts
from realtime_stts.engines._isolated_wire import WINDOW
from realtime_stts.engines.isolated import IsolatedSTTEngine, IsolatedTTSEngine, _Crashes
from realtime_stts.errors import (
    AudioFormatError,
    EngineCrashedError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineTimeoutError,
    OverloadedError,
    UnknownEngineError,
)
from realtime_stts.testing import no_leaks, virtual_time

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them"),
]

# What does not depend on the caller's event loop is seen on one of them.
on_one_loop = pytest.mark.parametrize("anyio_backend", [virtual_time("trio")], ids=["trio"])

CHUNK = AudioData.silence(0.1, 16_000)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def another_package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process in which the obedient engines are installed."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "obedient_engines.py").write_text((HERE / "isolated_engines.py").read_text())
    info = folder / "obedient-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[realtime_stts.tts]\nobedient = obedient_engines:ObedientTTS\n"
        "[realtime_stts.stt]\nobedient = obedient_engines:ObedientSTT\n"
    )
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def tts(another_package: dict[str, str]) -> Callable[..., IsolatedTTSEngine]:
    def make(spec: str = "obedient", **settings: Any) -> IsolatedTTSEngine:
        variables = {**another_package, **settings.pop("environment", {})}
        return IsolatedTTSEngine(spec, environment=variables, **settings)

    return make


@pytest.fixture
def stt(another_package: dict[str, str]) -> Callable[..., IsolatedSTTEngine]:
    def make(spec: str = "obedient", **settings: Any) -> IsolatedSTTEngine:
        return IsolatedSTTEngine(spec, environment=another_package, **settings)

    return make


Make = Callable[..., IsolatedTTSEngine]
MakeSTT = Callable[..., IsolatedSTTEngine]


async def state(engine: IsolatedTTSEngine) -> tuple[int, int, int, int]:
    """The engine's process id, chunks made, calls withdrawn, and id of what it left."""
    voices = await engine.list_voices()
    pid, n_made, n_withdrawn, left = map(int, voices[0]["state"].split())
    return pid, n_made, n_withdrawn, left


async def ended(*pids: int) -> None:
    """Wait until there are no such processes."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            readable, _, _ = await anyio.to_thread.run_sync(
                select.select, [descriptor], [], [], 30.0
            )
            assert readable, f"process {pid} goes on"
        finally:
            os.close(descriptor)


async def collect(chunks: AsyncGenerator[AudioData]) -> list[AudioData]:
    return [chunk async for chunk in chunks]


# -- an ordinary engine ------------------------------------------------------------------


@on_one_loop
async def test_the_engine_is_in_another_process(tts: Make, stt: MakeSTT) -> None:
    async with tts() as voice, stt() as ear:
        assert isinstance(voice, ManagedTTSEngine)
        assert isinstance(ear, ManagedSTTEngine)
        pid, *_ = await state(voice)
        assert pid != os.getpid()
        assert voice.pid == pid
        assert (await ear.transcribe(CHUNK)).text == "1600 frames"
        assert voice.name == "obedient"
    await ended(pid)
    assert voice.pid is None


@on_one_loop
async def test_its_options_and_variables_reach_it(tts: Make) -> None:
    options = {"folder": Path("models"), "sizes": (1, 2), "seed": None}
    async with tts(options=options, environment={"ODD_HOME": "/odd"}) as engine:
        (voice,) = await engine.list_voices()
        assert (voice["options"], voice["home"]) == (options, "/odd")


async def test_audio_streams_both_ways(tts: Make, stt: MakeSTT) -> None:
    async def source() -> AsyncGenerator[AudioData]:
        for _ in range(50):
            yield CHUNK

    async with tts() as voice, stt() as ear:
        async with aclosing(voice.stream("chunks 50")) as chunks:
            assert await collect(chunks) == [CHUNK] * 50
        async with aclosing(source()) as audio, aclosing(ear.stream(audio)) as results:
            texts = [result.text async for result in results]
        assert texts == [*(f"{1600 * n} frames" for n in range(1, 51)), "80000 frames"]


@on_one_loop
async def test_a_long_clip_goes_through_while_others_are_answered(stt: MakeSTT) -> None:
    clip = AudioData(bytes(20_000_000), 48_000)
    texts = []

    async def hear(audio: AudioData) -> None:
        texts.append((await engine.transcribe(audio)).text)

    async with stt() as engine, anyio.create_task_group() as tasks:
        for audio in [clip, *[CHUNK] * 9]:
            tasks.start_soon(hear, audio)
        # Left when all are done.
    assert sorted(texts) == sorted(["10000000 frames", *["1600 frames"] * 9])


async def test_many_calls_share_one_process(tts: Make) -> None:
    async def listen() -> None:
        async with aclosing(engine.stream("chunks 20")) as chunks:
            heard.append(await collect(chunks))

    heard: list[list[AudioData]] = []
    async with tts() as engine:
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(listen)
        assert heard == [[CHUNK] * 20] * 30
        assert (await state(engine))[1] == 600


def test_one_engine_serves_one_event_loop_after_another(tts: Make) -> None:
    engine, pids = tts(), []

    async def use() -> None:
        pids.append((await state(engine))[0])

    for backend in ("asyncio", "trio", "asyncio"):
        name, options = virtual_time(backend)
        anyio.run(use, backend=name, backend_options=options)
    anyio.run(engine.unload)
    assert len({*pids}) == 1


async def test_it_ends_with_its_engine(tts: Make) -> None:
    """One that nobody unloads, and nobody has any more."""
    engine = tts()
    pid, *_ = await state(engine)
    async with no_leaks():
        del engine
        gc.collect()
        await ended(pid)


async def test_nothing_is_left_open(tts: Make) -> None:
    async with tts() as engine:  # what is opened once, is
        await state(engine)
    before = os.listdir("/proc/self/fd")
    async with no_leaks():
        for _ in range(2):
            async with tts() as engine:
                with pytest.raises(EngineCrashedError):
                    await engine.synthesize("exit 1")
    assert os.listdir("/proc/self/fd") == before


@on_one_loop
async def test_a_forked_process_leaves_it_alone(tts: Make) -> None:
    async with tts() as engine:
        pid, *_ = await state(engine)
        if (fork := os.fork()) == 0:
            engine._place.clear()
            os._exit(0)
        assert os.waitpid(fork, 0) == (fork, 0)  # noqa: ASYNC222 - it ends at once
        assert (await state(engine))[0] == pid


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"python": "no-such-environment"}, "env create"),
        ({"options": {"model": object()}}, "cannot be sent"),
        ({"timeout": 0.0}, "timeout"),
        ({"heartbeat": float("nan")}, "heartbeat"),
        ({"memory_limit": 0}, "memory_limit"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IsolatedTTSEngine("espeak", **settings)


# -- errors ------------------------------------------------------------------------------


@on_one_loop
@pytest.mark.parametrize("kind", [AudioFormatError, OverloadedError, EngineMemoryError])
async def test_its_errors_are_raised_here(tts: Make, kind: type[Exception]) -> None:
    async with tts() as engine:
        with pytest.raises(kind) as caught:
            await engine.synthesize(f"raise {kind.__name__}")
        assert "obey_at_once" in str(caught.value.__cause__)
        with pytest.raises(EngineError, match="obedient: KeyError"):
            await engine.synthesize("raise KeyError")
        async with aclosing(engine.stream(f"raise {kind.__name__}")) as chunks:
            assert await anext(chunks) == CHUNK
            with pytest.raises(kind):
                await anext(chunks)


@on_one_loop
async def test_an_engine_that_cannot_be_made_says_why_at_every_call(tts: Make) -> None:
    engine = tts("nobody")
    for _ in range(2):
        with pytest.raises(UnknownEngineError, match="obedient"):
            await engine.load()
    assert not engine.model_loaded
    refusing = tts("espeak", options={"rate": 1})
    with pytest.raises((ValueError, ImportError)):
        await refusing.load()


@on_one_loop
async def test_an_engine_that_does_not_start_is_not_available(stt: MakeSTT) -> None:
    async with stt() as engine:
        assert await engine.is_available()
    assert not await stt("nobody").is_available()
    assert not await stt("obedient:exit 1").is_available()


# -- a process that ends -----------------------------------------------------------------


@on_one_loop
@pytest.mark.parametrize(
    ("order", "message", "code"),
    [
        ("exit 3", "exit code 3", 3),
        ("segfault", "SIGSEGV.*Segmentation fault", -signal.SIGSEGV),
    ],
)
async def test_a_crash_fails_the_call_and_the_next_one_works(
    tts: Make, order: str, message: str, code: int
) -> None:
    async with tts() as engine:
        first, *_ = await state(engine)
        with pytest.raises(EngineCrashedError, match=f"(?s){message}") as caught:
            await engine.synthesize(order)
        assert caught.value.exit_code == code
        assert not engine.model_loaded
        second, *_ = await state(engine)
        assert second != first


async def test_killed_in_the_middle_of_streams_it_fails_each_with_an_error_of_its_own(
    tts: Make,
) -> None:
    listening = anyio.Event()
    failures: list[EngineCrashedError] = []

    async def listen() -> None:
        nonlocal n_listening
        async with aclosing(engine.stream("chunks 1000000")) as chunks:
            await anext(chunks)
            n_listening += 1
            if n_listening == 3:
                listening.set()
            with pytest.raises(EngineCrashedError, match="SIGKILL") as caught:
                await collect(chunks)
        failures.append(caught.value)

    n_listening = 0
    async with tts() as engine:
        pid, *_ = await state(engine)
        async with no_leaks(), anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(listen)
            await listening.wait()
            os.kill(pid, signal.SIGKILL)
        assert len({id(failure) for failure in failures}) == 3
        assert (await engine.synthesize("hello")).text == "hello"


@on_one_loop
async def test_its_last_words_are_in_the_error(tts: Make) -> None:
    async with tts() as engine:
        await engine.synthesize("say " + "x" * 10_000)
        await engine.synthesize("say the GPU has fallen off the bus")
        with pytest.raises(EngineCrashedError, match="fallen off the bus") as caught:
            await engine.synthesize("exit 1")
        assert len(str(caught.value)) < 5_000


@on_one_loop
async def test_a_crash_takes_along_what_the_engine_started(tts: Make) -> None:
    async with tts() as engine:
        await engine.synthesize("leave")
        *_, left = await state(engine)
        with pytest.raises(EngineCrashedError):
            await engine.synthesize("exit 1")
        await ended(left)


@on_one_loop
async def test_one_crash_after_another_and_it_still_works_in_the_end(tts: Make) -> None:
    async with tts() as engine:
        for _ in range(3):
            with pytest.raises(EngineCrashedError):
                await engine.synthesize("exit 1")
        assert (await engine.synthesize("hello")).text == "hello"


def test_the_wait_before_a_start_doubles_with_every_crash_in_a_row() -> None:
    crashes = _Crashes()
    waits = []
    for _ in range(9):
        crashes.ended(10.0, badly=True, worked=False)
        waits.append(crashes.rest(10.0))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert crashes.rest(39.0) == 1.0
    assert crashes.rest(41.0) == 0.0
    crashes.ended(50.0, badly=True, worked=True)
    assert crashes.rest(50.0) == 0.0


# -- cancellation and deadlines ----------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cancelled_call_is_withdrawn_and_the_process_goes_on(
    tts: Make, streaming: bool
) -> None:
    begun = anyio.Event()

    async def hang() -> None:
        if streaming:
            async with aclosing(engine.stream("hang")) as chunks:
                async for _ in chunks:
                    begun.set()
        else:
            begun.set()
            await engine.synthesize("hang")

    async with tts() as engine:
        pid, *_ = await state(engine)
        async with no_leaks(), anyio.create_task_group() as tasks:
            tasks.start_soon(hang)
            await begun.wait()
            await state(engine)  # which comes after the call
            tasks.cancel_scope.cancel()
        # The process takes a cancellation before what is asked after it.
        assert await state(engine) == (pid, int(streaming), 1, 0)


async def test_a_closed_stream_is_made_no_further(tts: Make) -> None:
    async with tts() as engine:
        async with aclosing(engine.stream("chunks 1000000")) as chunks:
            await anext(chunks)
        _, n_made, *_ = await state(engine)
        _, later, *_ = await state(engine)
        assert n_made == later <= 2 * WINDOW


async def test_a_call_that_takes_too_long_is_withdrawn(tts: Make) -> None:
    async with tts(timeout=0.3) as engine:
        pid, *_ = await state(engine)
        with pytest.raises(EngineTimeoutError, match=r"0\.3 s"):
            await engine.synthesize("hang")
        assert (await state(engine))[0] == pid


@on_one_loop
async def test_a_call_that_cannot_be_withdrawn_costs_the_process(tts: Make) -> None:
    async with tts(timeout=0.3, grace=0.1) as engine:
        pid, *_ = await state(engine)
        with pytest.raises(EngineTimeoutError):
            await engine.synthesize("hang on")
        await ended(pid)


@on_one_loop
async def test_a_process_that_gives_no_sign_of_life_is_killed(tts: Make) -> None:
    async with tts(heartbeat=1.0) as engine:
        with pytest.raises(EngineCrashedError, match="did not answer for 1 s"):
            await engine.synthesize("stop")
        assert (await engine.synthesize("hello")).text == "hello"


@on_one_loop
async def test_a_process_that_never_begins_is_killed(tmp_path: Path) -> None:
    python = script(tmp_path, "exec sleep 600")
    engine = IsolatedTTSEngine("espeak", python=python, start_timeout=0.2)
    async with no_leaks():
        with pytest.raises(EngineLoadError, match=r"nothing within 0\.2 s"):
            await engine.load()


async def test_unload_waits_for_calls_and_ends_one_that_would_not_end(tts: Make) -> None:
    engine = tts(grace=0.1)
    pid, *_ = await state(engine)
    await engine.synthesize("leave")
    await engine.unload()
    assert not engine.model_loaded
    await ended(pid)


async def test_a_cancelled_unload_unloads_nevertheless(tts: Make) -> None:
    engine = tts()
    pid, *_ = await state(engine)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.unload)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await ended(pid)


# -- bounds ------------------------------------------------------------------------------


async def test_a_slow_reader_holds_up_the_engine(tts: Make) -> None:
    async with tts() as engine, aclosing(engine.stream("chunks 1000000")) as chunks:
        n_read = 0
        async for _ in chunks:
            n_read += 1
            if n_read == 30:
                break
        for _ in range(5):
            _, n_made, *_ = await state(engine)
        assert n_made <= n_read + 2 * WINDOW


@on_one_loop
async def test_a_slow_engine_holds_up_its_source(stt: MakeSTT) -> None:
    n_given = 0

    async def endless() -> AsyncGenerator[AudioData]:
        nonlocal n_given
        while True:
            n_given += 1
            yield CHUNK

    async with stt(timeout=0.3) as engine, aclosing(endless()) as source:
        with pytest.raises(EngineTimeoutError):
            async with aclosing(engine.stream(source, "hang")) as results:
                await anext(results)
    assert n_given == WINDOW + 1


@on_one_loop
async def test_a_process_has_no_more_memory_than_it_may(tts: Make) -> None:
    async with tts(memory_limit=1 << 30) as engine:
        await engine.synthesize("eat 100")
        with pytest.raises((EngineMemoryError, EngineCrashedError)):
            await engine.synthesize("eat 2000")
        assert (await engine.synthesize("hello")).text == "hello"


# -- what is not for us ------------------------------------------------------------------


@on_one_loop
async def test_what_the_engine_prints_is_not_taken_for_a_message(tts: Make) -> None:
    async with tts() as engine:
        await engine.synthesize("print hello from C")
        with pytest.raises(EngineCrashedError, match="hello from C"):
            await engine.synthesize("exit 1")


@on_one_loop
async def test_what_is_printed_before_the_process_begins_is_not_either(
    tts: Make, tmp_path: Path, another_package: dict[str, str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, b'welcome')")
    paths = os.pathsep.join([str(tmp_path), another_package["PYTHONPATH"]])
    async with tts(environment={"PYTHONPATH": paths}) as engine:
        with pytest.raises(EngineCrashedError, match="welcome"):
            await engine.synthesize("exit 1")


@on_one_loop
async def test_who_writes_into_the_pipe_itself_ends_the_process(tts: Make) -> None:
    async with tts() as engine:
        with pytest.raises(EngineCrashedError, match="no frame begins with b'rubbish"):
            await engine.synthesize("scribble rubbish")
        assert (await engine.synthesize("hello")).text == "hello"


def script(folder: Path, body: str) -> Path:
    """A file in place of a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@on_one_loop
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('echo \'realtime-stts engine process [7, "9.9", "3.8.1"]\'; sleep 9', "version 7"),
        ("echo >&2 No module named realtime_stts; exit 1", "No module named realtime_stts"),
        ("cat /dev/zero", "does not run|not for us"),
    ],
)
async def test_an_interpreter_of_another_kind_is_refused_with_the_reason(
    tmp_path: Path, body: str, message: str
) -> None:
    body = body.replace("echo 'realtime", "echo; echo 'realtime")
    engine = IsolatedTTSEngine("espeak", python=script(tmp_path, body))
    async with no_leaks():
        with pytest.raises(EngineError, match=message):
            await engine.load()


@on_one_loop
async def test_an_interpreter_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_bytes(b"\x7fnot a program")
    python.chmod(0o755)
    with pytest.raises(EngineLoadError, match="cannot start"):
        await IsolatedTTSEngine("espeak", python=python).load()


# -- this process ------------------------------------------------------------------------


PARENT = """
import os, signal, sys, anyio
from realtime_stts.engines.isolated import IsolatedTTSEngine

# Whoever runs these tests in the background of a shell has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    engine = IsolatedTTSEngine("obedient")
    (voice,) = await engine.list_voices()
    print(voice["state"].split()[0], flush=True)
    {}

anyio.run(main)
"""


@on_one_loop
@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), 9)", "await engine.synthesize('hang')", "pass"]
)
async def test_it_ends_with_the_process_that_started_it(
    another_package: dict[str, str], end: str
) -> None:
    """Killed, interrupted while a call is under way, or at its own end."""

    def run() -> tuple[int, str, str]:
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PARENT.format(end)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **another_package},
        ) as parent:
            assert parent.stdout
            pid = int(parent.stdout.readline())
            if "hang" in end:
                parent.send_signal(signal.SIGINT)
            _, said = parent.communicate(timeout=30)
            return pid, said, str(parent.returncode)

    pid, said, code = await anyio.to_thread.run_sync(run)
    if end == "pass":
        assert (said, code) == ("", "0")
    await ended(pid)


def other_python() -> Path:
    """One with an older NumPy, where there is one."""
    return HERE.parents[1] / ".venv-models" / "bin" / "python"


@on_one_loop
@pytest.mark.skipif(
    not other_python().exists() or Path(sys.prefix).name == ".venv-models",
    reason="there is no other environment",
)
async def test_the_engine_may_have_another_environment(tts: Make) -> None:
    async with tts(python=other_python()) as engine:
        assert (await engine.synthesize("hello")).audio_data == CHUNK
        with pytest.raises(EngineCrashedError):
            await engine.synthesize("exit 1")


def test_an_engine_is_isolated_by_name() -> None:
    assert isinstance(load_tts("isolated:espeak:en-gb"), IsolatedTTSEngine)
    assert isinstance(load_stt("isolated:whisper:base"), IsolatedSTTEngine)


def test_variables_that_name_packages_are_not_for_another_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/packages")
    here = IsolatedTTSEngine("espeak", python=None)._launch
    assert _isolated_process._environment(here)["PYTHONPATH"] == "/packages"
    there = IsolatedTTSEngine("espeak", python="/bin/sh")._launch
    assert "PYTHONPATH" not in _isolated_process._environment(there)
