"""What the management endpoints answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from ..core.schemas import ErrorAnswer
from ..names import VoiceType
from .uploads import Refusal

__all__ = [
    "STORED",
    "Checked",
    "CleanedUp",
    "ConfigExplanation",
    "ConfigRestarted",
    "ConfigSaved",
    "ConfigValidation",
    "ConfigVariable",
    "ConsentGiven",
    "FileDeleted",
    "FileInfo",
    "Formats",
    "NamedFile",
    "ReferencesTaken",
    "Remaining",
    "Removed",
    "Room",
    "RoomOf",
    "StorageHealth",
    "StorageUsage",
    "Verdict",
    "VoiceDeleted",
    "VoicesTaken",
]

STORED: dict[int | str, dict[str, Any]] = {
    507: {"model": ErrorAnswer, "description": "It could not be stored, or removed."}
}


class NamedFile(BaseModel):
    """A voice, for clients that know voices by files."""

    display_name: str
    filename: str


class ReferencesTaken(BaseModel):
    """What became of an upload of references."""

    message: str
    uploaded_files: list[str]
    all_reference_files: list[str]
    errors: list[Refusal]


class VoicesTaken(BaseModel):
    """What became of an upload of voices."""

    message: str
    uploaded_files: list[str]
    all_predefined_voices: list[NamedFile]
    errors: list[Refusal]


class FileDeleted(BaseModel):
    message: str
    remaining_files: list[str]


class VoiceDeleted(BaseModel):
    message: str
    remaining_voices: list[NamedFile]


class Verdict(BaseModel):
    is_valid: bool
    message: str


class ConsentGiven(BaseModel):
    by: str
    statement: str
    at: datetime


class FileInfo(BaseModel):
    """What is known of a voice's recording; of a voice of the engine's own there is none."""

    filename: str
    path: str = Field(description="What to ask for it by: never a path of the server.")
    size_bytes: int
    modified_time: float | None = Field(description="Seconds since the epoch.")
    validation: Verdict
    id: str
    name: str
    language: str
    seconds: float
    consent: ConsentGiven | None


class Checked(BaseModel):
    """Whether a voice can be taken from a file."""

    filename: str
    is_valid: bool
    message: str
    error_code: str | None = None
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None


class Formats(BaseModel):
    """What files may be. The content decides, not the name."""

    upload: list[str]
    output: list[str]
    max_size_mb: float
    max_seconds: float


class Room(BaseModel):
    size_bytes: int
    size_mb: float
    file_count: int


class RoomOf(Room):
    path: str


class StorageUsage(BaseModel):
    """What uploaded recordings take on the disk."""

    reference_audio: RoomOf
    predefined_voices: RoomOf
    total: Room


class Removed(BaseModel):
    file: str
    type: VoiceType
    reason: str


class Remaining(BaseModel):
    reference_files: int
    predefined_voices: int


class CleanedUp(BaseModel):
    """What was removed; in a dry run, what would be."""

    message: str
    dry_run: bool
    removed_files: list[Removed]
    errors: list[Refusal]
    remaining: Remaining


class StorageHealth(BaseModel):
    status: Literal["healthy", "degraded"]
    voices: int
    max_voices: int
    free_bytes: int | None
    damaged: list[Removed]


class ConfigSaved(BaseModel):
    """What became of a change of the settings."""

    message: str
    restart_needed: bool
    updated_keys: list[str] = Field(description="Options whose value is another one now.")
    restart_required: list[str] = Field(description="Those that count after a restart only.")
    applied_immediately: list[str]
    warnings: dict[str, str]


class ConfigRestarted(BaseModel):
    message: str
    restart_needed: bool = Field(description="Something counts only when the process restarts.")
    process_restart_required: list[str]


class ConfigValidation(BaseModel):
    valid: bool
    errors: list[str]
    warnings: list[str]
    info: list[str]


class ConfigVariable(BaseModel):
    variable: str
    path: str
    value: Any
    in_force: bool


class ConfigExplanation(BaseModel):
    """Where the value of an option comes from. Secrets are asterisks."""

    path: str
    value: Any
    layer: Literal["default", "file", "profile", "environment", "runtime"]
    source: str | None
    hides: list[str]
