"""What goes wrong with engines on Ray unless somebody saw to it, each with its test.

Ray does not cancel a replica's work with its caller's, lets a stream run ahead of its reader,
refuses a burst while slots are free, and wraps the errors of others in its own.
"""

from __future__ import annotations

import os
import site
import sys
import venv
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import anyio.to_thread
import pytest

pytest.importorskip("ray.serve")

import ray
from ray import cloudpickle, serve

from benchmarks.ray_cluster import replicas_of
from realtime_stts import AudioData
from realtime_stts.errors import (
    EngineCrashedError,
    EngineLoadError,
    EngineMemoryError,
    EngineTimeoutError,
    OverloadedError,
)
from realtime_stts.integrations.ray import (
    Autoscaling,
    RaySTTEngine,
    RayTTSEngine,
    deploy_stt,
    deploy_tts,
    undeploy,
)
from realtime_stts.testing import ToneSTTEngine, speak_tones, tone_text
from tests.integrations.ray import trap_engines
from tests.integrations.ray.trap_engines import FastTTS, Journal, SlowSTT, ThreadedTTS

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("ray_cluster"),
]

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
on_one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])

CLIP = speak_tones("hello there", 16_000)
LONG = "many words " * 400  # minutes of speech, in thousands of chunks
SLOTS = 3  # of each of the two replicas that hear
# Chunks that may be made before the reader has asked for them: what an edge and a replica allow
# each other, 8, and some room. However long the stream is, there are no more.
AHEAD = 16
NEW_VOICES = [f"voice-{n}" for n in range(8)]


@pytest.fixture(autouse=True, scope="module")
def engines_travel_by_value() -> Iterator[None]:
    """A replica has the library, and not these tests."""
    cloudpickle.register_pickle_by_value(trap_engines)
    yield
    cloudpickle.unregister_pickle_by_value(trap_engines)


@pytest.fixture(scope="module")
def hearing(ray_cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """Two replicas that take calls for as long as they are told to hold them."""
    journal = Journal(tmp_path_factory.mktemp("hearing") / "journal")
    deploy_stt(partial(SlowSTT, journal), name="hearing", replicas=2, slots=SLOTS, cpus=0.1)
    yield journal
    undeploy("hearing")


@pytest.fixture(scope="module")
def speaking(ray_cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """Two replicas that speak as fast as they are heard."""
    journal = Journal(tmp_path_factory.mktemp("speaking") / "journal")
    factory = partial(FastTTS, journal, ("one", *NEW_VOICES))
    deploy_tts(factory, name="speaking", replicas=2, slots=4, cpus=0.1)
    yield journal
    undeploy("speaking")


@contextmanager
def held(journal: Journal) -> Iterator[Callable[[], None]]:
    """Nothing is heard to its end before this block has ended, or called what it got."""
    hold = journal.path.with_name("hold")
    hold.touch()
    try:
        yield partial(hold.unlink, missing_ok=True)
    finally:
        hold.unlink(missing_ok=True)


async def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what has to become true, however long a busy machine takes for it."""
    with anyio.fail_after(seconds):
        while not await anyio.to_thread.run_sync(true):  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.02)


def noted(journal: Journal, what: str, times: int) -> Callable[[], bool]:
    """Whether that stands in the journal so often."""
    return lambda: journal.count(what) >= times


async def nothing_is_left(engine: RaySTTEngine | RayTTSEngine, deployment: str) -> None:
    """Every slot is free again, by the edge's count and by Serve's."""

    def free() -> bool:
        now = engine.statistics()
        if now.running or now.waiting:
            return False
        return all(replica.ongoing == 0 for replica in replicas_of(deployment))

    await until(free)


# -- cancelling ----------------------------------------------------------------------------


@on_both_loops
async def test_a_one_shot_call_that_is_cancelled_ends_in_the_replica(hearing: Journal) -> None:
    begun, withdrawn = hearing.count("begun"), hearing.count("withdrawn")
    async with RaySTTEngine("hearing") as stt:
        with held(hearing):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stt.transcribe, CLIP)
                await until(noted(hearing, "begun", begun + 1))
                tasks.cancel_scope.cancel()
            await until(noted(hearing, "withdrawn", withdrawn + 1))
        await nothing_is_left(stt, "hearing")


@on_both_loops
async def test_a_stream_that_is_left_ends_in_the_replica(speaking: Journal) -> None:
    withdrawn = speaking.count("withdrawn")
    async with RayTTSEngine("speaking") as tts:
        async with aclosing(tts.stream(LONG)) as chunks:
            assert (await anext(chunks)).duration_seconds > 0
        await until(noted(speaking, "withdrawn", withdrawn + 1))
        await nothing_is_left(tts, "speaking")


@on_both_loops
async def test_a_cancelled_reader_withdraws_its_stream(speaking: Journal) -> None:
    withdrawn = speaking.count("withdrawn")
    reading = anyio.Event()

    async def read(tts: RayTTSEngine) -> None:
        async with aclosing(tts.stream(LONG)) as chunks:
            async for _ in chunks:
                reading.set()

    async with RayTTSEngine("speaking") as tts:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, tts)
            await reading.wait()
            tasks.cancel_scope.cancel()
        await until(noted(speaking, "withdrawn", withdrawn + 1))
        await nothing_is_left(tts, "speaking")


@on_both_loops
async def test_a_stream_of_sound_that_is_cancelled_ends_in_the_replica(hearing: Journal) -> None:
    begun, withdrawn = hearing.count("begun"), hearing.count("withdrawn")

    async def endless() -> AsyncGenerator[AudioData]:
        while True:
            yield AudioData.silence(0.1, 16_000)
            await anyio.sleep(0.05)

    async def listen(stt: RaySTTEngine) -> None:
        async with aclosing(endless()) as audio, aclosing(stt.stream(audio)) as results:
            async for _ in results:
                pass

    async with RaySTTEngine("hearing") as stt:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, stt)
            await until(noted(hearing, "begun", begun + 1))
            tasks.cancel_scope.cancel()
        await until(noted(hearing, "withdrawn", withdrawn + 1))
        await nothing_is_left(stt, "hearing")


@on_one_loop
async def test_work_in_a_thread_is_withdrawn_too(tmp_path: Path) -> None:
    """Serve cannot cancel what blocks; the engine's own thread asks whether it still should."""
    journal = Journal(tmp_path / "journal")
    factory = partial(ThreadedTTS, journal)
    tts = await anyio.to_thread.run_sync(
        partial(deploy_tts, factory, name="threaded", slots=1, cpus=0.1)
    )
    async with tts:
        for n in (1, 2):  # the second has its turn only if the first is gone
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tts.synthesize, "this never ends", {})
                await until(noted(journal, "begun", n))
                tasks.cancel_scope.cancel()
            await until(noted(journal, "withdrawn", n))
    await anyio.to_thread.run_sync(undeploy, "threaded")


# -- how much at a time --------------------------------------------------------------------


@on_one_loop
async def test_a_slow_reader_holds_the_replica_up(speaking: Journal) -> None:
    before = speaking.count("chunk")
    async with RayTTSEngine("speaking") as tts:
        async with aclosing(tts.stream(LONG)) as chunks:
            for _ in range(5):
                await anext(chunks)
            # While it reads no more, the replicas have time for many other calls.
            for _ in range(40):
                await tts.synthesize("a word", {})
            assert speaking.count("chunk") - before <= 5 + AHEAD
            # It was held up, and has not ended: the rest comes when it is asked for.
            for _ in range(2 * AHEAD):
                await anext(chunks)
            assert speaking.count("chunk") - before >= 5 + 2 * AHEAD
        await nothing_is_left(tts, "speaking")


@on_one_loop
async def test_a_burst_as_large_as_all_slots_is_never_refused(hearing: Journal) -> None:
    async with RaySTTEngine("hearing", max_waiting=0) as stt:
        assert stt.statistics().slots == 2 * SLOTS
        for _ in range(3):
            begun = hearing.count("begun")
            with held(hearing) as release:
                async with anyio.create_task_group() as tasks:
                    for _ in range(2 * SLOTS):
                        tasks.start_soon(stt.transcribe, CLIP)
                    await until(noted(hearing, "begun", begun + 2 * SLOTS))
                    release()
        assert stt.statistics().refused == 0


@on_one_loop
async def test_more_than_slots_and_room_is_refused_and_told_when(hearing: Journal) -> None:
    async with RaySTTEngine("hearing", max_waiting=2) as stt:
        await stt.transcribe(CLIP)  # how long a call takes is known from one that was answered
        with held(hearing) as release:
            async with anyio.create_task_group() as tasks:
                for _ in range(2 * SLOTS + 2):
                    tasks.start_soon(stt.transcribe, CLIP)
                await until(lambda: stt.statistics().waiting == 2)
                with pytest.raises(OverloadedError) as refused:
                    await stt.transcribe(CLIP)
                assert refused.value.retry_after is not None
                assert refused.value.retry_after > 0
                release()
        assert stt.statistics().refused == 1
        await nothing_is_left(stt, "hearing")


@on_one_loop
async def test_edges_have_a_share_of_the_slots(hearing: Journal) -> None:
    """Two edges at a half each: together they never ask for more than there is."""
    begun = hearing.count("begun")
    async with RaySTTEngine("hearing", share=0.5) as one, RaySTTEngine("hearing", share=0.5) as two:
        assert one.statistics().slots == two.statistics().slots == SLOTS
        with held(hearing) as release:
            async with anyio.create_task_group() as tasks:
                for _ in range(SLOTS + 1):
                    tasks.start_soon(one.transcribe, CLIP)
                    tasks.start_soon(two.transcribe, CLIP)
                await until(noted(hearing, "begun", begun + 2 * SLOTS))
                assert one.statistics().waiting == two.statistics().waiting == 1
                release()


# -- errors and deaths ---------------------------------------------------------------------


@on_one_loop
async def test_an_engines_own_error_arrives_as_what_it_was(speaking: Journal) -> None:
    async with RayTTSEngine("speaking") as tts:
        with pytest.raises(EngineMemoryError, match="no memory for this"):
            async with aclosing(tts.stream("fail now")) as chunks:
                await anext(chunks)
        with pytest.raises(ValueError, match="no voice is called 'nobody'"):
            await tts.synthesize("hello", {"voice_id": "nobody"})
        assert tts.statistics().retried == 0  # another replica would say the same
        await nothing_is_left(tts, "speaking")


@on_both_loops
async def test_a_replica_that_dies_in_a_stream_fails_it_after_what_it_gave(
    speaking: Journal,
) -> None:
    chunks = []
    async with RayTTSEngine("speaking") as tts:
        with pytest.raises(EngineCrashedError):  # noqa: PT012 - where it fails is looked at
            async with aclosing(tts.stream("die in the middle of this")) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
                    if len(chunks) == 3:
                        speaking.path.with_name("heard").touch()
        assert len(chunks) == 3
        assert tts.statistics().retried == 0
        # The next call is the other replica's; nobody waits for the dead one's successor.
        spoken = await tts.synthesize("and on", {})
        assert tone_text(spoken.audio_data) == "and on"


@on_one_loop
async def test_a_replica_that_dies_before_the_first_result_is_not_seen(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    tts = await anyio.to_thread.run_sync(
        partial(deploy_tts, partial(FastTTS, journal), name="mortal", replicas=2, cpus=0.1)
    )
    async with tts:
        async with aclosing(tts.stream("die-once and speak")) as stream:
            chunks = [chunk async for chunk in stream]
        assert tone_text(AudioData.concat(chunks)) == "die-once and speak"
        assert tts.statistics().retried == 1
        assert journal.count("died") == 1
    await anyio.to_thread.run_sync(undeploy, "mortal")


@on_both_loops
async def test_a_deadline_ends_the_work_in_the_replica(hearing: Journal) -> None:
    begun, ended = hearing.count("begun"), hearing.count("withdrawn")
    async with RaySTTEngine("hearing", timeout=1.0) as stt:
        with held(hearing):
            with pytest.raises(EngineTimeoutError):
                await stt.transcribe(CLIP)
            await until(
                lambda: hearing.count("withdrawn") - ended == hearing.count("begun") - begun
            )
        await nothing_is_left(stt, "hearing")


@on_one_loop
async def test_a_factory_that_fails_says_why_and_leaves_nothing() -> None:
    deploy = partial(deploy_stt, trap_engines.broken, name="broken", cpus=0.1)
    with pytest.raises(EngineLoadError, match="there is no model at /models/large"):
        await anyio.to_thread.run_sync(deploy)
    assert "broken" not in await anyio.to_thread.run_sync(lambda: serve.status().applications)
    assert replicas_of("broken") == []


# -- where a call goes ---------------------------------------------------------------------


@on_one_loop
async def test_a_voice_stays_with_the_replica_that_has_it(speaking: Journal) -> None:
    """While that has a slot: what was computed for a voice is there again.

    Which replica has it, the edge is told some tenths of a second after the first call. By
    chance a voice of two replicas would get five calls to the same one in 1 of 32 times.
    """
    n_faithful = 0
    async with RayTTSEngine("speaking") as tts:
        for voice in NEW_VOICES:
            before = len(speaking.lines())
            await tts.synthesize("hello", {"voice_id": voice})
            for _ in range(40):  # meanwhile
                await tts.synthesize("hello", {})
            for _ in range(5):
                await tts.synthesize("hello", {"voice_id": voice})
            calls = [pid for pid, what in speaking.lines()[before:] if what == f"voice {voice}"]
            assert len(calls) == 6
            n_faithful += len(set(calls)) == 1
    assert n_faithful >= len(NEW_VOICES) - 2


@on_one_loop
async def test_two_deployments_have_an_environment_each(tmp_path: Path) -> None:
    """Another interpreter, another version of a package, another variable."""
    here = tmp_path / "here"
    package(here, "1.0")
    there = tmp_path / "there"
    venv.create(there, symlinks=True)
    packages = next(there.glob("lib/python*/site-packages"))
    package(packages, "2.0")
    # What it does not have of its own, it has from here: Ray and this library among it.
    others = [f"import site; site.addsitedir({each!r})\n" for each in site.getsitepackages()]
    (packages / "others.pth").write_text("".join(others))

    await anyio.to_thread.run_sync(
        partial(
            deploy_tts,
            trap_engines.of_its_environment,
            name="here",
            cpus=0.1,
            runtime_env={"env_vars": {"PYTHONPATH": str(here), "VOICES_FROM": "here"}},
        )
    )
    await anyio.to_thread.run_sync(
        partial(
            deploy_tts,
            trap_engines.of_its_environment,
            name="there",
            cpus=0.1,
            runtime_env={
                "py_executable": str(there / "bin" / "python"),
                "env_vars": {"VOICES_FROM": "there"},
            },
        )
    )
    async with RayTTSEngine("here") as one, RayTTSEngine("there") as other:
        assert await ids(one) == [sys.prefix, "here", "1.0"]
        assert await ids(other) == [str(there), "there", "2.0"]
    for name in ("here", "there"):
        await anyio.to_thread.run_sync(undeploy, name)


def package(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "pinned_package.py").write_text(f"version = {version!r}\n")


async def ids(tts: RayTTSEngine) -> list[Any]:
    return [voice["id"] for voice in await tts.list_voices()]


# -- more, fewer and other replicas --------------------------------------------------------


@on_one_loop
async def test_replicas_come_with_the_calls_and_go_with_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    scaling = Autoscaling(
        min_replicas=1, max_replicas=2, upscale_delay=0.0, downscale_delay=1.0, window=10.5
    )
    stt = await anyio.to_thread.run_sync(
        partial(
            deploy_stt,
            partial(SlowSTT, journal),
            name="elastic",
            replicas=scaling,
            slots=2,
            cpus=0.1,
            drain=5.0,
        )
    )
    async with stt:
        assert stt.statistics().slots == 2
        with held(journal) as release:
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(stt.transcribe, CLIP)
                # Two wait, and begin once there is a replica for them: the edge has noticed.
                await until(noted(journal, "begun", 4))
                assert stt.statistics().slots == 4
                assert len({pid for pid, _ in journal.lines()}) == 2
                release()
        with anyio.fail_after(120):  # one call at a time is work for one replica
            while stt.statistics().replicas != 1:
                assert (await stt.transcribe(CLIP)).text == "hello there"
    await anyio.to_thread.run_sync(undeploy, "elastic")


@on_one_loop
async def test_a_rolling_update_loses_no_call() -> None:
    def deploy(language: str) -> RaySTTEngine:
        factory = partial(ToneSTTEngine, latency=0.05, language=language)
        return deploy_stt(factory, name="rolling", replicas=2, slots=4, cpus=0.1)

    heard: list[str | None] = []
    updated = anyio.Event()

    async def call(stt: RaySTTEngine, number: int) -> None:
        """One call after the other; each has to be right, and the last ones are new ones'."""
        while not updated.is_set():
            result = await stt.transcribe(speak_tones(f"caller {number}", 16_000))
            assert result.text == f"caller {number}"
            heard.append(result.language)

    stt = await anyio.to_thread.run_sync(deploy, "en")
    async with stt:
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(call, stt, number)
            await until(lambda: len(heard) > 20)
            await anyio.to_thread.run_sync(deploy, "de")
            so_far = len(heard)
            await until(lambda: len(heard) > so_far + 20)
            updated.set()
        assert heard[0] == "en"
        assert heard[-1] == (await stt.transcribe(CLIP)).language == "de"
        await nothing_is_left(stt, "rolling")
    await anyio.to_thread.run_sync(undeploy, "rolling")


# -- the edge ------------------------------------------------------------------------------


@on_both_loops
async def test_nothing_of_ray_runs_in_the_event_loops_thread(
    hearing: Journal, speaking: Journal
) -> None:
    """It blocks now and then, for milliseconds or for seconds, and sound is to be played."""
    folder = os.path.dirname(ray.__file__)
    seen: set[str] = set()

    def look(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_filename.startswith(folder):
            seen.add(f"{frame.f_code.co_filename}: {frame.f_code.co_name}")

    async def sound() -> AsyncGenerator[AudioData]:
        yield CLIP

    sys.setprofile(look)
    try:
        async with RaySTTEngine("hearing") as stt, RayTTSEngine("speaking") as tts:
            assert (await stt.transcribe(CLIP)).text == "hello there"
            async with aclosing(sound()) as audio, aclosing(stt.stream(audio)) as results:
                assert [result.text async for result in results][-1] == "hello there"
            async with aclosing(tts.stream(LONG)) as chunks:
                await anext(chunks)
            with pytest.raises(ValueError, match="no voice"):
                await tts.synthesize("hello", {"voice_id": "nobody"})
            stt.statistics()
    finally:
        sys.setprofile(None)
    assert not seen
