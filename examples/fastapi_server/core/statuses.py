"""How the engines and what is around them are, as clients are told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "ConversationReloaded",
    "ConversationStatus",
    "MiddlewareEntry",
    "MiddlewareReloaded",
    "MiddlewareStatus",
    "STTConfig",
    "STTModels",
    "STTReloaded",
    "STTStatus",
    "TTSStatistics",
    "WarmedUp",
]


class WarmedUp(BaseModel):
    """The engine is ready."""

    status: Literal["success"] = "success"
    model_loaded: bool
    seconds: float = Field(description="That it took.")


class MiddlewareEntry(BaseModel):
    """One layer."""

    name: str = Field(examples=["timing"])
    enabled: bool = True
    type: str = Field(examples=["TimingMiddleware"])


class MiddlewareStatus(BaseModel):
    """The layers around an engine, outermost first."""

    total_middleware: int
    enabled_middleware: int
    middleware_names: list[str] = Field(examples=[["timing", "logging", "analytics"]])
    middleware_details: list[MiddlewareEntry]


class MiddlewareReloaded(BaseModel):
    """The layers there are now."""

    status: Literal["success"] = "success"
    message: str
    enabled_middleware: int
    middleware_names: list[str]


class TTSStatistics(BaseModel):
    """What was counted, by layer; times are in ms where they do not say otherwise."""

    system: dict[str, Any]
    middleware: dict[str, Any]


class STTModels(BaseModel):
    """Models of the engine in use."""

    available_models: list[str] = Field(examples=[["tiny", "base", "turbo"]])
    current_model: str = Field(examples=["base"])
    current_device: str = Field(examples=["cpu"])
    library_available: bool = True
    adapter_type: str = Field(description="The engine's name.", examples=["whisper"])


class STTStatus(BaseModel):
    """How the engine in use is."""

    available: bool
    model_loaded: bool
    library_integration: bool = True
    adapter_type: str = Field(examples=["whisper"])
    engine_type: str = Field(examples=["whisper"])
    model_info: dict[str, Any]


class STTConfig(BaseModel):
    """How recordings are transcribed."""

    engine: str = Field(examples=["whisper"])
    model: str = Field(examples=["base"])
    device: str = Field(examples=["cpu"])
    language: str = Field(description="Spoken, where a request says nothing.", examples=["auto"])
    streaming: bool = Field(description="Whether the engine answers while speech goes on.")
    supported_formats: list[str] = Field(examples=[[".wav", ".mp3"]])
    max_upload_mb: float
    max_audio_seconds: float


class STTReloaded(BaseModel):
    """The engines were made anew."""

    status: Literal["success"] = "success"
    message: str
    model_loaded: bool


class ConversationStatus(BaseModel):
    """What a conversation is made of."""

    system_type: str = "realtime_stts"
    library_available: bool = True
    stt_available: bool
    tts_available: bool
    response_generator_available: bool = True
    middleware_count: int = Field(description="Layers around all three.")


class ConversationReloaded(BaseModel):
    """The engines were made anew."""

    status: Literal["success"] = "success"
    message: str
    system_type: str = "realtime_stts"
