"""Calls of Whisper that are withdrawn: what was begun for them stops, and nothing is left."""

from __future__ import annotations

import gc
import random
import sys
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

pytest.importorskip("whisper")

from realtime_stts.audio import AudioData
from realtime_stts.engines.whisper import Streaming, WhisperOptions, WhisperSTTEngine
from realtime_stts.engines.whisper import _model as model_module
from realtime_stts.engines.whisper._decoder import Decoder
from realtime_stts.testing import chunked, no_leaks

pytestmark = pytest.mark.anyio

Saying = Callable[..., AudioData]


@pytest.fixture
async def engine(tiny_words: Path) -> Any:
    how = Streaming(policy="agreement", interval=0.4)
    async with WhisperSTTEngine(str(tiny_words), "cpu", encoder="aggressive", streaming=how) as stt:
        yield stt


class Steps:
    """Counts how often the model asks whether it is still wanted, which it does in each layer.

    At a chosen one it stops and waits, so that a call can be cancelled there for certain.
    """

    def __init__(self) -> None:
        self.n = 0
        self._stop_at = sys.maxsize
        self.there = threading.Event()
        self._go_on = threading.Event()

    def stop_at(self, n: int) -> None:
        self.n, self._stop_at = 0, n
        self.there.clear()

    def go_on(self, stop_at: int = sys.maxsize) -> None:
        """Go on, and stop again at another one if it is given."""
        going_on, self._go_on = self._go_on, threading.Event()
        self.n, self._stop_at = 0, stop_at
        self.there.clear()
        going_on.set()

    def taken(self) -> None:
        self.n += 1
        if self.n == self._stop_at:
            go_on = self._go_on
            self.there.set()
            go_on.wait()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    check = model_module._Batch._check

    def counted(self: Any) -> None:
        steps.taken()
        check(self)

    monkeypatch.setattr(model_module._Batch, "_check", counted)
    return steps


async def cancel_at(stt: WhisperSTTEngine, clip: AudioData, steps: Steps, n: int) -> int:
    """Cancel a call at a step of the model; return how many it took after that.

    The caller must be free at once, though the model stands still.
    """
    steps.stop_at(n)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stt.transcribe, clip)
        await anyio.to_thread.run_sync(steps.there.wait)
        tasks.cancel_scope.cancel()
    steps.go_on()
    with stt._worker.exclusive():  # once the model is free
        return steps.n


async def test_it_stops_inside_the_encoder_and_inside_the_decoder(
    engine: WhisperSTTEngine, say: Saying, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its next question: half a layer of the encoder, or one of the decoder, is lost."""
    clip = say("how is the weather today")
    encodes: list[int] = []
    passes: list[int] = []
    encode, states = model_module.encode, Decoder.states

    def noted(*args: Any) -> Any:
        encodes.append(steps.n)
        return encode(*args)

    def passed(self: Decoder, *args: Any, **kwargs: Any) -> Any:
        passes.append(steps.n)
        return states(self, *args, **kwargs)

    monkeypatch.setattr(model_module, "encode", noted)
    monkeypatch.setattr(Decoder, "states", passed)
    expected = await engine.transcribe(clip)
    in_all = steps.n
    first_pass = passes[0]
    assert encodes[0] < first_pass < in_all
    for n in (encodes[0] + 2, encodes[0] + 4, first_pass + 1, first_pass + 6, in_all - 1):
        assert await cancel_at(engine, clip, steps, n) == 0
        assert await engine.transcribe(clip) == expected


async def test_one_of_a_batch_leaves_it_and_the_other_is_heard(
    engine: WhisperSTTEngine, say: Saying, steps: Steps
) -> None:
    clip = say("good bye")
    expected = await engine.transcribe(clip)
    n_steps = steps.n
    heard: list[Any] = []

    async def hear() -> None:
        heard.append(await engine.transcribe(clip))

    before = engine.statistics
    async with anyio.create_task_group() as tasks:
        steps.stop_at(3)
        tasks.start_soon(hear)
        await anyio.to_thread.run_sync(steps.there.wait)
        with anyio.CancelScope() as leaving:  # two more, which gather while the first is read
            async with anyio.create_task_group() as those_who_leave:
                tasks.start_soon(hear)
                those_who_leave.start_soon(engine.transcribe, clip)
                while engine.statistics.n_waiting < 2:  # noqa: ASYNC110 - it tells nobody
                    await anyio.sleep(0.001)
                # In one that both of them are in.
                steps.go_on(n_steps + 5)
                await anyio.to_thread.run_sync(steps.there.wait)
                leaving.cancel()
        steps.go_on()
    assert [result.text for result in heard] == [expected.text] * 2
    assert engine.statistics.n_batches - before.n_batches == 2
    assert engine.statistics.largest_batch == 2


N_CANCELLED = 500  # on each event loop


async def test_a_thousand_cancelled_calls_change_nothing_and_leave_nothing(
    engine: WhisperSTTEngine, say: Saying, steps: Steps
) -> None:
    """Each at a random step of the model; streams are among them, and calls with word times."""
    chance = random.Random(1)
    clips = [say("good bye"), say("hello there")]
    timed = WhisperOptions(encoder="aggressive", word_timestamps=True)

    async def listen(clip: AudioData) -> None:
        async with (
            aclosing(chunked(clip, 0.1)) as chunks,
            aclosing(engine.stream(chunks)) as results,
        ):
            async for _ in results:
                pass

    ways: list[Callable[[AudioData], Awaitable[object]]] = [
        engine.transcribe,
        partial(engine.transcribe, options=timed),
        listen,
    ]

    async def results() -> list[Any]:
        return [
            await engine.transcribe(clip, options=options)
            for clip in clips
            for options in (None, timed)
        ]

    expected = await results()
    steps.stop_at(sys.maxsize)
    await engine.transcribe(clips[0], options=timed)
    n_steps = steps.n

    async def withdraw_one() -> None:
        steps.stop_at(chance.randint(1, n_steps))
        call = partial(chance.choice(ways), chance.choice(clips))

        async def to_its_end() -> None:
            await call()
            steps.there.set()  # it needed fewer steps

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_its_end)
            await anyio.to_thread.run_sync(steps.there.wait)
            tasks.cancel_scope.cancel()
        steps.go_on()

    async with no_leaks():
        for _ in range(N_CANCELLED // 5):  # and what is made once is made
            await withdraw_one()
        gc.collect()
        resident = resident_bytes()
        tracemalloc.start()
        try:
            for _ in range(N_CANCELLED - N_CANCELLED // 5):
                await withdraw_one()
            assert await results() == expected
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 200_000
        finally:
            tracemalloc.stop()
    assert resident_bytes() - resident < 30_000_000
    assert engine.statistics.n_waiting == 0


def resident_bytes() -> int:
    """Of this process, where the system tells; else 0."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * 4096 if file.exists() else 0
