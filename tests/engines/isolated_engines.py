"""Engines that do what they are told, for the tests of the process they are in.

They stand for what no real engine does when asked: crash, hang, print, fill the memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from typing import Any

import anyio

from realtime_stts import errors
from realtime_stts.audio import AudioData
from realtime_stts.protocols import SynthesisResult, TranscriptionResult

CHUNK = AudioData.silence(0.1, 16_000)


class Obedient:
    """What both have in common; ``how`` is done when it is made."""

    def __init__(self, how: str = "", **options: Any) -> None:
        self.options = options
        self.n_made = self.n_withdrawn = 0
        self.model_loaded = False
        self.kept: list[object] = []
        if how:
            self.obey_at_once(how)

    async def load(self) -> None:
        self.model_loaded = True

    async def unload(self) -> None:
        self.model_loaded = False

    async def warmup(self) -> None:
        await self.load()

    async def __aenter__(self) -> Obedient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    def obey_at_once(self, order: str) -> None:
        what, _, how = order.partition(" ")
        match what:
            case "exit":
                os._exit(int(how))
            case "segfault":
                ctypes.string_at(0)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "print":
                print(how, flush=True)  # noqa: T201 - what it is for
                os.write(1, how.encode())
            case "scribble":  # into the very pipe that the messages go through
                for descriptor in range(3, 64):
                    with suppress(OSError):
                        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                            os.write(descriptor, how.encode())
            case "say":
                os.write(2, f"{how}\n".encode())
            case "eat":
                self.kept.append(bytearray(int(how) << 20))
            case "leave":  # a process of its own, which outlives it if nobody cares
                self.kept.append(subprocess.Popen(["sleep", "600"]))
            case "raise":
                kind = getattr(errors, how, None) or {"KeyError": KeyError}[how]
                raise kind(*(["odd", "as told"] if issubclass(kind, errors.EngineError) else [how]))

    async def obey(self, order: str) -> None:
        self.model_loaded = True
        try:
            if order == "hang":
                await anyio.sleep_forever()
            elif order == "hang on":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep_forever()
        except BaseException:
            self.n_withdrawn += 1
            raise
        self.obey_at_once(order)

    def state(self) -> str:
        left = [child.pid for child in self.kept if isinstance(child, subprocess.Popen)]
        return f"{os.getpid()} {self.n_made} {self.n_withdrawn} {sum(left)}"


class ObedientTTS(Obedient):
    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        await self.obey(text)
        return SynthesisResult(CHUNK, text, self.state())

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        what, _, how = text.partition(" ")
        n_chunks = int(how) if what == "chunks" else 2
        for n in range(n_chunks):
            self.n_made += 1
            yield CHUNK
            if n == 0:
                await self.obey(text)

    async def list_voices(self) -> list[dict[str, Any]]:
        voice = {"id": "one", "name": "One", "language": "en", "state": self.state()}
        return [voice | {"options": self.options, "home": os.environ.get("ODD_HOME")}]


class ObedientSTT(Obedient):
    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        await self.obey(language or "")
        return TranscriptionResult(f"{audio.n_frames} frames", "en", [])

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        await self.obey(language or "")
        n_frames = 0
        async for chunk in audio:
            n_frames += chunk.n_frames
            yield TranscriptionResult(f"{n_frames} frames", "en", [], partial=True)
        yield TranscriptionResult(f"{n_frames} frames", "en", [])

    async def is_available(self) -> bool:
        return True
