"""Voices by their ids: those that come with a model, and those taken from recordings.

A recording is kept as FLAC beside who consented to its use. What a model derives from it is
computed once and kept in memory, by what the recording holds and not by what it is called;
`VoiceRegistry.delete` removes both. Ids are plain words and never paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any, Final, Protocol, TypeVar, cast

from typing_extensions import Self

from ..audio import AudioData
from ..errors import AudioError, UnknownVoiceError, VoiceError
from ._reference import Reference, checked

__all__ = ["Consent", "Derived", "VoiceInfo", "VoiceRegistry"]

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LONGEST_NAME: Final = 100  # characters
_LONGEST_STATEMENT: Final = 10_000  # characters

# Of the folder. Some words alone are no names of files on Windows, "con" among them.
_FOLDER, _UNFINISHED = "voice-", ".unfinished-"
_AUDIO, _RECORD = "reference.flac", "voice.json"
_FORMAT: Final = 1


class Derived(Protocol):
    """What a model makes of a voice."""

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        ...

    def copy(self) -> Self:
        """The same, to be changed at will."""
        ...


DerivedT = TypeVar("DerivedT", bound=Derived)


@dataclass(frozen=True, slots=True)
class Consent:
    """That the person whose voice it is agreed to its use.

    Attributes:
        by: Who said so.
        statement: What they agreed to, in their words.
        at: When, with its time zone.

    Raises:
        VoiceError: Nobody said it, or nothing, or the time has no zone.
    """

    by: str
    statement: str
    at: datetime

    def __post_init__(self) -> None:
        if not self.by.strip() or not self.statement.strip():
            raise VoiceError("consent says who gave it, and to what")
        if max(len(self.by), len(self.statement)) > _LONGEST_STATEMENT:
            raise VoiceError(f"consent is said in up to {_LONGEST_STATEMENT} characters")
        if self.at.tzinfo is None:
            raise VoiceError("the time of a consent has a time zone, as datetime.now(UTC) has")


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """What is known of a voice.

    Attributes:
        id: Lower-case letters, digits, ``_`` and ``-``.
        name: For people.
        language: Of the recording, as ``en``; or "" if unknown.
        seconds: Of the recording; 0 for a voice that comes with a model.
        consent: None for a voice that comes with a model.
        digest: SHA-256 of the recording's file, or a name for what a model brings.
    """

    id: str
    name: str
    language: str
    seconds: float
    consent: Consent | None
    digest: str

    @property
    def built_in(self) -> bool:
        return self.consent is None


class VoiceRegistry:
    """Voices, for any number of engines and threads. Every method may block.

    Args:
        folder: Where recordings are kept, for one registry at a time; it is made if it is not
            there. None keeps them in memory.
        max_bytes: Of what models derive, the most to keep; what was used longest ago goes
            first, and is computed anew when it is wanted again.

    Raises:
        OSError: The folder cannot be read or written.
        VoiceError: A voice in it is damaged.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, max_bytes: int = 256 << 20
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._lock = RLock()
        self._voices: dict[str, VoiceInfo] = {}
        self._flac: dict[str, bytes] = {}  # of voices that are in no folder
        self._cache = _Cache(max_bytes, self._lock)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            for left_over in self._folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left_over)
            for path in sorted(self._folder.glob(f"{_FOLDER}*")):
                voice = _loaded(path)
                self._voices[voice.id] = voice

    def add_built_in(self, voice_id: str, *, name: str, digest: str, language: str = "") -> None:
        """A voice that comes with a model. Adding the same again changes nothing.

        Args:
            digest: Names what the model brings, so that another model's voice of this id
                is not taken for it.

        Raises:
            VoiceError: The id is no id, or another voice's.
        """
        voice = VoiceInfo(_id(voice_id), _name(name, voice_id), language, 0.0, None, digest)
        with self._lock:
            if self._voices.setdefault(voice_id, voice) != voice:
                raise VoiceError(f"there is a voice called {voice_id!r} already")

    def register(
        self,
        voice_id: str,
        audio: AudioData,
        *,
        consent: Consent,
        name: str = "",
        language: str = "",
    ) -> VoiceInfo:
        """Take a voice from a recording; it is there whole, or not at all.

        Args:
            name: For people; None is made of the id. Control characters are dropped, and a
                name that is taken gets a number.

        Raises:
            VoiceError: The id is no id or taken, or no voice can be taken from the recording,
                as `checked` says.
            OSError: It cannot be written.
        """
        _id(voice_id)
        flac = checked(audio).audio.encode("flac")
        seconds = checked(AudioData.from_file(flac)).seconds  # as it will be read
        digest = hashlib.sha256(flac).hexdigest()
        with self._lock:
            if voice_id in self._voices:
                raise VoiceError(
                    f"there is a voice called {voice_id!r} already: delete it first, or take "
                    "another id"
                )
            name = self._free(_name(name, voice_id))
            voice = VoiceInfo(voice_id, name, language, seconds, consent, digest)
            if self._folder is None:
                self._flac[voice_id] = flac
            else:
                self._store(self._folder, voice, flac)
            self._voices[voice_id] = voice
        return voice

    def delete(self, voice_id: str) -> None:
        """Remove a voice with its recording, its record and all that was derived from it.

        A call that has begun with the voice ends with it.

        Raises:
            UnknownVoiceError: There is none of that id.
            VoiceError: It comes with a model.
            OSError: Its folder cannot be moved away, and nothing is changed; or what is left of
                it cannot be removed, and the next registry of the folder tries again.
        """
        with self._lock:
            voice = self._known(voice_id)
            if voice.built_in:
                raise VoiceError(f"the voice {voice_id!r} comes with its model")
            leaving: Path | None = None
            if self._folder is not None:  # it goes at once, and its files after that
                leaving = self._folder / f"{_UNFINISHED}{os.urandom(8).hex()}"
                (self._folder / f"{_FOLDER}{voice_id}").rename(leaving)
            del self._voices[voice_id]
            self._flac.pop(voice_id, None)
            if not any(other.digest == voice.digest for other in self._voices.values()):
                self._cache.drop(voice.digest)
            if leaving is not None:
                shutil.rmtree(leaving)

    def list(self) -> tuple[VoiceInfo, ...]:
        """All voices, in the order of their names."""
        with self._lock:
            return tuple(sorted(self._voices.values(), key=lambda voice: voice.name.casefold()))

    def info(self, voice_id: str) -> VoiceInfo:
        """What is known of one.

        Raises:
            UnknownVoiceError: There is none of that id.
        """
        with self._lock:
            return self._known(voice_id)

    def recording(self, voice_id: str) -> AudioData:
        """The recording that a voice was taken from, as it is kept.

        Raises:
            UnknownVoiceError: There is none of that id.
            VoiceError: It comes with a model, or its recording was changed on disk.
            OSError: It cannot be read.
        """
        return self._reference(self._recorded(voice_id)).audio

    def size_of(self, voice_id: str) -> int:
        """Bytes that a recording takes where it is kept. Raises as `recording`."""
        voice = self._recorded(voice_id)
        with self._lock:
            if self._folder is None:
                return len(self._flac[voice.id])
            folder = self._folder / f"{_FOLDER}{voice.id}"
            return sum(each.stat().st_size for each in folder.iterdir())

    def conditionals(
        self, voice_id: str, model: str, compute: Callable[[Reference | None], DerivedT]
    ) -> DerivedT:
        """What a model makes of a voice: a copy, to be changed at will.

        Several threads that want the same have it computed once. If that fails, or is given
        up, the next of them computes it: nobody gets another's error.

        Args:
            model: Names the model and all else that the result depends on.
            compute: Makes it of the recording; of None for a voice that comes with the model.

        Raises:
            UnknownVoiceError: There is none of that id, or it was deleted meanwhile.
            VoiceError: The recording was changed on disk.
        """
        with self._lock:
            voice = self._known(voice_id)

        def derive() -> DerivedT:
            return compute(None if voice.built_in else self._reference(voice))

        def is_wanted() -> bool:
            return any(other.digest == voice.digest for other in self._voices.values())

        derived = self._cache.get((voice.digest, model), derive, is_wanted)
        with self._lock:
            if self._known(voice_id).digest != voice.digest:
                raise UnknownVoiceError(voice_id, tuple(sorted(self._voices)))
        return derived.copy()

    def _known(self, voice_id: str) -> VoiceInfo:
        voice = self._voices.get(voice_id)
        if voice is None:
            raise UnknownVoiceError(voice_id, tuple(sorted(self._voices)))
        return voice

    def _free(self, name: str) -> str:
        taken = {voice.name for voice in self._voices.values()}
        names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 3)))
        return next(free for free in names if free not in taken)

    def _store(self, folder: Path, voice: VoiceInfo, flac: bytes) -> None:
        partial = folder / f"{_UNFINISHED}{os.urandom(8).hex()}"
        partial.mkdir()
        try:
            (partial / _AUDIO).write_bytes(flac)
            (partial / _RECORD).write_text(_record(voice), encoding="utf-8")
            partial.rename(folder / f"{_FOLDER}{voice.id}")
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _recorded(self, voice_id: str) -> VoiceInfo:
        with self._lock:
            voice = self._known(voice_id)
        if voice.built_in:
            raise VoiceError(f"the voice {voice_id!r} comes with its model")
        return voice

    def _reference(self, voice: VoiceInfo) -> Reference:
        with self._lock:
            self._known(voice.id)
            if self._folder is None:
                flac = self._flac[voice.id]
            else:
                flac = (self._folder / f"{_FOLDER}{voice.id}" / _AUDIO).read_bytes()
        if hashlib.sha256(flac).hexdigest() != voice.digest:
            raise VoiceError(f"the recording of the voice {voice.id!r} was changed: register it")
        return checked(AudioData.from_file(flac))


class _Cache:
    """What was derived, by digest and model: computed once, and bounded in bytes.

    It shares the registry's lock, under which a voice and what is derived from it go together.
    """

    def __init__(self, max_bytes: int, lock: RLock) -> None:
        self._max_bytes = max_bytes
        self._lock = lock
        self._kept: OrderedDict[tuple[str, str], Derived] = OrderedDict()
        self._n_bytes = 0
        self._coming: dict[tuple[str, str], Future[Derived | None]] = {}

    def get(
        self,
        key: tuple[str, str],
        derive: Callable[[], DerivedT],
        is_wanted: Callable[[], bool],
    ) -> DerivedT:
        """What is kept under ``key``, or what ``derive`` makes of it now.

        Once it is made, it is kept if it ``is_wanted`` still, which is asked under the lock.
        """
        while True:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None:
                    self._kept.move_to_end(key)
                    return cast(DerivedT, kept)
                coming = self._coming.get(key)
                if coming is None:
                    mine = self._coming[key] = Future()
                    break
            made = coming.result()
            if made is not None:
                return cast(DerivedT, made)
        derived: DerivedT | None = None
        try:
            derived = derive()
            with self._lock:
                if derived.nbytes <= self._max_bytes and is_wanted():
                    self._keep(key, derived)
            return derived
        finally:
            with self._lock:
                del self._coming[key]
            mine.set_result(derived)

    def drop(self, digest: str) -> None:
        with self._lock:
            for key in [key for key in self._kept if key[0] == digest]:
                self._n_bytes -= self._kept.pop(key).nbytes

    def _keep(self, key: tuple[str, str], derived: Derived) -> None:
        self._kept[key] = derived
        self._n_bytes += derived.nbytes
        while self._n_bytes > self._max_bytes:
            self._n_bytes -= self._kept.popitem(last=False)[1].nbytes


def _id(voice_id: str) -> str:
    if not isinstance(voice_id, str) or not _ID.fullmatch(voice_id):
        raise VoiceError(
            f"a voice's id is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit; "
            f"not {str(voice_id)[:80]!r}"
        )
    return voice_id


def _name(name: str, voice_id: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in name)
    given = " ".join(printable.split())[:_LONGEST_NAME].rstrip()
    return given or re.sub("[_-]+", " ", voice_id).strip().title()


def _record(voice: VoiceInfo) -> str:
    consent = cast(Consent, voice.consent)
    fields = {
        "format": _FORMAT,
        "id": voice.id,
        "name": voice.name,
        "language": voice.language,
        "seconds": voice.seconds,
        "digest": voice.digest,
        "consent": {
            "by": consent.by,
            "statement": consent.statement,
            "at": consent.at.isoformat(),
        },
    }
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def _loaded(path: Path) -> VoiceInfo:
    try:
        record: dict[str, Any] = json.loads((path / _RECORD).read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise VoiceError(f"its record has the format {record['format']!r}, not {_FORMAT}")
        if f"{_FOLDER}{_id(record['id'])}" != path.name or not (path / _AUDIO).is_file():
            raise VoiceError("it is incomplete")
        given = record["consent"]
        consent = Consent(given["by"], given["statement"], datetime.fromisoformat(given["at"]))
        return VoiceInfo(
            record["id"],
            str(record["name"]),
            str(record["language"]),
            float(record["seconds"]),
            consent,
            str(record["digest"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AudioError) as exc:
        raise VoiceError(
            f"the voice in {path} is damaged ({exc}): restore that folder, or remove it"
        ) from exc
