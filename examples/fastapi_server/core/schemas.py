"""What clients send and get: the models of the API, and its errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from realtime_stts import TranscriptionResult
from realtime_stts.settings import Settings

__all__ = [
    "AudioFormat",
    "ConversationForm",
    "ErrorAnswer",
    "InvalidField",
    "RecordingForm",
    "Segment",
    "Speaking",
    "SpeechRequest",
    "Transcript",
    "ValidateVoice",
    "VoiceCheck",
    "VoiceDetails",
    "VoiceEntry",
    "errors",
]

AudioFormat = Literal["wav", "opus", "mp3", "flac", "ogg", "pcm"]

_LANGUAGE = r"^(auto|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$"
_MAX_NAME = 200  # characters of a voice's name; longer ones are no voice's


# -- errors ------------------------------------------------------------------------------


class InvalidField(BaseModel):
    """One field of a request that cannot be used."""

    model_config = ConfigDict(extra="allow")

    type: str
    loc: list[str | int] = Field(description="Where it is.")
    msg: str = Field(description="What is wrong with it.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    detail: str | list[InvalidField] | dict[str, Any] = Field(
        description="For people; or what is wrong with each field."
    )
    error_code: str = Field(description="For programs.", examples=["unknown_voice"])
    request_id: str = Field(description="Of this request, as in the log.")


_ERRORS = {
    400: "Something that this needs is missing.",
    401: "A token is needed, and none that is known was sent.",
    403: "The token does not permit this.",
    404: "There is no such voice.",
    409: "The engine in use cannot do this.",
    413: "The text, the file or the recording is too long.",
    415: "The file is of a kind that is not taken.",
    422: "Something in the request cannot be used.",
    429: "Too many requests: `Retry-After` says when to ask again.",
    500: "The engine failed, or something went wrong here.",
    503: "The engine is not ready, or too much is going on: `Retry-After` says when to ask again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for its documentation; some are possible everywhere."""
    everywhere = (401, 403, 422, 429, 500, 503)
    return {
        status: {"model": ErrorAnswer, "description": _ERRORS[status]}
        for status in sorted({*statuses, *everywhere})
    }


# -- speech ------------------------------------------------------------------------------


def _generation(name: str) -> Any:
    """An option as the settings have it, its range too; not given, it is theirs."""
    option = type(Settings().generation_defaults).model_fields[name]
    limits = {
        bound: getattr(limit, bound)
        for limit in option.metadata
        for bound in ("ge", "le", "pattern")
        if hasattr(limit, bound)
    }
    return Field(None, description=option.description, **limits)


class Speaking(BaseModel):
    """How to speak. What is left out is as the server's settings have it."""

    voice_mode: Literal["predefined", "clone"] = Field(
        "predefined", description="One of the voices, or one taken from an uploaded recording."
    )
    predefined_voice_id: str | None = Field(
        None, description="A voice's id, or its file's name.", max_length=_MAX_NAME
    )
    reference_audio_filename: str | None = Field(
        None, description="The recording to clone, for `clone`.", max_length=_MAX_NAME
    )
    output_format: AudioFormat | None = Field(
        None, description="Of the audio; opus is in an Ogg file, pcm is 16 bit without a header."
    )
    temperature: float | None = _generation("temperature")
    exaggeration: float | None = _generation("exaggeration")
    cfg_weight: float | None = _generation("cfg_weight")
    seed: int | None = _generation("seed")
    speed_factor: float | None = _generation("speed_factor")


class SpeechRequest(Speaking):
    """A text to speak."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "Hello, world.", "output_format": "wav"},
                {"text": "A little faster, please.", "speed_factor": 1.25, "stream": True},
            ]
        }
    )

    text: str = Field(min_length=1, description="Plain text.")
    language: str | None = _generation("language")
    split_text: bool = Field(
        True,
        description="Whether a long text may be spoken in pieces. Engines that stream cut it "
        "themselves; for any other it is cut between sentences.",
    )
    chunk_size: int = Field(120, ge=50, le=500, description="Characters in a piece, about.")
    stream: bool = Field(
        False, description="Whether to send the audio as it is made, without its length."
    )

    @field_validator("text")
    @classmethod
    def _has_words(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("there is nothing to say: the text is blank")
        return text


class VoiceEntry(BaseModel):
    """A voice."""

    id: str = Field(examples=["en-us"])
    name: str = Field(examples=["English (America)"])
    type: Literal["predefined", "reference"]
    path: str = Field(description="The name it goes by as a file.", examples=["en-us.wav"])
    language: str = Field(description="As `en`; empty if unknown.")
    built_in: bool = Field(description="Whether it comes with the engine.")
    usable: bool = Field(description="Whether the engine in use can speak with it.")


class VoiceCheck(BaseModel):
    """Whether a voice can be used, and why not."""

    is_valid: bool
    message: str


class VoiceDetails(VoiceEntry):
    """What is known of a voice."""

    exists: bool = True
    size_bytes: int | None = Field(description="Of its recording; null where there is none.")
    validation: VoiceCheck


class ValidateVoice(BaseModel):
    """A voice to look for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"voice_id": "en-us"}]})

    voice_id: str = Field(max_length=_MAX_NAME, description="An id, or a file's name.")
    voice_mode: Literal["predefined", "clone"] | None = Field(
        None, description="What it is to be used as; left out, it may be either."
    )


# -- recordings --------------------------------------------------------------------------

_Language = Annotated[str, StringConstraints(pattern=_LANGUAGE)]


_File = Annotated[
    UploadFile | None,
    WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"}),
]


class RecordingForm(BaseModel):
    """A recording to transcribe."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["audio_file"]}, {"required": ["file"]}]}
    )

    audio_file: _File = Field(
        None, description="wav, flac, ogg, opus, mp3, m4a or webm: its content decides."
    )
    file: _File = Field(None, description="The same, under another name.")
    language: _Language | None = Field(
        None, description="Language spoken, as `en`; `auto` lets the engine detect it."
    )
    lang: _Language | None = Field(None, description="The same, under another name.")


class ConversationForm(Speaking, RecordingForm):
    """A recording to answer, and how to speak the answer."""


class Segment(BaseModel):
    """A timed piece of a transcript; seconds from the beginning."""

    text: str
    start: float
    end: float
    confidence: float | None = Field(description="A probability.")


class Transcript(BaseModel):
    """What was said in a recording."""

    text: str = Field(description="Empty if nothing was said.")
    language: str = Field(description="As `en`; empty if the engine cannot tell.")
    duration: float = Field(description="Of the recording, in seconds.")
    confidence: float | None = Field(description="A probability.")
    segments: list[Segment]
    words: list[Segment] = Field(description="None from engines that time no words.")

    @classmethod
    def of(cls, result: TranscriptionResult, duration: float) -> Transcript:
        return cls(
            text=result.text,
            language=result.language,
            duration=round(duration, 3),
            confidence=result.confidence,
            segments=[_segment(each) for each in result.segments],
            words=[_segment(each) for each in result.words],
        )


def _segment(given: Any) -> Segment:
    return Segment(text=given.text, start=given.start, end=given.end, confidence=given.confidence)
