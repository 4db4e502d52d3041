"""Configuration providers, as the contract has them. All hand out copies."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from ..errors import SettingsError
from . import _yaml
from ._getters import Getters
from ._plain import plain
from ._section import options
from ._store import SettingsStore
from ._substitution import substituted
from ._tree import GenerationDefaults, Settings

__all__ = [
    "DictConfigurationProvider",
    "SettingsProvider",
    "YAMLConfigurationProvider",
    "create_default_config",
    "create_test_config",
]

_log = logging.getLogger(__name__)


class _Sections(Getters):
    """The contract's getters, over a tree."""

    @abstractmethod
    def _tree(self) -> Mapping[str, Any]: ...

    def get_all_config(self) -> dict[str, Any]:
        """The whole tree."""
        return deepcopy(dict(self._tree()))

    def get_value(self, path: str, default: Any = None) -> Any:
        """What is at a path such as ``stt_engine.model_size``; ``default`` if nothing is."""
        value: Any = self._tree()
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return deepcopy(value)

    def _section(self, name: str) -> dict[str, Any]:
        section = self._tree().get(name)
        if section is None:
            return {}
        if not isinstance(section, Mapping):
            raise SettingsError({name: "is a section: it holds options, and is no value itself"})
        return deepcopy(dict(section))


class DictConfigurationProvider(_Sections):
    """Configuration from a dictionary, which is copied."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._config: dict[str, Any] = deepcopy(dict(config or {}))

    def _tree(self) -> Mapping[str, Any]:
        return self._config

    def update_config(self, changes: Mapping[str, Any]) -> None:
        """Merge ``changes`` into the tree: sections key by key, all else whole."""
        self._config = _merged(self._config, deepcopy(dict(changes)))

    def set_value(self, path: str, value: Any) -> None:
        """Put a value at a path, and make the sections that it needs.

        Raises:
            SettingsError: A part of the path is a value and no section.
        """
        change: Any = deepcopy(value)
        keys = path.split(".")
        for n in range(len(keys) - 1, 0, -1):
            above = ".".join(keys[:n])
            if not isinstance(self.get_value(above, {}), Mapping):
                raise SettingsError({above: f"is a value, and cannot hold {keys[n]}"})
        place = self._config
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = change

    def clear_config(self) -> None:
        """Forget all values."""
        self._config = {}


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        merged[key] = value
    return merged


class YAMLConfigurationProvider(_Sections):
    """Configuration from a YAML file.

    Args:
        env_substitution: Put the environment's variables in the place of ``${NAME}``, and of
            ``${NAME:default}`` where there is none. A value that is a variable and nothing
            else has the type that its text would have in the file: ``${PORT:8004}`` is a
            number. Within other text it stays text.
        auto_reload: Look before each access whether the file has changed. The access that
            notices has the new values. A file that is broken then is logged once, and the
            last good values hold.
        required: Whether the file must be there; without it, all sections are empty.
        environ: The environment.

    Raises:
        SettingsError: The file is not there, is no YAML mapping, or names a variable that is
            not set and has no default.
        OSError: It cannot be read.
    """

    def __init__(
        self,
        config_path: str | os.PathLike[str],
        env_substitution: bool = True,
        auto_reload: bool = False,
        *,
        required: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.config_path = Path(config_path)
        self._substitutes = env_substitution
        self._auto_reload = auto_reload
        self._required = required
        self._environ = os.environ if environ is None else environ
        self._config: dict[str, Any] = {}
        self._seen: tuple[int, ...] | None = None
        self.reload_config()

    def get_websocket_config(self) -> dict[str, Any]:
        return self._section("websocket")

    def get_middleware_config(self) -> dict[str, Any]:
        return self._section("middleware")

    def get_logging_config(self) -> dict[str, Any]:
        return self._section("logging")

    def reload_config(self) -> None:
        """Read the file again.

        Raises:
            SettingsError: As the class; the last good values hold.
            OSError: Likewise.
        """
        self._seen = self._stamp()  # first: what changes while it is read is noticed next time
        read = _yaml.read(self.config_path)
        if read is None and self._required:
            raise SettingsError({str(self.config_path): "there is no such file"})
        config = read or {}
        if self._substitutes:
            config = substituted(config, self._environ)
        self._config = config

    def config_exists(self) -> bool:
        """Whether the file is there now."""
        return self.config_path.is_file()

    def last_modified(self) -> float | None:
        """When the file was changed, in seconds since the epoch; None if there is none."""
        try:
            return self.config_path.stat().st_mtime
        except FileNotFoundError:
            return None

    def _tree(self) -> Mapping[str, Any]:
        if self._auto_reload and self._stamp() != self._seen:
            try:
                self.reload_config()
            except (SettingsError, OSError) as exc:
                _log.error("the last good configuration holds: %s", exc)
        return self._config

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self.config_path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class SettingsProvider:
    """Settings for a `ConversationEngine`: ``ConversationEngine(SettingsProvider(store), ...)``.

    Args:
        settings: Some settings; or a store, whose changes count for what is asked afterwards.
    """

    def __init__(self, settings: Settings | SettingsStore) -> None:
        self._settings = settings

    @property
    def settings(self) -> Settings:
        """Those that are in force now."""
        given = self._settings
        return given.current if isinstance(given, SettingsStore) else given

    def get_stt_config(self) -> dict[str, Any]:
        """The section; `language` is None where the engine detects it."""
        section = _plain(self.settings.stt_engine)
        return {
            **section,
            "language": None if section["language"] == "auto" else section["language"],
        }

    def get_tts_config(self) -> dict[str, Any]:
        """What each call speaks with: the voice, and generation defaults that are not default.

        The others are left to the engine, as its models differ in them.
        """
        settings = self.settings
        ours = {
            path: value
            for path, value in _plain(settings.generation_defaults).items()
            if value != _GENERATION[path]
        }
        voice = settings.tts_engine.default_voice_id
        return ours if voice is None else {**ours, "voice_id": voice}

    def get_conversation_config(self) -> dict[str, Any]:
        return _plain(self.settings.conversation)

    def get_pause_detection_config(self) -> dict[str, Any]:
        return _plain(self.settings.pause_detection)

    def get_audio_config(self) -> dict[str, Any]:
        return _plain(self.settings.audio)


_GENERATION: Final = {path: each.default for path, each in options(GenerationDefaults).items()}


def _plain(section: Any) -> dict[str, Any]:
    values: dict[str, Any] = plain(section)
    return values


def create_default_config() -> DictConfigurationProvider:
    """The contract's defaults."""
    return DictConfigurationProvider(_DEFAULT)


def create_test_config() -> DictConfigurationProvider:
    """Small and quick: the smallest model on the CPU, short pauses, little history."""
    provider = DictConfigurationProvider(_DEFAULT)
    provider.update_config(
        {
            "stt_engine": {"model_size": "tiny", "device": "cpu"},
            "tts_engine": {"device": "cpu"},
            "conversation": {"max_history_length": 5},
            "pause_detection": {"min_speech_frames": 1, "min_pause_frames": 3},
            "audio": {"buffer_duration": 1},
        }
    )
    return provider


_DEFAULT: Final[Mapping[str, Any]] = {
    "stt_engine": {"model_size": "base", "device": "auto", "language": None},
    "tts_engine": {"device": "auto", "temperature": 0.7, "speed_factor": 1.0},
    "conversation": {"response_mode": "echo", "max_history_length": 50},
    "pause_detection": {"aggressiveness": 2, "min_speech_frames": 3, "min_pause_frames": 10},
    "audio": {"sample_rate": 16_000, "channels": 1, "format": "pcm", "buffer_duration": 10},
    "websocket": {"max_message_size": 1 << 20, "ping_interval": 20, "ping_timeout": 10},
}
