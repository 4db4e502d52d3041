"""How a call finds its replica, what ends it, and what its caller is told."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import anyio.to_thread
import pytest

pytest.importorskip("ray.serve")

from realtime_stts import request_scope
from realtime_stts.audio import AudioData
from realtime_stts.errors import (
    AudioFormatError,
    EngineLoadError,
    EngineTimeoutError,
    EngineUnavailableError,
    MissingExtraError,
)
from realtime_stts.integrations.ray import (
    RayStatistics,
    RaySTTEngine,
    RayTTSEngine,
    deploy_stt,
    deploy_tts,
    undeploy,
)
from realtime_stts.testing import speak_tones

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
one = pytest.mark.parametrize("anyio_backend", ["asyncio"])

CLIP = speak_tones("turn the lights on")


def made(kind: str, **options: Any) -> Callable[[], Any]:
    """A factory of one of this library's fakes, for a replica."""

    def factory() -> Any:
        from realtime_stts import testing

        return getattr(testing, kind)(**options)

    return factory


@pytest.fixture(scope="module")
def deployed(ray_cluster: None) -> None:
    deploy_stt(made("ToneSTTEngine"), name="calls-ears", slots=2, cpus=0.1)
    deploy_stt(made("ToneSTTEngine", latency=30.0), name="calls-slow", slots=1, cpus=0.1)
    deploy_tts(made("ScriptedTTSEngine"), name="calls-mouth", slots=2, cpus=0.1)
    deploy_tts(made("ScriptedTTSEngine", latency=30.0), name="calls-mute", slots=1, cpus=0.1)


async def played(*chunks: AudioData) -> AsyncGenerator[AudioData]:
    for chunk in chunks:
        yield chunk


@pytest.mark.usefixtures("deployed")
@pytest.mark.anyio
@both
class TestACall:
    async def test_it_is_known_what_goes_on(self) -> None:
        async with RaySTTEngine("calls-ears", share=0.5, max_waiting=3) as engine:
            await engine.warmup()
            assert await engine.is_available()
            assert engine.statistics() == RayStatistics(1, 1, 0, 0, 0, 0)

    async def test_an_unknown_name_is_unavailable(self) -> None:
        with pytest.raises(EngineUnavailableError, match=r"calls-nobody: .*not deployed"):
            await RaySTTEngine("calls-nobody", retries=0).load()

    async def test_another_kind_of_engine_is_refused(self) -> None:
        with pytest.raises(EngineLoadError, match="what is deployed there is stt"):
            await RayTTSEngine("calls-ears").load()

    async def test_the_engines_own_error_arrives_as_itself(self) -> None:
        async with RaySTTEngine("calls-ears") as engine:
            with pytest.raises(AudioFormatError) as caught:
                await engine.transcribe(AudioData(b"no audio", 16_000, 1, "flac"))
            assert "in the engine's process" in str(caught.value.__cause__)

    async def test_an_answer_takes_too_long(self) -> None:
        async with RaySTTEngine("calls-slow", timeout=0.3) as engine:
            with pytest.raises(EngineTimeoutError, match=r"calls-slow: .* 0\.3 s"):
                await engine.transcribe(CLIP)

    async def test_a_streams_end_takes_too_long(self) -> None:
        async with (
            RaySTTEngine("calls-slow", timeout=0.5) as engine,
            aclosing(engine.stream(played(CLIP))) as results,
        ):
            with pytest.raises(EngineTimeoutError):
                async for _ in results:
                    pass

    async def test_the_first_sound_takes_too_long(self) -> None:
        async with (
            RayTTSEngine("calls-mute", timeout=0.3) as engine,
            aclosing(engine.stream("hello")) as chunks,
        ):
            with pytest.raises(EngineTimeoutError):
                await anext(chunks)

    async def test_a_slot_takes_too_long(self) -> None:
        """One call has the only slot for longer than the other has patience."""
        async with (
            RayTTSEngine("calls-mute") as engine,
            aclosing(engine.stream("a")) as first,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(anext, first)
            while not engine.statistics().running:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            hasty = RayTTSEngine("calls-mute", timeout=0.3)
            hasty._place = engine._place
            async with aclosing(hasty.stream("b")) as second:
                with pytest.raises(EngineTimeoutError, match=r"0\.3 s"):
                    await anext(second)
            assert engine.statistics().waiting == 0
            tasks.cancel_scope.cancel()

    async def test_the_callers_deadline_is_the_callers(self) -> None:
        """The replica ends the work by then, too, and the caller's own scope says it."""
        async with RaySTTEngine("calls-slow") as engine:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    with anyio.fail_after(0.4):
                        await engine.transcribe(CLIP)

    async def test_a_deadline_for_the_first_chunk_is_none_for_the_rest(self) -> None:
        text = "the first words are heard while the rest is still being made"
        async with (
            RayTTSEngine("calls-mouth") as engine,
            aclosing(engine.stream(text)) as chunks,
        ):
            with anyio.fail_after(2.0):
                heard = [await anext(chunks)]
            await anyio.sleep(2.5)
            heard += [chunk async for chunk in chunks]
            whole = (await engine.synthesize(text)).audio_data
            assert AudioData.concat(heard) == whole

    @pytest.mark.parametrize("batch", [0.0, 0.25])
    async def test_chunks_arrive_in_order_however_they_travel(self, batch: float) -> None:
        n_chunks = round(CLIP.duration_seconds / 0.02) + 1
        chunks = [CLIP.sliced(i * 0.02, (i + 1) * 0.02) for i in range(n_chunks)]
        async with (
            RaySTTEngine("calls-ears", batch=batch) as engine,
            aclosing(engine.stream(played(*chunks))) as results,
        ):
            *_, last = [result async for result in results]
        assert last.text == "turn the lights on"

    async def test_who_asks_is_known_in_the_replica_by_session(self) -> None:
        async with RaySTTEngine("calls-ears") as engine:
            with request_scope("request-1", session_id="session-1"):
                assert (await engine.transcribe(CLIP)).text == "turn the lights on"


@pytest.mark.usefixtures("deployed")
@pytest.mark.anyio
@one
class TestADeployment:
    async def test_it_may_go_and_come_back_under_an_engine(self) -> None:
        def deploy() -> RaySTTEngine:
            return deploy_stt(made("ToneSTTEngine"), name="calls-back", cpus=0.1, drain=0.0)

        async with await anyio.to_thread.run_sync(deploy) as engine:
            assert (await engine.transcribe(CLIP)).text == "turn the lights on"
            await anyio.to_thread.run_sync(undeploy, "calls-back")
            await anyio.to_thread.run_sync(undeploy, "calls-back")  # which is no error
            with pytest.raises(EngineUnavailableError):
                await engine.transcribe(CLIP)
            assert not await engine.is_available()
            await anyio.to_thread.run_sync(deploy)
            assert (await engine.transcribe(CLIP)).text == "turn the lights on"
        await anyio.to_thread.run_sync(undeploy, "calls-back")

    async def test_it_is_not_there_in_time(self) -> None:
        def deploy() -> None:
            deploy_stt(
                made("ToneSTTEngine"),
                name="calls-never",
                resources={"a kind of which there is none": 1.0},
                start_timeout=1.0,
            )

        with pytest.raises(EngineLoadError, match="no replica was ready within 1 s"):
            await anyio.to_thread.run_sync(deploy)
        with pytest.raises(EngineUnavailableError):
            await RaySTTEngine("calls-never", retries=0).load()

    async def test_an_engine_that_is_dropped_lets_the_thread_go(self) -> None:
        engine = RaySTTEngine("calls-ears")
        await engine.load()
        assert _threads()
        del engine
        gc.collect()
        with anyio.fail_after(10.0):
            while _threads():  # noqa: ASYNC110 - a thread's end rings nowhere
                await anyio.sleep(0.02)

    async def test_the_embedded_engines_in_replicas(self) -> None:
        """For real: what eSpeak says in one, PocketSphinx hears in the other."""
        pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
        pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)

        def espeak() -> Any:
            from realtime_stts.engines import load_tts

            return load_tts("espeak:en-us+f3", rate=150)

        def pocketsphinx() -> Any:
            from realtime_stts.engines import load_stt

            return load_stt("pocketsphinx", phrases=["turn the lights on", "never mind"])

        def deploy() -> tuple[RaySTTEngine, RayTTSEngine]:
            return (
                deploy_stt(pocketsphinx, name="calls-sphinx", cpus=0.1),
                deploy_tts(espeak, name="calls-espeak", cpus=0.1),
            )

        stt, tts = await anyio.to_thread.run_sync(deploy)
        async with stt, tts:
            assert any(voice["id"].startswith("en") for voice in await tts.list_voices())
            async with (
                aclosing(tts.stream("Turn the lights on.")) as chunks,
                aclosing(stt.stream(chunks)) as results,
            ):
                *_, last = [result async for result in results]
        assert (last.text, last.partial) == ("turn the lights on", False)
        for name in ("calls-sphinx", "calls-espeak"):
            await anyio.to_thread.run_sync(undeploy, name)


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "realtime_stts: Ray"]
