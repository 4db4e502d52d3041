"""Text to speech with Resemble AI's Chatterbox.

The models are those of the package chatterbox-tts, loaded by it; what computes with them is
this package's own. It streams from inside of a sentence, stops within a token, and serves any
number of sessions with one model, each in a voice of its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from secrets import randbelow
from time import perf_counter
from typing import Any, Final

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from ...audio import AudioData
from ...protocols import SynthesisResult
from ...voices import VoiceRegistry
from .._device import choose_device, free_memory
from .._download import Progress
from .._lifecycle import LocalEngine
from .._worker import Worker
from ._checkpoint import available_models, load, resolve
from ._conductor import Conductor, Sound
from ._joins import Joiner
from ._model import Manner, Model, Request
from ._settings import LANGUAGES, ChatterboxSettings
from ._speed import Speed
from ._text import Piece, pieces
from ._watermark import Marker, Marking

__all__ = ["ChatterboxTTSEngine"]

_RATE: Final = 24_000
_DEFAULT: Final = "default"  # the voice that comes with a model
_NOTHING: Final = 0.2  # s of silence, for a text that is but marks
_DERIVED: Final = 2 << 30  # bytes of what is computed of voices


class ChatterboxTTSEngine(LocalEngine[Model]):
    """Text to speech with Chatterbox: 16-bit mono at 24,000 Hz, for any number of sessions.

    A text of any length is cut into sentences, which are said one after the other and joined
    with the pauses that belong between them. Keys of a voice configuration are those of
    `ChatterboxSettings`, each over the engine's own.

    All sound carries Perth's watermark, by which `perth` tells that a machine spoke, unless
    ``watermark`` is False.

    Args:
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu``. It is tried before it is
            relied on; one that does not work gives a warning and the CPU.
        model_cache_path: Where downloads are kept; by default where huggingface_hub does.
        model: ``standard``, ``turbo``, ``multilingual``, or a folder that has the files of one.
        voices: Those it can speak in, beside the one that comes with the model; several
            engines may have the same registry.
        settings: How to speak; single ones may be given by name instead.
        manner: How `stream` makes sound; a voice configuration cannot change it.
        watermark: Whether the sound is marked.
        max_active: Calls that are spoken at the same time.
        max_waiting: Calls that wait at most; more raise `OverloadedError`.
        idle_ttl: Seconds after which an unused model is released; the next call loads it.
        progress: Told, in another thread, how many bytes of how many are downloaded.

    Raises:
        ValueError: There is no such model, or a setting is out of its range.
    """

    name = "chatterbox"

    def __init__(
        self,
        device: str = "auto",
        model_cache_path: str | os.PathLike[str] | None = None,
        *,
        model: str | os.PathLike[str] = "standard",
        voices: VoiceRegistry | None = None,
        settings: ChatterboxSettings | None = None,
        manner: Manner | None = None,
        watermark: bool = True,
        max_active: int = 8,
        max_waiting: int = 64,
        idle_ttl: float | None = None,
        progress: Progress | None = None,
        **single_settings: Any,
    ) -> None:
        super().__init__(Worker(self.name), idle_ttl)
        self._checkpoint = resolve(os.fspath(model), cache=model_cache_path)
        kind = self._checkpoint.kind
        if settings is not None and settings.kind != kind:
            raise ValueError(f"the settings are for a {settings.kind} model, and this is {kind}")
        if max_active < 1 or max_waiting < 1:
            raise ValueError("max_active and max_waiting are at least 1")
        self._settings = replace(settings or ChatterboxSettings.of(kind), **single_settings)
        self._manner = manner or Manner()
        self.voices = voices or VoiceRegistry(max_bytes=_DERIVED)
        """The voices there are; recordings are registered here."""
        self._device = device
        self._marked = watermark
        self._marker: Marker | None = None
        self._progress = progress
        self._conductor = Conductor(
            self.name, self._worker, self._model, max_active=max_active, max_waiting=max_waiting
        )

    @classmethod
    def of(cls, model: str = "standard", **options: Any) -> ChatterboxTTSEngine:
        """The engine of a model, by what stands after ``chatterbox:``."""
        return cls(model=model, **options)

    # -- speaking

    async def synthesize(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> SynthesisResult:
        """Speak a text of any length.

        Raises:
            ValueError: The text is blank, or a setting is not possible.
            UnknownVoiceError: There is no such voice.
            OverloadedError: Too many calls wait.
            EngineMemoryError: It did not fit into memory.
        """
        began = perf_counter()
        settings = self._asked(voice_config)
        # All at once: what comes later in a sentence is heard in what comes first.
        manner = replace(self._manner, first_tokens=None)
        async with aclosing(self._spoken(text, settings, manner)) as chunks:
            audio = AudioData.concat([chunk async for chunk in chunks])
        voice_id = settings.voice_id or _DEFAULT
        return SynthesisResult(
            audio, text, voice_id, perf_counter() - began, watermarked=self._marked
        )

    def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        """Speak a text of any length, from within its first sentence on.

        Raises:
            ValueError: The text is blank, or a setting is not possible.
            UnknownVoiceError: There is no such voice.
            OverloadedError: Too many calls wait.
            EngineMemoryError: It did not fit into memory.
        """
        return self._spoken(text, self._asked(voice_config), self._manner)

    async def _spoken(
        self, text: str, settings: ChatterboxSettings, manner: Manner
    ) -> AsyncGenerator[AudioData]:
        said = pieces(text)
        if not said:
            yield AudioData.silence(_NOTHING, _RATE)
            return
        await self._loaded_model()  # which may bring a voice
        voice_id = settings.voice_id or _DEFAULT
        self.voices.info(voice_id)
        seed = randbelow(1 << 63) if settings.seed is None else settings.seed
        request = Request(
            [piece.text for piece in said], settings, self.voices, voice_id, manner, seed
        )
        finish = _Finish(said, settings.speed_factor, self._marker)
        async with aclosing(self._conductor.say(request)) as sounds:
            async for sound in sounds:
                samples = await to_thread.run_sync(finish.feed, sound)
                if samples.size:
                    yield AudioData.from_samples(samples, _RATE)

    async def list_voices(self) -> list[dict[str, Any]]:
        """The voices, sorted by name: id, name, language and type of each."""
        await self._loaded_model()
        return [
            {
                "id": voice.id,
                "name": voice.name,
                "language": voice.language,
                "type": "predefined" if voice.built_in else "cloned",
            }
            for voice in self.voices.list()
        ]

    # -- the model

    @property
    def is_downloaded(self) -> bool:
        """Whether all files are here, so that loading fetches none; not whether they are whole."""
        return self._checkpoint.is_present

    async def is_available(self) -> bool:
        return self._checkpoint.folder is None or self._checkpoint.is_present

    async def download(self, progress: Progress | None = None) -> Path:
        """Have the model's files in their place, without loading them; where that is.

        Raises:
            EngineLoadError: They are not there, and cannot be downloaded.
        """
        fetch = partial(self._checkpoint.fetch, progress or self._progress)
        return await self._worker.run(lambda job: fetch(job.check))

    @property
    def device(self) -> str:
        """Where the model is, or where it is wanted while it is not loaded."""
        return self._device if self._loaded is None else str(self._loaded.device)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return _RATE

    @property
    def watermark(self) -> bool:
        """Whether what it says is marked."""
        return self._marked

    @staticmethod
    def get_available_models() -> list[str]:
        """The names of Resemble AI's models."""
        return available_models()

    def get_model_info(self) -> dict[str, Any]:
        """What is known of the model."""
        kind = self._checkpoint.kind
        return {
            "model_type": kind,
            "model": self._checkpoint.name,
            "device": self.device,
            "sample_rate": _RATE,
            "model_loaded": self.model_loaded,
            "watermark": self._marked,
            "languages": [*LANGUAGES] if kind == "multilingual" else ["en"],
        }

    def _asked(self, voice_config: dict[str, Any] | None) -> ChatterboxSettings:
        return ChatterboxSettings.from_voice_config(voice_config, self._settings)

    def _fetch(self, check: Callable[[], None]) -> None:
        self._checkpoint.fetch(self._progress, check)

    def _load(self) -> Model:
        # First: without Perth the package itself fails, and does not say why.
        marker = _marker()
        device = choose_device(self._device)
        chatterbox = load(self._checkpoint, device)
        model = Model(chatterbox, self._checkpoint.kind, device, self._checkpoint.name)
        if chatterbox.conds is not None:
            self.voices.add_built_in(
                _DEFAULT, name="Default", digest=f"of {self._checkpoint.name}", language="en"
            )
        self._marker = marker if self._marked else None
        return model

    def _warm_up(self, model: Model) -> None:
        known = self.voices.list()
        if known:
            model.warm_up(Request(["a"], self._settings, self.voices, known[0].id, self._manner, 0))

    def _released(self) -> None:
        free_memory(choose_device(self._device))


@cache
def _marker() -> Marker:
    """One for all engines; loading it takes a second, and leaves out nothing."""
    return Marker(_RATE)


class _Finish:
    """What is done with sound once it is made: joined, paced, marked."""

    def __init__(self, said: list[Piece], speed: float, marker: Marker | None) -> None:
        self._said = said
        self._joiner = Joiner(_RATE)
        self._speed = Speed(speed, _RATE)
        self._marking = None if marker is None else Marking(marker)

    def feed(self, sound: Sound) -> NDArray[np.float32]:
        """The next samples; after the last sound, all that are left."""
        samples = self._joiner.feed(sound.samples)
        if sound.ends:
            pause = self._said[sound.line].pause
            samples = np.concatenate([samples, self._joiner.end_piece(pause)])
        samples = self._speed.feed(samples)
        is_last = sound.ends and sound.line == len(self._said) - 1
        if is_last:
            samples = np.concatenate([samples, self._speed.finish()])
        if self._marking is not None:
            samples = self._marking.feed(samples)
            if is_last:
                samples = np.concatenate([samples, self._marking.finish()])
        return samples
