"""Text to speech with eSpeak NG: instant, small, in a hundred languages, and robotic.

The library and its data come inside the espeakng-loader package, which downloads nothing.
eSpeak NG (https://github.com/espeak-ng/espeak-ng) is licensed under the GPL, version 3: it
is part of the ``local`` extra and never of the core, and a program that ships it has to
keep to that licence.

The C library has one voice, one set of parameters and one callback for the whole process,
so all engines of this process share one worker and set everything anew for each sentence.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from ..audio import AudioData
from ..errors import EngineError, MissingExtraError
from ..protocols import SynthesisResult
from ._lifecycle import LocalEngine
from ._worker import StreamJob, Worker

try:
    import espeakng_loader
except ImportError as exc:
    raise MissingExtraError("ESpeakTTSEngine", "local") from exc

__all__ = ["ESpeakTTSEngine"]

_WORKER: Final = Worker("espeak")

_MIN_RATE, _MAX_RATE = 80, 450  # words a minute, the library's own bounds

# At a sentence's end the voice may be taken by another call, and a slow reader waited for.
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…。！？])\s+|\n+")  # noqa: RUF001 - full width

# speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_POS_CHARACTER: Final = 1
_CHARS_UTF8: Final = 0x1
_END_PAUSE: Final = 0x1000
_RATE, _VOLUME, _PITCH = 1, 2, 3
_GENDERS: Final = {1: "male", 2: "female"}

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),  # priority byte, tag, NUL; again; NUL
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True)
class _Sound:
    """How one call sounds, checked."""

    path: bytes  # the voice's, as the library wants it, with the variant's name
    rate: int
    pitch: int
    volume: int


class _Library:
    """libespeak-ng, initialised once a process; every method blocks and needs the worker."""

    def __init__(self) -> None:
        lib = ctypes.CDLL(espeakng_loader.get_library_path())
        lib.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        lib.espeak_ListVoices.argtypes = (ctypes.POINTER(_Voice),)
        lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = int(lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0))
        if self.sample_rate <= 0:
            raise EngineError("espeak", "the library did not start: its data are missing")
        self._lib = lib
        self._hear: Callable[[bytes], bool] = lambda samples: False
        self._callback = _Callback(self._on_samples)  # kept: the library calls it ever after
        lib.espeak_SetSynthCallback(self._callback)
        self.voices, self._paths = self._list_voices()
        variants = self._list(_Voice(languages=ctypes.create_string_buffer(b"variant")))
        files = (variant.identifier.decode().rpartition("/")[2] for variant in variants)
        self.variants = {file.lower(): file for file in files}

    def path(self, voice_id: object) -> bytes:
        """Where a voice is, such as ``en-us`` or ``en-us+f3``.

        Raises:
            ValueError: There is none. The library itself would take another one silently.
        """
        language, plus, variant = str(voice_id).lower().partition("+")
        if language not in self._paths or (plus and variant not in self.variants):
            raise ValueError(
                f"eSpeak has no voice {voice_id!r}: `list_voices` names them, and one may be "
                "followed by + and a variant, as in en-us+f3"
            )
        return b"%b%b" % (self._paths[language], (plus + self.variants.get(variant, "")).encode())

    def say(self, text: bytes, sound: _Sound, hear: Callable[[bytes], bool]) -> None:
        """Speak; ``hear`` gets 16-bit samples as they are made, and says whether to stop."""
        lib, self._hear = self._lib, hear
        failed = lib.espeak_SetVoiceByName(sound.path)
        for parameter, value in (
            (_RATE, sound.rate),
            (_PITCH, sound.pitch),
            (_VOLUME, sound.volume),
        ):
            failed = failed or lib.espeak_SetParameter(parameter, value, 0)
        failed = failed or lib.espeak_Synth(
            text, len(text) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8 | _END_PAUSE, None, None
        )
        if failed:
            raise EngineError("espeak", f"the library failed with code {failed}")

    def _on_samples(self, samples: Any, n_samples: int, events: Any) -> int:
        return int(bool(n_samples) and self._hear(ctypes.string_at(samples, 2 * n_samples)))

    def _list(self, which: _Voice | None) -> Iterator[_Voice]:
        found = self._lib.espeak_ListVoices(which and ctypes.byref(which))
        index = 0
        while found[index]:
            yield found[index].contents
            index += 1

    def _list_voices(self) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        voices: list[dict[str, Any]] = []
        paths: dict[str, bytes] = {}
        for voice in self._list(None):
            tags = list(_tags(voice))
            path = bytes(voice.identifier)
            # The first tag names the voice; others are further names, if nobody has them.
            voice_id = tags[0] if tags[0] not in paths else path.decode().lower()
            paths[voice_id] = path
            for alias in (path.decode().lower(), *tags[1:]):
                paths.setdefault(alias, path)
            voices.append(
                {
                    "id": voice_id,
                    "name": voice.name.decode(),
                    "language": tags[0],
                    "gender": _GENDERS.get(voice.gender, ""),
                    "type": "predefined",
                }
            )
        return voices, paths


def _tags(voice: _Voice) -> Iterator[str]:
    at = 0
    while voice.languages[at] != b"\0":
        at += 1  # the priority
        tag = bytearray()
        while (letter := voice.languages[at]) != b"\0":
            tag += letter
            at += 1
        at += 1
        yield tag.decode().lower()


class ESpeakTTSEngine(LocalEngine[_Library]):
    """Text to speech with eSpeak NG: 16-bit mono at 22,050 Hz.

    The text is plain text, never markup. Keys of a voice configuration: ``voice_id``,
    ``speed_factor``, ``rate``, ``pitch`` and ``volume``, each over the engine's own.

    Args:
        voice: A voice's id, such as ``en-us``, perhaps with a variant, as in ``en-us+f3``.
        rate: Words a minute; times the ``speed_factor``, 80 to 450.
        pitch: 0 to 100.
        volume: 0 to 200; 100 is normal, and more may clip.

    Raises:
        ValueError: A number is out of range. Whether there is such a voice shows at the
            first call.
    """

    name = "espeak"

    def __init__(
        self, voice: str = "en-us", *, rate: int = 175, pitch: int = 50, volume: int = 100
    ) -> None:
        super().__init__(_WORKER)
        self._defaults: dict[str, Any] = {
            "voice_id": voice,
            "rate": rate,
            "pitch": pitch,
            "volume": volume,
        }
        _numbers(self._defaults)

    def _load(self) -> _Library:
        return _library()

    def _warm_up(self, model: _Library) -> None:
        model.say(b"a", self._sound(model, self._defaults), lambda samples: True)

    async def synthesize(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> SynthesisResult:
        began = perf_counter()
        async with aclosing(self.stream(text, voice_config)) as chunks:
            audio = AudioData.concat([chunk async for chunk in chunks])
        voice_id = self._config(voice_config)["voice_id"]
        return SynthesisResult(audio, text, voice_id, perf_counter() - began)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        if not text.strip():
            raise ValueError("there is nothing to say: the text is blank")
        config = self._config(voice_config)

        def speak(job: StreamJob[AudioData]) -> Iterator[None]:
            for sentence in _SENTENCE_END.split(text.strip()):
                model = self._model()
                rate = model.sample_rate

                def hear(samples: bytes, rate: int = rate) -> bool:
                    job.emit(AudioData(samples, rate))
                    return job.withdrawn

                model.say(_plain(sentence), self._sound(model, config), hear)
                yield

        async with aclosing(self._worker.stream(speak)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def list_voices(self) -> list[dict[str, Any]]:
        """The voices, sorted by name: id, name, language, gender and type of each."""
        return await self._worker.run(lambda job: [{**voice} for voice in self._model().voices])

    async def list_variants(self) -> list[str]:
        """What may follow a voice's id and a +: other speakers of the same voice."""
        return await self._worker.run(lambda job: sorted(self._model().variants))

    def _config(self, voice_config: dict[str, Any] | None) -> dict[str, Any]:
        # None, as a contract's configuration may have it, means the engine's own.
        given = {key: value for key, value in (voice_config or {}).items() if value is not None}
        config = {**self._defaults, **given}
        _numbers(config)
        return config

    def _sound(self, model: _Library, config: dict[str, Any]) -> _Sound:
        return _Sound(model.path(config["voice_id"]), *_numbers(config))


_loaded: _Library | None = None


def _library() -> _Library:
    global _loaded
    if _loaded is None:
        _loaded = _Library()
    return _loaded


def _plain(text: str) -> bytes:
    return text.replace("\0", " ").encode("utf-8", "replace")


def _numbers(config: dict[str, Any]) -> tuple[int, int, int]:
    rate = round(
        _number(config, "rate", 1, 10_000) * _number(config, "speed_factor", 0.01, 100, 1.0)
    )
    if not _MIN_RATE <= rate <= _MAX_RATE:
        raise ValueError(
            f"rate times speed_factor is {_MIN_RATE} to {_MAX_RATE} words a minute, not {rate}"
        )
    return rate, round(_number(config, "pitch", 0, 100)), round(_number(config, "volume", 0, 200))


def _number(
    config: dict[str, Any], key: str, low: float, high: float, default: float | None = None
) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{key} is {low:g} to {high:g}, not {value!r}")
    return value
