"""What uploaded recordings take on the disk, and whether they are whole."""

from shutil import disk_usage
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query

from realtime_stts.errors import UnknownVoiceError

from ..core.schemas import errors
from ..security import ServicesOf, requires
from ..services import Services
from ..voices import Voice
from . import schemas
from .uploads import Refusal, refusal_of

__all__ = ["router"]

router = APIRouter(prefix="/files", tags=["files"])

_MANAGE: dict[str, Any] = {"dependencies": [requires("manage")]}

DryRun = Annotated[bool, Query(description="Say what would be removed, and remove nothing.")]


@router.get("/storage/usage", responses=errors(), **_MANAGE)
async def storage_usage(services: ServicesOf) -> schemas.StorageUsage:
    """What uploads take on the disk."""
    rooms = {"reference": [0, 0], "predefined": [0, 0]}
    for voice in await services.catalogue.uploaded():
        rooms[voice.type][0] += await services.catalogue.size_of(voice)
        rooms[voice.type][1] += 1
    references, predefined = (_room(*rooms[kind]) for kind in ("reference", "predefined"))
    total = _room(*(sum(pair) for pair in zip(*rooms.values(), strict=True)))
    return schemas.StorageUsage(
        reference_audio=schemas.RoomOf(**references, path="reference-audio"),
        predefined_voices=schemas.RoomOf(**predefined, path="predefined-voices"),
        total=schemas.Room(**total),
    )


@router.get("/storage/health", responses=errors(), **_MANAGE)
async def storage_health(services: ServicesOf) -> schemas.StorageHealth:
    """Whether every uploaded recording is whole, and how much room is left."""
    damaged = [_removed(voice, damage) for voice, damage in await _damaged(services)]
    return schemas.StorageHealth(
        status="degraded" if damaged else "healthy",
        voices=len(await services.catalogue.uploaded()),
        max_voices=services.settings.limits.max_voices,
        free_bytes=(await run_sync(disk_usage, services.catalogue.folder)).free,
        damaged=damaged,
    )


@router.post("/cleanup", responses=errors(), **_MANAGE)
@router.post("/storage/cleanup", responses=errors(), **_MANAGE)
async def cleanup(services: ServicesOf, dry_run: DryRun = False) -> schemas.CleanedUp:
    """Remove uploaded voices whose recordings are damaged. Whole ones stay."""
    removed: list[schemas.Removed] = []
    failed: list[Refusal] = []
    for voice, damage in await _damaged(services):
        error = None if dry_run else await _error_of_removing(services, voice)
        if error is None:
            removed.append(_removed(voice, damage))
        else:
            failed.append(error)
    left = await services.catalogue.uploaded()
    n_references = sum(voice.type == "reference" for voice in left)
    verb = "would be" if dry_run else "were"
    return schemas.CleanedUp(
        message=f"{len(removed)} damaged recordings {verb} removed.",
        dry_run=dry_run,
        removed_files=removed,
        errors=failed,
        remaining=schemas.Remaining(
            reference_files=n_references, predefined_voices=len(left) - n_references
        ),
    )


async def _damaged(services: Services) -> list[tuple[Voice, str]]:
    damages = [
        (voice, await services.catalogue.damage(voice))
        for voice in await services.catalogue.uploaded()
    ]
    return [(voice, damage) for voice, damage in damages if damage is not None]


async def _error_of_removing(services: Services, voice: Voice) -> Refusal | None:
    try:
        await services.catalogue.delete(voice)
    except UnknownVoiceError:
        return None  # somebody else was faster
    except OSError as exc:
        return refusal_of(voice.filename, exc)
    return None


def _removed(voice: Voice, reason: str) -> schemas.Removed:
    return schemas.Removed(file=voice.filename, type=voice.type, reason=reason)


def _room(size: int, count: int) -> dict[str, Any]:
    return {"size_bytes": size, "size_mb": round(size / 1e6, 2), "file_count": count}
