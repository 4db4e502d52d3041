"""Engines for replicas: what they do, they write into a file that the test reads."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from realtime_stts import AudioData, SynthesisResult, TranscriptionResult
from realtime_stts.engines._worker import Job, Withdrawn, Worker
from realtime_stts.errors import EngineMemoryError
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine


@dataclass(frozen=True, slots=True)
class Journal:
    """A line for everything that happens in any replica; short ones are written whole."""

    path: Path

    def note(self, what: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def lines(self) -> list[tuple[int, str]]:
        """Of which process, and what."""
        if not self.path.exists():
            return []
        pairs = [line.split(" ", 1) for line in self.path.read_text().splitlines()]
        return [(int(pid), what) for pid, what in pairs]

    def count(self, what: str) -> int:
        return sum(what == noted for _, noted in self.lines())

    @contextmanager
    def call(self) -> Generator[None]:
        self.note("begun")
        try:
            yield
        except BaseException as reason:
            self.note("withdrawn" if not isinstance(reason, Exception) else "failed")
            raise
        self.note("done")


class SlowSTT(ToneSTTEngine):
    """A call lasts for as long as the folder of its journal has a file called ``hold``."""

    def __init__(self, journal: Journal, language: str = "en") -> None:
        super().__init__(latency=0.0, language=language)
        self.journal = journal
        self.hold = journal.path.with_name("hold")

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        with self.journal.call():
            await self._held()
            return await super().transcribe(audio, language)

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        with self.journal.call():
            async with aclosing(super().stream(audio, language)) as results:
                async for result in results:
                    yield result

    async def _held(self) -> None:
        while self.hold.exists():  # noqa: ASYNC110 - another process's file
            await anyio.sleep(0.01)


class FastTTS(ScriptedTTSEngine):
    """Makes sound as fast as it is taken, and notes each chunk. Some texts are orders."""

    def __init__(self, journal: Journal, voices: Sequence[str] = ("one",)) -> None:
        super().__init__(latency=0.0, real_time_factor=0.0, chunk=0.05, voices=voices)
        self.journal = journal

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        self.journal.note(f"voice {voice_config.get('voice_id')}")
        return await super().synthesize(text, voice_config)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        order = text.split()[0]
        with self.journal.call():
            if order == "fail":
                raise EngineMemoryError("trap", "no memory for this")
            if order == "die-once" and not self.journal.count("died"):
                self._die()
            n = 0
            async with aclosing(super().stream(text, voice_config)) as chunks:
                async for chunk in chunks:
                    if order == "die" and n == 3:
                        await self._until_heard()
                        self._die()
                    n += 1
                    self.journal.note("chunk")
                    yield chunk

    async def _until_heard(self) -> None:
        """A process that ends takes with it what has not left it."""
        heard = self.journal.path.with_name("heard")
        while not heard.exists():  # noqa: ASYNC110 - another process's file
            await anyio.sleep(0.01)
        heard.unlink()

    def _die(self) -> None:
        self.journal.note("died")
        os._exit(1)


class ThreadedTTS(ScriptedTTSEngine):
    """Its work is a function that blocks, as a model's is, in the library's own thread for it."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal
        self.worker = Worker("a model that blocks")

    async def synthesize(self, text: str, voice_config: dict[str, Any]) -> SynthesisResult:
        return await self.worker.run(self._work)

    def _work(self, job: Job) -> SynthesisResult:
        self.journal.note("begun")
        while not job.withdrawn:
            time.sleep(0.005)
        self.journal.note("withdrawn")
        raise Withdrawn


def broken() -> ToneSTTEngine:
    """A factory that finds no model."""
    raise FileNotFoundError("there is no model at /models/large")


def of_its_environment() -> ScriptedTTSEngine:
    """Its voices are where its interpreter is, a variable, and the version of a package."""
    pinned = importlib.import_module("pinned_package")
    variable = os.environ.get("VOICES_FROM", "nowhere")
    return ScriptedTTSEngine(voices=(sys.prefix, variable, str(pinned.version)))
