"""The contract's provider of plain environment variables: ``CONV_STT_ENGINE_MODEL_SIZE=tiny``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from ..errors import SettingsError
from ._getters import Getters

__all__ = ["EnvConfigurationProvider", "load_env_file"]

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})

# Each key's type, and its default.
_KEYS: Final[Mapping[str, Mapping[str, tuple[type, Any]]]] = {
    "stt_engine": {
        "model_size": (str, "base"),
        "device": (str, "auto"),
        "language": (str, None),
        "model_path": (str, None),
        "cache_dir": (str, None),
    },
    "tts_engine": {
        "device": (str, "auto"),
        "model_path": (str, None),
        "temperature": (float, 0.7),
        "speed_factor": (float, 1.0),
        "voice_id": (str, None),
        "cache_dir": (str, None),
    },
    "conversation": {
        "response_mode": (str, "echo"),
        "max_history_length": (int, 50),
        "enable_middleware": (bool, True),
        "timeout_seconds": (float, 30.0),
    },
    "pause_detection": {
        "aggressiveness": (int, 2),
        "min_speech_frames": (int, 3),
        "min_pause_frames": (int, 10),
        "frame_duration_ms": (int, 30),
        "enable_webrtc": (bool, True),
    },
    "audio": {
        "sample_rate": (int, 16_000),
        "channels": (int, 1),
        "format": (str, "pcm"),
        "buffer_duration": (float, 10.0),
        "enable_normalization": (bool, True),
        "target_level": (float, 0.95),
    },
}


class EnvConfigurationProvider(Getters):
    """Configuration from the environment, read anew at each access.

    The variable of ``stt_engine.model_size`` is the prefix and the path with the separator
    for its dots, in capitals unless ``case_sensitive``.

    Raises:
        SettingsError: From the getters: a value is not of its key's type.
    """

    def __init__(
        self,
        prefix: str = "CONV_",
        separator: str = "_",
        case_sensitive: bool = False,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._prefix = prefix
        self._separator = separator
        self._case_sensitive = case_sensitive
        self._environ = os.environ if environ is None else environ

    def get_all_config(self) -> dict[str, Any]:
        """All sections by their names."""
        return {name: self._section(name) for name in _KEYS}

    def get_value(self, path: str, default: Any = None, type: Callable[[str], Any] = str) -> Any:
        """The variable of any path, also of one that no section has.

        Args:
            type: Makes the value of the text; ``bool`` reads true, 1, yes, on and their
                opposites.
        """
        name = self._variable(path)
        text = self._environ.get(name)
        if text is None:
            return default
        try:
            return _switch(text) if type is bool else type(text)
        except ValueError:
            wanted = getattr(type, "__name__", "what is wanted")
            raise SettingsError({path: f"{name} is no {wanted}"}) from None

    def list_env_vars(self) -> dict[str, str]:
        """The variables with the prefix that are set."""
        prefix = self._prefix if self._case_sensitive else self._prefix.upper()
        return {name: text for name, text in self._environ.items() if name.startswith(prefix)}

    def _variable(self, path: str) -> str:
        name = f"{self._prefix}{path.replace('.', self._separator)}"
        return name if self._case_sensitive else name.upper()

    def _section(self, name: str) -> dict[str, Any]:
        return {
            key: self.get_value(f"{name}.{key}", default, kind)
            for key, (kind, default) in _KEYS[name].items()
        }


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def load_env_file(
    path: str | os.PathLike[str],
    environ: MutableMapping[str, str] | None = None,
    *,
    override: bool = False,
) -> dict[str, str]:
    """Set the variables of a file with lines of ``NAME=value``.

    Empty lines, ``#`` comments and an ``export`` in front are allowed, and quotes around a
    value. A variable that is set already stays, unless ``override``.

    Returns:
        All that the file has.

    Raises:
        SettingsError: A line is none of these; nothing has been set.
        OSError: The file cannot be read.
    """
    environ = os.environ if environ is None else environ
    read: dict[str, str] = {}
    for n, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingsError({str(path): f"line {n}: no NAME=value"})
        read[name.strip()] = _unquoted(value.strip())
    for name, value in read.items():
        if override or name not in environ:
            environ[name] = value
    return read


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
