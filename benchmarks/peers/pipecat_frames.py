"""pipecat moving audio frames through processors that pass everything on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

__all__ = ["pipeline"]

Send = Callable[[bytes], Awaitable[None]]


class _Pass(FrameProcessor):
    """Hands every frame on, which is the least a processor can do."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class _Last(_Pass):
    """Tells of each frame of audio that has come through all the others."""

    def __init__(self, seen: Callable[[bytes], None]) -> None:
        super().__init__()
        self._seen = seen

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._seen(frame.audio)


@asynccontextmanager
async def pipeline(
    n_processors: int, seen: Callable[[bytes], None], *, bare: bool, sample_rate: int
) -> AsyncGenerator[Send]:
    """A running pipeline, as a function that queues the next frame of 16-bit mono audio.

    Args:
        n_processors: How many the frames go through.
        seen: Called by the last of them, once a frame.
        bare: Without what a worker adds by default: RTVI with its observer, turn tracking
            and the idle observer.
        sample_rate: Hz.
    """
    processors = [*(_Pass() for _ in range(n_processors - 1)), _Last(seen)]
    if bare:
        worker = PipelineWorker(
            Pipeline(processors),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
    else:
        worker = PipelineWorker(Pipeline(processors))
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    async def send(frame: bytes) -> None:
        await worker.queue_frame(InputAudioRawFrame(frame, sample_rate, 1))

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    try:
        await started.wait()
        yield send
        await worker.queue_frame(EndFrame())
        await running
    finally:
        running.cancel()
