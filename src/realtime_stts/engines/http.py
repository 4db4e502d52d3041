"""Speech engines behind HTTP: any server that speaks OpenAI's audio API.

    stt = load_stt("http:Systran/faster-whisper-small", base_url="http://localhost:8000/v1")
    tts = load_tts("http:tts-1", voice="alloy")  # OpenAI's own, with OPENAI_API_KEY

OpenAI's API is documented at https://platform.openai.com/docs/api-reference/audio. Without
``base_url`` and ``api_key`` the environment says where and who, as the package `openai` has
it: ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. Sound and text leave this machine.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Literal

from anyio import to_thread
from typing_extensions import Self

from ..audio import AudioData
from ..errors import (
    AudioFormatError,
    AudioLimitError,
    EngineError,
    EngineLoadError,
    MissingExtraError,
    RealtimeSTTSError,
    VoiceError,
)
from ..protocols import SynthesisResult, TranscriptionResult

try:
    import openai
except ImportError as exc:
    raise MissingExtraError("The engine http", "openai") from exc

from ._http_answers import transcription_of
from ._http_client import Connections, body_of, pieces_of
from ._http_sound import SoundReader

__all__ = ["HttpSTTEngine", "HttpTTSEngine"]

_MAX_ANSWER: Final = 16 << 20  # bytes of a transcription: hours, with every word's times
_MAX_UPLOAD: Final = 25_000_000  # bytes; OpenAI's limit
_SHORTEST: Final = 0.1  # s; OpenAI refuses shorter clips
_MAX_SPEECH: Final = 3600.0  # s of one text
_MIN_SPEED, _MAX_SPEED = 0.25, 4.0  # OpenAI's bounds
_TIMED: Final = {
    "response_format": "verbose_json",
    "timestamp_granularities": ["word", "segment"],
}


class _NoTimesError(Exception):
    """The server has no times to tell of this model."""


class _HttpEngine(ABC):
    """A model that lives elsewhere: loaded is, of which the server is known to be there."""

    name: str
    _connections: Connections

    @property
    def model_loaded(self) -> bool:
        """Whether there is a client. Whether the model is loaded is the server's business."""
        return self._connections.is_open

    async def is_available(self) -> bool:
        """Whether the server answers, and lets us in."""
        was_open = self._connections.is_open
        try:
            await self._connections.probe()
        except RealtimeSTTSError:
            return False
        finally:
            if not was_open:
                await self._connections.close()
        return True

    async def load(self) -> None:
        """See whether the server is there and lets us in, unless a call went there already."""
        try:
            await self._connections.connect()
        except EngineLoadError:
            raise
        except RealtimeSTTSError as exc:
            raise EngineLoadError(self.name, f"cannot be loaded: {exc}") from exc

    async def unload(self) -> None:
        """Wait for calls in flight, then close the connections."""
        await self._connections.close()

    async def warmup(self) -> None:
        """Load, and make one small call: the server may load its model with it."""
        await self.load()
        await self._small_call()

    @abstractmethod
    async def _small_call(self) -> None:
        """The cheapest call there is."""

    async def __aenter__(self) -> Self:
        await self.load()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unload()


class HttpSTTEngine(_HttpEngine):
    """Speech to text with ``POST {base_url}/audio/transcriptions``.

    It takes whole clips; `load_stt` and conversations make partial results of any such
    engine, by asking again as the clip grows. A server that has no ``verbose_json`` for
    its model is asked for plain ``json`` from then on: no times, words or confidence.

    Args:
        model: As the server calls it.
        base_url: Where the API begins, such as ``http://localhost:8000/v1``; by default
            ``OPENAI_BASE_URL``, or OpenAI's own.
        api_key: By default ``OPENAI_API_KEY``; servers of one's own may need none.
        prompt: What came before, or words that are likely.
        temperature: Of the model's choice, 0 to 1; None for the server's default.
        timestamps: Whether to ask for times, words and confidence.
        upload: The file's format; flac is half as long, and costs some computing.
        sample_rate: Hz that a higher rate is brought down to before it is sent; None sends
            every rate as it is.
        max_upload: Bytes of a file; a longer clip is refused here.
        timeout: Seconds for which the server may send nothing.
        extra_body: Further fields of each request, for what one server knows.
        client: A client to use and never close, instead of an address and key.

    Raises:
        ValueError: A value is out of range, or OpenAI's server is meant and there is no key.
    """

    def __init__(
        self,
        model: str = "whisper-1",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        prompt: str | None = None,
        temperature: float | None = None,
        timestamps: bool = True,
        upload: Literal["wav", "flac"] = "wav",
        sample_rate: int | None = 16_000,
        max_upload: int = _MAX_UPLOAD,
        timeout: float = 60.0,
        extra_body: Mapping[str, Any] | None = None,
        client: openai.AsyncOpenAI | None = None,
    ) -> None:
        if upload not in ("wav", "flac"):
            raise ValueError(f"upload is wav or flac, not {upload!r}")
        if sample_rate is not None:
            AudioData(b"", sample_rate)  # refuses what is no rate
        self.name = f"http:{model}"
        self._connections = Connections(
            self.name, client=client, base_url=base_url, api_key=api_key, timeout=timeout
        )
        self._timestamps = timestamps
        self._upload, self._rate, self._max_upload = upload, sample_rate, max_upload
        given = {"prompt": prompt, "temperature": temperature}
        self._request: dict[str, Any] = {
            "model": model,
            "extra_body": dict(extra_body or {}),
            "timeout": self._connections.timeout,
            **{key: value for key, value in given.items() if value is not None},
        }

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        """As `STTEngine.transcribe`; errors of the server as the guide says.

        Raises:
            AudioFormatError: The clip cannot be decoded, or the server cannot use it.
            AudioLimitError: It is longer than may be sent, or than the server takes.
            EngineError: The server failed; of these, `EngineLoadError` where it always
                will, `EngineRefusedError` where it will not do this, and
                `EngineTimeoutError` where it said nothing.
            OverloadedError: It has too much to do.
        """
        # Whoever cancels is released at once, and the thread soon after.
        file, seconds = await to_thread.run_sync(self._file_of, audio, abandon_on_cancel=True)
        if file is None:
            return TranscriptionResult("", language or "", [])
        request = {
            **self._request,
            "file": (f"audio.{self._upload}", file, f"audio/{self._upload}"),
        }
        if language is not None:
            request["language"] = language
        body = await self._answer(request)
        try:
            return transcription_of(json.loads(body), language, seconds)
        except (ValueError, RecursionError) as exc:
            raise EngineError(self.name, "the server's answer is no transcription in JSON") from exc

    async def _answer(self, request: dict[str, Any]) -> bytes:
        if self._timestamps:
            try:
                return await self._ask({**request, **_TIMED})
            except _NoTimesError:
                self._timestamps = False
        return await self._ask({**request, "response_format": "json"})

    def _file_of(self, audio: AudioData) -> tuple[bytes | None, float]:
        pcm = audio.mono().converted()
        if not pcm.n_frames:
            return None, 0.0
        seconds = pcm.duration_seconds
        if self._rate is not None and pcm.sample_rate > self._rate:
            pcm = pcm.resampled(self._rate)
        if (lacks := _SHORTEST - seconds) > 0.0:
            pcm = AudioData.concat([pcm, AudioData.silence(lacks, pcm.sample_rate)])
        file = pcm.encode(self._upload)
        if len(file) > self._max_upload:
            raise AudioLimitError(
                f"{seconds:.0f} s of audio are {len(file)} bytes to send, and "
                f"may be {self._max_upload}: cut it, or send flac"
            )
        return file, seconds

    async def _ask(self, request: dict[str, Any]) -> bytes:
        async with self._connections.use() as client:
            transcriptions: Any = client.audio.transcriptions.with_streaming_response
            try:
                async with transcriptions.create(**request) as response:
                    return await body_of(response, _MAX_ANSWER, self.name)
            except openai.APIStatusError as exc:
                if request["response_format"] == "verbose_json" and _about_times(exc):
                    raise _NoTimesError from exc
                _blame_the_clip(exc)
                raise

    async def _small_call(self) -> None:
        await self.transcribe(AudioData.silence(0.5, 16_000))


class HttpTTSEngine(_HttpEngine):
    """Text to speech with ``POST {base_url}/audio/speech``, streamed as it is made.

    Keys of a voice configuration: ``voice_id``, ``speed_factor`` (0.25 to 4.0) and
    ``instructions``, which say how, to models that take them.

    Args:
        model: As the server calls it.
        voice: Whose voice, unless a call says so.
        base_url: Where the API begins, such as ``http://localhost:8880/v1``; by default
            ``OPENAI_BASE_URL``, or OpenAI's own.
        api_key: By default ``OPENAI_API_KEY``; servers of one's own may need none.
        response_format: What to ask for: ``pcm``, or ``wav`` from servers without it.
        sample_rate: Hz of ``pcm``, where the server's content type does not say; 24,000
            is OpenAI's. A WAV file's header says it.
        instructions: Sent with each text, if given.
        voices: What `list_voices` says of a server that does not: ids.
        timeout: Seconds for which the server may send nothing.
        extra_body: Further fields of each request, for what one server knows.
        client: A client to use and never close, instead of an address and key.

    Raises:
        ValueError: A value is out of range, or OpenAI's server is meant and there is no key.
    """

    def __init__(
        self,
        model: str = "tts-1",
        *,
        voice: str = "alloy",
        base_url: str | None = None,
        api_key: str | None = None,
        response_format: Literal["pcm", "wav"] = "pcm",
        sample_rate: int = 24_000,
        instructions: str | None = None,
        voices: Sequence[str] = (),
        timeout: float = 30.0,
        extra_body: Mapping[str, Any] | None = None,
        client: openai.AsyncOpenAI | None = None,
    ) -> None:
        if response_format not in ("pcm", "wav"):
            raise ValueError(f"response_format is pcm or wav, not {response_format!r}")
        AudioData(b"", sample_rate)  # refuses what is no rate
        self.name = f"http:{model}"
        self._connections = Connections(
            self.name, client=client, base_url=base_url, api_key=api_key, timeout=timeout
        )
        self._voice, self._instructions, self._rate = voice, instructions, sample_rate
        self._voices = tuple(dict.fromkeys((voice, *voices)))
        self._request: dict[str, Any] = {
            "model": model,
            "response_format": response_format,
            "extra_body": dict(extra_body or {}),
            "timeout": self._connections.timeout,
        }

    async def synthesize(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> SynthesisResult:
        began = perf_counter()
        async with aclosing(self.stream(text, voice_config)) as chunks:
            audio = AudioData.concat([chunk async for chunk in chunks])
        voice = self._config(voice_config)["voice"]
        return SynthesisResult(audio, text, voice, perf_counter() - began)

    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        """As `StreamingTTSEngine.stream`; errors of the server as the guide says.

        Raises:
            ValueError: The text is blank, or a value is out of range.
            VoiceError: The server has no such voice.
            EngineError: The server failed; of these, `EngineLoadError` where it always
                will, `EngineRefusedError` where it will not do this, and
                `EngineTimeoutError` where it said nothing.
            OverloadedError: It has too much to do.
        """
        if not text.strip():
            raise ValueError("there is nothing to say: the text is blank")
        request = {**self._request, "input": text, **self._config(voice_config)}
        spoken = 0.0
        async with self._connections.use() as client:
            try:
                async with (
                    client.audio.speech.with_streaming_response.create(**request) as response,
                    aclosing(self._sounds(response)) as sounds,
                ):
                    async for sound in sounds:
                        spoken += sound.duration_seconds
                        if spoken > _MAX_SPEECH:
                            raise EngineError(self.name, "the speech does not end")
                        yield sound
            except openai.APIStatusError as exc:
                if exc.status_code in (400, 404, 422) and _about_voice(exc):
                    raise VoiceError(
                        f"{self.name}: the server has no voice {request['voice']!r}"
                    ) from exc
                raise
        if not spoken:
            raise EngineError(self.name, "the server made no sound of the text")

    async def _sounds(self, response: Any) -> AsyncGenerator[AudioData]:
        declared: str = response.http_response.headers.get("content-type", "")
        try:
            reader = SoundReader(declared, self._rate)
            async with aclosing(pieces_of(response)) as pieces:
                async for piece in pieces:
                    if (sound := reader.push(piece)) is not None:
                        yield sound
            if (sound := reader.finish()) is not None:
                yield sound
        except ValueError as exc:
            raise EngineError(self.name, f"the server's answer {exc}") from exc

    async def list_voices(self) -> list[dict[str, Any]]:
        """The voices: those of ``GET {base_url}/audio/voices``, which some servers have.

        Otherwise the one that was given, and ``voices``.
        """
        found: object = None
        async with self._connections.use() as client:
            try:
                answer: Any = client.get(
                    "/audio/voices",
                    cast_to=object,
                    options={"timeout": self._connections.timeout},
                )
                found = await answer
            except openai.APIStatusError as exc:
                if exc.status_code in (401, 403, 429) or exc.status_code >= 500:
                    raise
        return _voices(found) or [_voice(voice) for voice in self._voices]

    def _config(self, voice_config: Mapping[str, Any] | None) -> dict[str, Any]:
        """The fields of a request that a voice configuration decides."""
        # None, as a contract's configuration may have it, means the engine's own.
        given = {key: value for key, value in (voice_config or {}).items() if value is not None}
        config: dict[str, Any] = {"voice": str(given.get("voice_id") or self._voice)}
        speed = given.get("speed_factor", 1.0)
        if not isinstance(speed, int | float) or not _MIN_SPEED <= speed <= _MAX_SPEED:
            raise ValueError(f"speed_factor is {_MIN_SPEED} to {_MAX_SPEED}, not {speed!r}")
        if speed != 1.0:  # servers that know no speed refuse it
            config["speed"] = speed
        if instructions := given.get("instructions", self._instructions):
            config["instructions"] = str(instructions)
        return config

    async def _small_call(self) -> None:
        async with aclosing(self.stream("Hello.")) as chunks:
            await anext(chunks)


def _blame_the_clip(error: openai.APIStatusError) -> None:
    """Raise what it means if the server says that the file is to blame."""
    status, code = error.status_code, str(error.code or "")
    if status == 413:
        raise AudioLimitError("the clip is longer than the server takes (413)") from error
    if status == 415 or (status in (400, 422) and (error.param == "file" or "audio" in code)):
        raise AudioFormatError(f"the server cannot use this clip ({status})") from error


def _about_times(error: openai.APIStatusError) -> bool:
    if error.status_code not in (400, 422):
        return False
    said = f"{error.param} {error.message}"
    return any(word in said for word in ("response_format", "timestamp_granularities", "verbose"))


def _about_voice(error: openai.APIStatusError) -> bool:
    return error.param == "voice" or "voice" in str(error.code or "")


def _voices(found: object) -> list[dict[str, Any]]:
    """Of a list of ids or of mappings, perhaps under ``voices`` or ``data``; each id once."""
    if isinstance(found, Mapping):
        found = found.get("voices", found.get("data"))
    voices: dict[str, dict[str, Any]] = {}
    for each in found if isinstance(found, list) else ():
        if isinstance(each, str):
            voices.setdefault(each, _voice(each))
        elif isinstance(each, Mapping) and isinstance(
            id := each.get("id") or each.get("voice_id") or each.get("name"), str
        ):
            known = _voice(id, str(each.get("name") or id), str(each.get("language") or ""))
            voices.setdefault(id, known)
    return [*voices.values()]


def _voice(id: str, name: str | None = None, language: str = "") -> dict[str, Any]:
    return {"id": id, "name": name or id, "language": language, "type": "predefined"}
