"""Paths of older clients, and what a page needs to begin with."""

from typing import Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from .core.schemas import errors
from .management import config, files, schemas
from .management.bodies import documented
from .names import VoiceType
from .security import ServicesOf, requires
from .services import Services

__all__ = ["router_of"]

_FORMATS: Final = ["wav", "opus", "mp3", "flac", "pcm"]


class Preset(BaseModel):
    """A text to try, and how to say it."""

    name: str
    text: str
    params: dict[str, float]


_PRESETS: Final = [
    Preset(
        name="Greeting",
        text="Hello, and welcome. What can I do for you today?",
        params={"speed_factor": 1.0, "exaggeration": 0.5},
    ),
    Preset(
        name="News",
        text="Rain is expected in the north this evening, clearing by tomorrow morning.",
        params={"speed_factor": 1.1, "exaggeration": 0.4},
    ),
    Preset(
        name="Story",
        text="The lighthouse had been dark for years. Tonight, somebody lit the lamp.",
        params={"speed_factor": 0.9, "exaggeration": 0.8},
    ),
]


class KnownVoice(BaseModel):
    id: str
    name: str
    type: VoiceType
    language: str
    usable: bool


class Limits(BaseModel):
    max_text_length: int
    max_upload_mb: float
    max_voice_mb: float
    max_voices: int


class Capabilities(BaseModel):
    """What the engines in use can do."""

    speech_parameters: list[str] = Field(description="Options that the voice obeys.")
    cloning: bool = Field(description="It can speak in uploaded voices.")
    formats: list[str]
    languages: bool = Field(description="Let the user choose a language.")


class InitialData(BaseModel):
    """What a page begins with. There is no secret in it: anybody may read it."""

    title: str
    config: dict[str, Any]
    reference_files: list[str]
    predefined_voices: list[schemas.NamedFile]
    presets: list[Preset]
    initial_gen_result: None = None
    limits: Limits
    voices: list[KnownVoice]
    capabilities: Capabilities


class PageState(BaseModel):
    """Where the user leaves the page. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    last_text: str = Field("", max_length=20_000)
    last_voice_mode: Literal["predefined", "clone"] = "predefined"
    last_predefined_voice: str | None = Field(None, max_length=200)
    last_reference_file: str | None = Field(None, max_length=200)
    last_seed: int = Field(0, ge=0, le=2**63 - 1)
    last_chunk_size: int = Field(120, ge=1, le=10_000)
    last_split_text_enabled: bool = True
    hide_chunk_warning: bool = False
    hide_generation_warning: bool = False
    theme: Literal["dark", "light"] = "dark"


def router_of(services: Services) -> APIRouter:
    """The endpoints."""
    router = APIRouter()
    router.include_router(_page)
    body = documented({"generation_defaults": {"speed_factor": 1.2}})
    restart = config.restart_of(services)
    for path, endpoint in (
        ("/save_settings", config.save),
        ("/reset_settings", config.reset),
        ("/restart_server", restart),
        ("/upload_reference", files.upload_reference_audio),
        ("/upload_predefined_voice", files.upload_predefined_voices),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            tags=["older clients"],
            deprecated=True,
            dependencies=[requires("manage")],
            responses={**schemas.STORED, **errors(400, 409, 413, 415)},
            openapi_extra=body if endpoint is config.save else None,
        )
    for path, listing in (
        ("/get_reference_files", files.list_reference_audio),
        ("/get_predefined_voices", files.list_predefined_voices),
    ):
        router.add_api_route(
            path,
            listing,
            tags=["older clients"],
            deprecated=True,
            dependencies=[requires("tts")],
            responses=errors(),
        )
    return router


_page = APIRouter(prefix="/api/ui", tags=["page"])


@_page.get("/initial-data", responses=errors())
async def initial_data(services: ServicesOf) -> InitialData:
    """What a page begins with."""
    settings = services.settings
    is_open = not settings.server.use_auth
    voices = await services.catalogue.known() if is_open else []
    known = [
        KnownVoice(
            id=each.id, name=each.name, type=each.type, language=each.language, usable=each.usable
        )
        for each in voices
    ]
    shown = settings.masked()
    state = {key: value for key, value in shown["ui_state"].items() if key != "last_text"}
    sections = ("generation_defaults", "audio", "audio_output", "conversation", "ui")
    return InitialData(
        title=settings.ui.title,
        config={**{name: shown[name] for name in sections}, "ui_state": state},
        reference_files=[each.filename for each in voices if each.type == "reference"],
        predefined_voices=[
            schemas.NamedFile(display_name=each.name, filename=each.filename)
            for each in voices
            if each.type == "predefined"
        ],
        presets=_PRESETS,
        limits=Limits(
            max_text_length=settings.limits.max_text_length,
            max_upload_mb=settings.limits.max_upload_mb,
            max_voice_mb=settings.limits.max_voice_mb,
            max_voices=settings.limits.max_voices,
        ),
        voices=known,
        capabilities=_capabilities(services),
    )


@_page.post(
    "/state",
    responses={**schemas.STORED, **errors(400, 409, 413)},
    dependencies=[requires("manage")],
)
async def save_state(services: ServicesOf, state: PageState) -> schemas.ConfigSaved:
    """Keep where the user leaves the page."""
    return await config.change(services, {"ui_state": state.model_dump(exclude_unset=True)})


def _capabilities(services: Services) -> Capabilities:
    engine = services.tts
    return Capabilities(
        speech_parameters=_parameters(services),
        # Such an engine speaks in the voices that it was given: the uploaded ones.
        cloning=getattr(engine, "voices", None) is services.voices,
        formats=_FORMATS,
        languages=services.settings.ui.show_language_select,
    )


def _parameters(services: Services) -> list[str]:
    """What of `generation_defaults` the engine obeys."""
    if services.tts.name != "chatterbox":
        return ["speed_factor"]
    if services.settings.model.repo_id.endswith("-turbo"):
        return ["temperature", "seed", "speed_factor"]
    return ["temperature", "exaggeration", "cfg_weight", "seed", "speed_factor"]
