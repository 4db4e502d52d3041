"""The voices by what clients call them: the engine's own, and those people uploaded.

What a client sends is compared with names that are known here, and never makes a path.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import HTTPException

from realtime_stts.audio import AudioData
from realtime_stts.errors import RealtimeSTTSError, UnknownVoiceError, VoiceError
from realtime_stts.settings import Settings
from realtime_stts.voices import Consent, VoiceInfo

from .names import VoiceType, type_of, voice_id_of, without_ending
from .previews import Previews

if TYPE_CHECKING:
    from .services import Services

__all__ = ["Voice", "Voices", "folder_of"]


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice.

    Attributes:
        built_in: It comes with the engine.
        usable: The engine in use can speak in it.
        digest: Of an uploaded recording; another one of the same id has another.
    """

    id: str
    name: str
    type: VoiceType
    language: str
    built_in: bool
    usable: bool
    digest: str = ""

    @property
    def filename(self) -> str:
        """What clients that know voices by files call it."""
        return f"{self.id.replace('/', '-')}.wav"


def folder_of(settings: Settings) -> Path:
    """Where uploaded voices are kept."""
    return settings.tts_engine.predefined_voices_path or settings.paths.output / "voices"


class Voices:
    """All voices of a server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.folder = folder_of(services.settings)
        self._known: tuple[object, tuple[VoiceInfo, ...], list[Voice]] | None = None
        self._changing = anyio.Lock()
        self.previews = Previews(self._is_known)

    async def all(self) -> list[Voice]:
        """The engine's own first, then the uploaded ones.

        Raises:
            RealtimeSTTSError: The engine cannot say which voices it has.
        """
        engine = self._services.tts
        stored = await run_sync(self._services.voices.list)
        # Asked once for each engine, and again when somebody has added or deleted a voice.
        known = self._known
        if known is None or known[0] is not engine or known[1] != stored:
            spoken = await engine.list_voices()
            is_new = known is None or known[0] is not engine
            known = (engine, stored, [*_own(spoken, stored), *_uploaded(stored, spoken)])
            self._known = known
            self.previews.retain([] if is_new else known[2])  # a new engine may sound otherwise
        return [*known[2]]

    async def uploaded(self, type: VoiceType | None = None) -> list[Voice]:
        """Those that people uploaded, whether or not there is an engine that could say them."""
        voices = _uploaded(await run_sync(self._services.voices.list), None)
        return [voice for voice in voices if type in (None, voice.type)]

    async def known(self) -> list[Voice]:
        """`all`, or while the engine cannot be asked, the uploaded ones."""
        if self._services.state == "ready":
            with suppress(RealtimeSTTSError):
                return await self.all()
        return await self.uploaded()

    async def find(
        self, name: str, type: VoiceType | None = None, *, among: list[Voice] | None = None
    ) -> Voice:
        """The voice of an id, a name, or a file's name: ``emily``, ``Emily``, ``Emily.wav``.

        Args:
            type: Keeps to voices of one kind.
            among: By default `all`.

        Raises:
            UnknownVoiceError: There is none.
        """
        voices = [
            v for v in (await self.all() if among is None else among) if type in (None, v.type)
        ]
        bare = without_ending(name)
        spoken = {bare.casefold(), name.casefold()}
        # Names of files become ids as they did when they were uploaded; paths become nothing.
        made = "" if {*"/\\\0"} & {*name} else voice_id_of(name, type or "predefined")
        for is_meant in (
            lambda voice: voice.id in (name, bare) or voice.filename == name,
            lambda voice: voice.name.casefold() in spoken,
            lambda voice: voice.id == made and not voice.built_in,
        ):
            if found := next(filter(is_meant, voices), None):
                return found
        raise UnknownVoiceError(name[:100], ())

    async def resolve(self, voice_id: str | None, *, mode: str | None = None) -> str | None:
        """The engine's id of a voice.

        Args:
            voice_id: What a client calls it; None is the default voice, which may be the
                engine's own choice: None.
            mode: ``predefined`` or ``clone`` keeps to voices of that kind.

        Raises:
            UnknownVoiceError: There is none.
            HTTPException: 409: it was uploaded, and the engine in use cannot clone.
        """
        if voice_id is None:
            voice_id = self._services.settings.tts_engine.default_voice_id
            if voice_id is None:
                return None
            mode = None
        kinds: dict[str, VoiceType] = {"predefined": "predefined", "clone": "reference"}
        try:
            voice = await self.find(voice_id, kinds.get(mode or ""))
        except UnknownVoiceError:
            if mode != "clone" and await self._is_variant(voice_id):
                return voice_id
            raise
        if not voice.usable:
            raise HTTPException(
                409,
                {
                    "detail": "The engine in use cannot speak in uploaded voices: take one of its "
                    "own, or an engine that clones.",
                    "error_code": "engine_cannot_clone",
                },
            )
        return voice.id

    async def _is_variant(self, name: str) -> bool:
        """Whether it is one of eSpeak's speakers of a voice, as in ``en-us+f3``."""
        base, plus, variant = name.partition("+")
        variants = getattr(self._services.tts, "list_variants", None)
        if not plus or variants is None:
            return False
        known = {voice.id for voice in await self.all() if voice.built_in}
        return base in known and variant in await variants()

    # -- changes

    async def add(
        self, voice_id: str, audio: AudioData, *, consent: Consent, name: str, language: str
    ) -> Voice:
        """Take a voice from a recording: it is there whole, or not at all.

        Raises:
            HTTPException: 409: the id is taken, the recording is here already, or there are as
                many voices as there may be.
            VoiceError: No voice can be taken from the recording.
            OSError: It cannot be stored.
        """
        registry = self._services.voices
        async with self._changing:  # one after the other: each counts the ones before
            there = await self.uploaded()
            if voice_id in {voice.id for voice in await self.known()}:
                raise _conflict("There is a voice of this name already.", "voice_exists")
            if len(there) >= self._services.settings.limits.max_voices:
                raise _conflict("There are as many voices as there may be.", "too_many_voices")

            def register() -> VoiceInfo:
                return registry.register(
                    voice_id, audio, consent=consent, name=name, language=language
                )

            info = await run_sync(register)
            type_ = type_of(info.id)
            twins = [v for v in there if v.digest == info.digest and v.type == type_]
            if twins:
                await run_sync(registry.delete, voice_id)
                raise _conflict(
                    f"This recording is here already, as {twins[0].name}.", "recording_exists"
                )
        return _uploaded((info,), None)[0]

    async def delete(self, voice: Voice) -> None:
        """Remove an uploaded voice and all that was made of it.

        Raises:
            HTTPException: 409: it comes with the engine.
            UnknownVoiceError: Somebody else was faster.
            OSError: It cannot be removed.
        """
        if voice.built_in:
            raise _conflict("This voice comes with the engine.", "voice_built_in")
        async with self._changing:
            try:
                await run_sync(self._services.voices.delete, voice.id)
            finally:
                known, self._known = self._known, None  # a preview being made is not kept either
                self.previews.retain([v for v in known[2] if v.id != voice.id] if known else [])

    def _is_known(self, voice: Voice) -> bool:
        return self._known is not None and voice in self._known[2]

    # -- recordings

    async def recording(self, voice: Voice) -> bytes:
        """The recording of an uploaded voice, as a WAV file.

        Raises:
            UnknownVoiceError: It was deleted meanwhile.
            VoiceError: It is damaged.
            OSError: It cannot be read.
        """
        registry = self._services.voices
        return await run_sync(lambda: registry.recording(voice.id).encode("wav"))

    async def damage(self, voice: Voice) -> str | None:
        """What is wrong with an uploaded recording; None if it is whole."""
        try:
            await self.recording(voice)
        except UnknownVoiceError:
            return None  # it was deleted meanwhile
        except (VoiceError, OSError):
            return "The recording was changed or lost."
        return None

    async def size_of(self, voice: Voice) -> int:
        """Bytes that an uploaded voice takes on the disk; 0 of one that is gone meanwhile."""
        with suppress(UnknownVoiceError, OSError):
            return await run_sync(self._services.voices.size_of, voice.id)
        return 0


def _own(spoken: list[dict[str, Any]], stored: tuple[VoiceInfo, ...]) -> list[Voice]:
    uploaded = {info.id for info in stored if not info.built_in}
    return [
        Voice(
            id=str(each["id"]),
            name=str(each.get("name") or each["id"]),
            type="predefined",
            language=str(each.get("language") or ""),
            built_in=True,
            usable=True,
        )
        for each in spoken
        if each["id"] not in uploaded
    ]


def _uploaded(stored: tuple[VoiceInfo, ...], spoken: list[dict[str, Any]] | None) -> list[Voice]:
    usable = {each["id"] for each in spoken or ()}
    return [
        Voice(
            id=info.id,
            name=info.name,
            type=type_of(info.id),
            language=info.language,
            built_in=False,
            usable=info.id in usable,
            digest=info.digest,
        )
        for info in stored
        if not info.built_in
    ]


def _conflict(detail: str, code: str) -> HTTPException:
    return HTTPException(409, {"detail": detail, "error_code": code})
