"""The settings: read, changed, checked and explained."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Query

from realtime_stts.errors import SettingsError
from realtime_stts.settings import Explanation, Settings, SettingsUpdate, json_schema, validate

from ..core.schemas import errors
from ..security import ServicesOf, requires
from ..services import Services
from . import schemas
from .bodies import JSONObject, documented
from .changes import is_at, leaves, marked, merged, permitted, without_sources

__all__ = ["change", "reset", "restart_of", "router_of", "save"]

_router = APIRouter(prefix="/config", tags=["config"], dependencies=[requires("manage")])

# What engines made anew do not bring into force: it belongs to the server around them.
_OF_THE_PROCESS: Final = (
    "analytics",
    "limits.max_audio_seconds",
    "limits.max_decoders",
    "limits.max_decoding_seconds",
    "limits.max_sessions",
    "limits.max_sessions_per_client",
    "limits.max_upload_mb",
    "middleware.audit",
    "paths.output",
    "server",
    "tts_engine.predefined_voices_path",
)
_EXAMPLE: Final = {"generation_defaults": {"speed_factor": 1.2}, "ui_state.theme": "light"}


def router_of(services: Services) -> APIRouter:
    """The endpoints."""
    router = APIRouter()
    router.include_router(_router)
    router.add_api_route(
        "/config/restart",
        restart_of(services),
        methods=["POST"],
        tags=["config"],
        dependencies=[requires("manage")],
        responses=errors(),
    )
    return router


def restart_of(services: Services) -> Callable[..., Awaitable[schemas.ConfigRestarted]]:
    """The endpoint, which remembers with which settings the process began."""
    started = leaves(services.settings)

    async def restart(services: ServicesOf) -> schemas.ConfigRestarted:
        """Make and load the engines anew, with the settings in force.

        Conversations under way keep the engines that they began with.
        """
        await services.reload()
        now = leaves(services.settings)
        left = [
            path
            for path in now
            if now[path] != started[path] and any(is_at(path, each) for each in _OF_THE_PROCESS)
        ]
        said = "The engines were made anew."
        if left:
            said += " Start the server's process again for the rest."
        return schemas.ConfigRestarted(
            message=said, restart_needed=bool(left), process_restart_required=left
        )

    return restart


# -- reading


@_router.get("", responses=errors())
@_router.get("/current", responses=errors())
async def current(services: ServicesOf) -> dict[str, Any]:
    """All settings in force. Secrets are asterisks."""
    return services.settings.masked()


@_router.get("/defaults", responses=errors())
async def defaults() -> dict[str, Any]:
    """All settings as they are where nobody has set any."""
    return Settings().masked()


@_router.get("/schema", responses=errors())
async def schema() -> dict[str, Any]:
    """The JSON Schema of the settings, with the unit of each and whether it needs a restart.

    What may not be set over HTTP is ``readOnly``.
    """
    return marked(json_schema())


@_router.get("/explain", responses=errors(404))
async def explain(
    services: ServicesOf,
    path: Annotated[str, Query(max_length=200, examples=["server.port"])],
) -> schemas.ConfigExplanation:
    """Where the value of an option comes from."""
    try:
        found = services.store.explain(path)
    except SettingsError as exc:
        said = without_sources(exc.problems)
        raise HTTPException(404, {"detail": said, "error_code": "unknown_setting"}) from None
    return schemas.ConfigExplanation(
        path=found.path,
        value=found.value,
        layer=found.layer,
        source=_source(found),
        hides=[*found.hides],
    )


@_router.get("/environment", responses=errors())
async def environment(services: ServicesOf) -> list[schemas.ConfigVariable]:
    """The environment variables that set something, and whether a change hides them."""
    found = [services.store.explain(path) for path in leaves(services.settings)]
    return [
        schemas.ConfigVariable(
            variable=f"REALTIME_STTS_{each.path.replace('.', '__').upper()}",
            path=each.path,
            value=each.value,
            in_force=each.layer == "environment",
        )
        for each in found
        if "environment" in (each.layer, *each.hides)
    ]


@_router.get("/validation", responses=errors())
async def validation(services: ServicesOf) -> schemas.ConfigValidation:
    """What is odd about the settings in force. What is wrong never comes into force."""
    return _validation({}, services.store.warnings, services)


@_router.post("/validate", openapi_extra=documented(_EXAMPLE), responses=errors(400, 413, 415))
async def validate_changes(services: ServicesOf, body: JSONObject) -> schemas.ConfigValidation:
    """Say whether changes could be made. Nothing is changed."""
    wanted, refused = permitted(body, services.settings)
    found = validate(merged(wanted, services.settings))
    return _validation({**found.errors, **refused}, found.warnings, services)


# -- changing


@_router.post(
    "/save",
    openapi_extra=documented(_EXAMPLE),
    responses={**schemas.STORED, **errors(400, 409, 413, 415)},
)
async def save(services: ServicesOf, body: JSONObject) -> schemas.ConfigSaved:
    """Change settings, and write them into the settings' file.

    Takes a tree, or paths and values; what is not in it stays. Asterisks leave a secret as
    it is. What the server reads, writes or runs, and who may come in, is set in its file
    alone.
    """
    return await change(services, body)


@_router.post("/update", openapi_extra=documented(_EXAMPLE), responses=errors(400, 413, 415))
async def update(services: ServicesOf, body: JSONObject) -> schemas.ConfigSaved:
    """Change settings until the server stops; otherwise as */config/save*."""
    return await change(services, body, keep=False)


@_router.post("/reset", responses={**schemas.STORED, **errors(409)})
async def reset(services: ServicesOf) -> schemas.ConfigSaved:
    """Forget what was changed at run time and what the settings' file holds."""
    done = await run_sync(services.store.reset)
    said = _saved(done, await _write(services))
    said.message = f"The settings are the defaults again. {said.message}"
    return said


# -- inside


async def change(
    services: Services, body: Mapping[str, Any], *, keep: bool = True
) -> schemas.ConfigSaved:
    """Make changes.

    Raises:
        SettingsError: They cannot be used; nothing has changed.
        HTTPException: 403: some are not to be made over HTTP; nothing has changed. 409 or 507:
            they are in force, and could not be written.
    """
    store = services.store
    wanted, refused = permitted(body, services.settings)
    if refused:
        raise HTTPException(
            403, {"detail": without_sources(refused), "error_code": "setting_locked"}
        )
    try:
        done = await run_sync(store.update, wanted)
    except SettingsError as exc:
        raise SettingsError(without_sources(exc.problems)) from None
    if not keep:
        return _saved(done, "The settings have changed until the server stops.")
    return _saved(done, await _write(services))


async def _write(services: Services) -> str:
    if services.store.saves_to is None:
        return "The settings have changed until the server stops: it has no settings' file."
    try:
        hidden = await run_sync(services.store.save)
    except SettingsError:
        raise HTTPException(
            409,
            {
                "detail": "The changes are in force until the server stops. They could not be "
                "saved: somebody has broken the settings' file.",
                "error_code": "settings_file_broken",
            },
        ) from None
    except OSError as exc:
        raise HTTPException(
            507,
            {
                "detail": "The changes are in force until the server stops. The settings' file "
                "could not be written.",
                "error_code": "storage_failed",
            },
        ) from exc
    if hidden:
        return f"Saved. After a restart the environment sets these again: {', '.join(hidden)}."
    return "The settings have been saved."


def _saved(done: SettingsUpdate, message: str) -> schemas.ConfigSaved:
    return schemas.ConfigSaved(
        message=message,
        restart_needed=done.restart_required,
        updated_keys=[*done.updated_keys],
        restart_required=[*done.requires_restart],
        applied_immediately=[*done.applied_immediately],
        warnings=without_sources(done.warnings),
    )


def _validation(
    errors: Mapping[str, str], warnings: Mapping[str, str], services: Services
) -> schemas.ConfigValidation:
    store = services.store
    info = [f"Profile: {store.profile}"] if store.profile else []
    if store.saves_to is None:
        info.append("There is no settings' file: changes are lost when the server stops.")
    return schemas.ConfigValidation(
        valid=not errors,
        errors=[f"{path}: {said}" for path, said in without_sources(errors).items()],
        warnings=[f"{path}: {said}" for path, said in without_sources(warnings).items()],
        info=info,
    )


def _source(found: Explanation) -> str | None:
    """The variable or the file's name: where the file is, is the server's affair."""
    if found.source is None or found.layer == "environment":
        return found.source
    return Path(found.source).name
