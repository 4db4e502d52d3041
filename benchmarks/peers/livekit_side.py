"""LiveKit Agents holding a call: an `AgentSession` with an input and an output of our own.

No server and no room: `AgentSession.start` takes what `session.input` and `session.output`
were given. The detector tells what LiveKit's own tells, with its defaults (0.05 s of speech,
0.25 s of silence), so that the end of the turn is the endpointing's doing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt, tts, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.voice import io

from .call import FRAME, INTERRUPT, OUT_RATE, RATE, SILENCE, Call, Push, voiced
from .jobs import answering

__all__ = ["answer"]

logging.getLogger("livekit").setLevel(logging.ERROR)  # its records would be timed with it

_MIN_SPEECH, _MIN_SILENCE = 0.05, 0.25  # s


class _Detector(vad.VAD):
    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=FRAME))

    def stream(self) -> vad.VADStream:
        return _Stream(self)


class _Stream(vad.VADStream):
    async def _main_task(self) -> None:
        speaking, speech, silence, n = False, 0.0, 0.0, 0
        frames: list[rtc.AudioFrame] = []

        def tell(kind: vad.VADEventType, heard: list[rtc.AudioFrame]) -> None:
            self._event_ch.send_nowait(
                vad.VADEvent(
                    type=kind,
                    samples_index=n,
                    timestamp=n / RATE,
                    speech_duration=speech,
                    silence_duration=silence,
                    frames=heard,
                    speaking=speaking,
                    raw_accumulated_silence=silence,
                    raw_accumulated_speech=0.0 if silence else speech,
                )
            )

        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                speaking, speech, silence, frames = False, 0.0, 0.0, []
                continue
            n += frame.samples_per_channel
            if voiced(bytes(frame.data)):
                speech, silence = speech + frame.duration, 0.0
            else:
                silence += frame.duration
                if not speaking:
                    speech = 0.0
            if speaking or speech:
                frames.append(frame)
            tell(vad.VADEventType.INFERENCE_DONE, [frame])
            if not speaking and speech >= _MIN_SPEECH:
                speaking = True
                tell(vad.VADEventType.START_OF_SPEECH, [*frames])
            elif speaking and silence >= _MIN_SILENCE:
                speaking = False
                tell(vad.VADEventType.END_OF_SPEECH, frames)
                speech, frames = 0.0, []


class _Ears(stt.STT):
    def __init__(self, call: Call) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._call = call

    async def _recognize_impl(self, buffer: Any, **options: Any) -> stt.SpeechEvent:
        text = await self._call.recognise()
        return stt.SpeechEvent(
            stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language="en", text=text)],
        )


class _Responder(llm.LLM):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **options: Any,
    ) -> llm.LLMStream:
        return _Response(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Response(llm.LLMStream):
    async def _run(self) -> None:
        assert isinstance(self._llm, _Responder)
        last = self._chat_ctx.items[-1]
        text = last.text_content if isinstance(last, llm.ChatMessage) else None
        delta = llm.ChoiceDelta(role="assistant", content=self._llm.call.respond(text or ""))
        self._event_ch.send_nowait(llm.ChatChunk(id="one", delta=delta))


class _Voice(tts.TTS):
    def __init__(self, call: Call) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=OUT_RATE,
            num_channels=1,
        )
        self.call = call

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Sound(tts=self, input_text=text, conn_options=conn_options)


class _Sound(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, _Voice)
        output_emitter.initialize(
            request_id="one", sample_rate=OUT_RATE, num_channels=1, mime_type="audio/pcm"
        )
        async for chunk in self._tts.call.speak(self._input_text):
            output_emitter.push(chunk)


class _Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="call")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self.frames.get()


class _Loudspeaker(io.AudioOutput):
    """Plays at once, and tells when it has, as LiveKit asks of an output."""

    def __init__(self, call: Call) -> None:
        super().__init__(
            label="call",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=OUT_RATE,
        )
        self._phone = call.phone
        self._began = 0.0
        self._pushed = 0.0  # s of this segment
        self._over: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._phone.play(frame.duration)
        if not self._pushed:
            self._began = self._phone.until - frame.duration
            self.on_playback_started(created_at=self._wall(self._began))
        self._pushed += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._pushed and self._over is None:
            loop = asyncio.get_running_loop()
            self._over = loop.call_at(self._phone.until, self._end, False)

    def clear_buffer(self) -> None:
        if self._pushed:
            self._phone.hush()
            self._end(True)

    def _end(self, interrupted: bool) -> None:
        if self._over:
            self._over.cancel()
        self._over = None
        played = min(self._pushed, max(0.0, self._phone.until - self._began))
        self._pushed = 0.0
        self.on_playback_finished(playback_position=played, interrupted=interrupted)

    @staticmethod
    def _wall(moment: float) -> float:
        """The same moment as LiveKit counts it."""
        return time() - monotonic() + moment


@asynccontextmanager
async def _talk(call: Call) -> AsyncGenerator[Push]:
    session: AgentSession[None] = AgentSession(
        stt=_Ears(call),
        vad=_Detector(),
        llm=_Responder(call),
        tts=_Voice(call),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": SILENCE},
            "interruption": {"mode": "vad", "min_duration": INTERRUPT},
            "preemptive_generation": {"enabled": True, "preemptive_tts": call.eager},
        },
        aec_warmup_duration=None,  # in its first seconds nobody could interrupt
    )
    microphone = _Microphone()
    session.input.audio = microphone
    session.output.audio = _Loudspeaker(call)
    await session.start(Agent(instructions="Answer."), record=False)

    async def push(frame: bytes) -> None:
        microphone.frames.put_nowait(rtc.AudioFrame(frame, RATE, 1, len(frame) // 2))

    try:
        yield push
    finally:
        await session.aclose()


answer = answering(lambda: _talk)
