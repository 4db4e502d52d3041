"""FastRTC holding a call: `ReplyOnPause` behind its WebRTC track, without the network.

`AudioCallback` is what FastRTC makes of a peer's track: it feeds the handler in threads and
paces what comes out of it. Here the track is ours, and who plays is the loop below.

A pause is a window of `audio_chunk_duration` with little speech in it, and windows follow
each other from the first frame on, so that the silence it takes is never exactly what is
set: with windows of `SILENCE` it is 0.4 s to 0.9 s.
"""

from __future__ import annotations

import asyncio
import fractions
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
from aiortc import AudioStreamTrack
from av import AudioFrame
from fastrtc import AlgoOptions, ReplyOnPause
from fastrtc.tracks import AudioCallback
from fastrtc.utils import Context

from .call import OUT_RATE, RATE, SILENCE, Call, Push, voiced
from .jobs import answering

__all__ = ["answer"]


class _Detector:
    """How many seconds of a window are speech."""

    def vad(self, audio: tuple[int, np.ndarray], options: Any) -> tuple[float, list[Any]]:
        rate, samples = audio
        size = rate // 50
        frames = (samples[i : i + size] for i in range(0, samples.size, size))
        return sum(f.size / rate for f in frames if voiced(f.tobytes())), []

    def warmup(self) -> None: ...


class _Channel:
    """The data channel of a connection, over which FastRTC tells what it does."""

    def send(self, message: str) -> None: ...


class _Microphone(AudioStreamTrack):
    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[AudioFrame] = asyncio.Queue()
        self._at = 0

    def push(self, sound: bytes) -> None:
        samples = np.frombuffer(sound, np.int16)[None]
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, self._at
        frame.time_base = fractions.Fraction(1, RATE)
        self._at += samples.size
        self.frames.put_nowait(frame)

    async def recv(self) -> AudioFrame:
        return await self.frames.get()


@asynccontextmanager
async def _talk(call: Call) -> AsyncGenerator[Push]:
    async def answer(audio: tuple[int, np.ndarray]) -> AsyncGenerator[tuple[int, np.ndarray]]:
        text = await call.recognise()
        async for chunk in call.speak(call.respond(text)):
            yield OUT_RATE, np.frombuffer(chunk, np.int16)[None]

    handler = ReplyOnPause(
        answer,
        algo_options=AlgoOptions(audio_chunk_duration=SILENCE),
        input_sample_rate=RATE,
        output_sample_rate=OUT_RATE,
        model=_Detector(),
    )
    handler._loop = asyncio.get_running_loop()  # as FastRTC's connection does
    microphone = _Microphone()
    track = AudioCallback(microphone, handler, Context(webrtc_id="one"))
    track.set_channel(_Channel())

    async def play() -> None:
        while (frame := await track.recv()) is not None:
            call.phone.play(frame.samples / frame.sample_rate)

    async def push(frame: bytes) -> None:
        microphone.push(frame)

    playing = asyncio.create_task(play())
    try:
        yield push
    finally:
        track.stop()
        tasks = [playing, track.process_input_task, track.decode_task, track.start_up_task]
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


answer = answering(lambda: _talk)
