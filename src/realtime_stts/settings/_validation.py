"""Whether settings can be used, and what is odd about them, by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from pydantic import ValidationError

from ..errors import SettingsError
from ._layers import flatten, nearest, nest, sections_of
from ._section import options
from ._tree import Settings

__all__ = ["LEAVES", "SECTIONS", "Validation", "canonical", "check", "validate"]

LEAVES: Final = options(Settings)
SECTIONS: Final = sections_of(LEAVES)

_RENAMED: Final = {
    **{
        f"gen.default_{name}": f"generation_defaults.{name}"
        for name in (
            "temperature",
            "exaggeration",
            "cfg_weight",
            "seed",
            "speed_factor",
            "language",
        )
    },
    "audio_processing.enable_silence_trimming": "middleware.silence_trim.enabled",
    "middleware.analytics.enabled": "analytics.enable",
}
_GONE: Final = {
    "server.use_ngrok": "put a tunnel or a proxy in front of the server",
    "audio_processing.enable_internal_silence_fix": "middleware.silence_trim shortens silences",
    "audio_processing.enable_unvoiced_removal": "middleware.speech_guard finds trailing noise",
}
_LOW_PORT: Final = 1024  # below, a process needs rights that a server should not have
_LARGE_UPLOAD: Final = 500.0  # MB; an hour of stereo at 48 kHz


@dataclass(frozen=True, slots=True)
class Validation:
    """What is wrong (`errors`) or odd (`warnings`), by path; `settings` if nothing is wrong."""

    errors: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, str] = field(default_factory=dict)
    settings: Settings | None = None

    @property
    def valid(self) -> bool:
        return not self.errors

    def checked(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: They cannot be used.
        """
        if self.settings is None:
            raise SettingsError(self.errors)
        return self.settings


def validate(data: Mapping[str, Any]) -> Validation:
    """Check a tree of settings, whole or in part: what it leaves out has its default.

    Keys may be paths themselves. Messages repeat no value.
    """
    flat, warnings = canonical(data)
    found = check(flat)
    return Validation(found.errors, {**warnings, **found.warnings}, found.settings)


def canonical(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Paths and values under today's names, and warnings of names of the past."""
    flat = flatten(data, LEAVES)
    warnings: dict[str, str] = {}
    for old, new in _RENAMED.items():
        if old in flat:
            value = flat.pop(old)
            warnings[old] = f"is called {new} now"
            if new in flat:
                warnings[old] += ", which is there too and counts"
            flat.setdefault(new, value)
    for old, instead in _GONE.items():
        if old in flat:
            del flat[old]
            warnings[old] = f"does nothing any more: {instead}"
    return flat, warnings


def check(
    flat: Mapping[str, Any], source: Callable[[str], str | None] = lambda path: None
) -> Validation:
    """Check values by path.

    Args:
        source: Where the value of a path comes from; errors name it.
    """
    known = {path: value for path, value in flat.items() if path in LEAVES}
    errors = {path: _misplaced(path) for path in flat if path not in LEAVES}
    settings, found = _made(known)
    errors |= found
    if not errors:
        assert settings is not None  # nothing is wrong with it: it was made
        return Validation({}, dict(_oddities(settings)), settings)
    # What is right may be odd all the same.
    right = {path: known[path] for path in known if not any(_within(path, e) for e in errors)}
    settings, _ = _made(right)
    warnings = {} if settings is None else dict(_oddities(settings))
    return Validation({path: _from(text, source(path)) for path, text in errors.items()}, warnings)


def _made(known: Mapping[str, Any]) -> tuple[Settings | None, dict[str, str]]:
    """The settings, or what is wrong with them."""
    try:
        return Settings.model_validate(nest(known)), {}
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        return None, {".".join(map(str, error["loc"])): _said(error["msg"]) for error in found}


def _within(path: str, error: str) -> bool:
    """Whether an error is of a path, of a part of its value, or of a section that it is in."""
    return f"{error}.".startswith(f"{path}.") or f"{path}.".startswith(f"{error}.")


def _misplaced(path: str) -> str:
    if path in SECTIONS:
        return "is a section: it holds options, and is no value itself"
    meant = nearest(path, LEAVES)
    return f"there is no such setting; is {meant} meant?" if meant else "there is no such setting"


def _said(message: str) -> str:
    """Pydantic's message in this library's manner."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _from(text: str, source: str | None) -> str:
    return f"{text} (from {source})" if source else text


def _oddities(settings: Settings) -> Iterator[tuple[str, str]]:
    server, stt, tts = settings.server, settings.stt_engine, settings.tts_engine
    guarded = server.use_auth or settings.middleware.authentication.enabled
    if server.port < _LOW_PORT:
        yield "server.port", f"below {_LOW_PORT} most systems let only an administrator listen"
    if not _is_loopback(server.host) and not guarded:
        yield "server.host", "others can reach the server, and server.use_auth is off"
    if server.auth_password and len(server.auth_password.get_secret_value()) < 12:
        yield "server.auth_password", "has fewer than 12 characters"
    if "*" in server.cors_origins and server.cors_allow_credentials:
        yield "server.cors_origins", "browsers refuse * together with cors_allow_credentials"
    if settings.limits.max_upload_mb > _LARGE_UPLOAD:
        yield "limits.max_upload_mb", f"over {_LARGE_UPLOAD:g} MB a few clients fill the memory"
    if tts.engine.partition(":")[0] == "chatterbox" and tts.default_voice_id is None:
        yield "tts_engine.default_voice_id", "is unset: the voice is the model's own"
    if stt.engine.partition(":")[0] != "whisper":
        for name in ("device", "model_size", "model_path", "download_root"):
            if getattr(stt, name) != LEAVES[f"stt_engine.{name}"].default:
                yield f"stt_engine.{name}", "is whisper's: set stt_engine.engine to whisper"
    if tts.engine.partition(":")[0] != "chatterbox":
        for name in ("device", "predefined_voices_path"):
            if getattr(tts, name) != LEAVES[f"tts_engine.{name}"].default:
                yield f"tts_engine.{name}", "is chatterbox's: set tts_engine.engine to chatterbox"
    if settings.middleware.logging.enabled and settings.middleware.logging.log_text:
        yield "middleware.logging.log_text", "what people say is written to the log"
    redaction, analytics = settings.middleware.redaction, settings.analytics
    forgotten = redaction.enabled and redaction.pseudonym_key is None
    if forgotten and analytics.path and analytics.pseudonymous:
        key = "middleware.redaction.pseudonym_key"
        yield key, "is unset: analytics know a voice by another pseudonym after each start"
    authentication = settings.middleware.authentication
    if authentication.enabled and not (server.auth_tokens or authentication.allow_anonymous):
        yield "middleware.authentication.enabled", "nobody may call: server.auth_tokens is empty"
    if settings.debug.save_intermediate_audio:
        yield "debug.save_intermediate_audio", "what people say is kept in files"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
