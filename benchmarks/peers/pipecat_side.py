"""pipecat holding a call: the pipeline of its examples, with a transport of our own.

Transport in, recogniser, user aggregator, responder, voice, transport out, assistant
aggregator; the services are subclasses of pipecat's own. The detector has the settings it
recommends (0.2 s of silence), and the turn ends by `SpeechTimeoutUserTurnStopStrategy`, which
is its strategy without a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any

from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import (
    SpeechTimeoutUserTurnStopStrategy,
)
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from .call import FRAME, INTERRUPT, OUT_RATE, RATE, SILENCE, STT, Call, Push, voiced
from .jobs import answering

__all__ = ["answer"]

_STOP = 0.2  # s; what pipecat recommends


class _Detector(VADAnalyzer):
    def __init__(self) -> None:
        params = VADParams(start_secs=INTERRUPT, stop_secs=_STOP, min_volume=0.0)
        super().__init__(sample_rate=RATE, params=params)

    def num_frames_required(self) -> int:
        return round(RATE * FRAME)

    def voice_confidence(self, buffer: bytes) -> float:
        return float(voiced(buffer))


class _Ears(SegmentedSTTService):
    def __init__(self, call: Call) -> None:
        settings = STTSettings(model=None, language=None)
        super().__init__(settings=settings, ttfs_p99_latency=_STOP + STT)
        self._call = call

    @property
    def wants_wav_segments(self) -> bool:
        return False

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield TranscriptionFrame(await self._call.recognise(), "user", "")


class _Responder(FrameProcessor):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            text = str(frame.context.get_messages()[-1].get("content"))
            await self.push_frame(LLMFullResponseStartFrame())
            await self.push_frame(LLMTextFrame(self._call.respond(text)))
            await self.push_frame(LLMFullResponseEndFrame())
        else:
            await self.push_frame(frame, direction)


class _Voice(TTSService):
    def __init__(self, call: Call) -> None:
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(
            sample_rate=OUT_RATE, push_start_frame=True, push_stop_frames=True, settings=settings
        )
        self._call = call

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        async for chunk in self._call.speak(text):
            yield TTSAudioRawFrame(chunk, OUT_RATE, 1, context_id=context_id)


class _Microphone(BaseInputTransport):
    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)


class _Loudspeaker(BaseOutputTransport):
    """Takes sound at the pace it is played at, and drops it when the user interrupts."""

    def __init__(self, params: TransportParams, call: Call) -> None:
        super().__init__(params)
        self._phone = call.phone

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self._phone.hush()
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if any(frame.audio):  # and not the silence that a transport sends between answers
            self._phone.play(len(frame.audio) / 2 / OUT_RATE)
        await asyncio.sleep(max(0.0, self._phone.until - monotonic() - 2 * FRAME))
        return True


@asynccontextmanager
async def _talk(call: Call, *, bare: bool) -> AsyncGenerator[Push]:
    params = TransportParams(
        audio_in_enabled=True,
        audio_in_sample_rate=RATE,
        audio_out_enabled=True,
        audio_out_sample_rate=OUT_RATE,
        audio_out_end_silence_secs=0,
    )
    stop = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=SILENCE - _STOP)
    aggregators = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            user_turn_strategies=UserTurnStrategies(
                start=[VADUserTurnStartStrategy()], stop=[stop]
            ),
            vad_analyzer=_Detector(),
        ),
    )
    microphone = _Microphone(params)
    pipeline = Pipeline(
        [
            microphone,
            _Ears(call),
            aggregators.user(),
            _Responder(call),
            _Voice(call),
            _Loudspeaker(params, call),
            aggregators.assistant(),
        ]
    )
    without: dict[str, Any] = {
        "enable_rtvi": False,
        "enable_turn_tracking": False,
        "idle_timeout_secs": None,
    }
    worker = PipelineWorker(pipeline, **(without if bare else {}))
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    async def push(frame: bytes) -> None:
        await microphone.push_audio_frame(InputAudioRawFrame(frame, RATE, 1))

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    try:
        await started.wait()
        yield push
        await worker.cancel()
        await running
    finally:
        running.cancel()


answer = answering(lambda bare=False: partial(_talk, bare=bare))
