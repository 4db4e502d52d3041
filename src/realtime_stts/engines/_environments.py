"""Where the Python environments are that engines have of their own, and what is in them.

They are folders by name below one folder. The one that is made is built beside its place and
then moved there, so that what has its name is whole.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["environments_folder", "find_environment", "interpreter", "made_environments"]


def environments_folder() -> Path:
    """``environments`` in `REALTIME_STTS_HOME`, or else in the user's data folder."""
    given = os.environ.get("REALTIME_STTS_HOME")
    return (Path(given) if given else _data_folder() / "realtime-stts") / "environments"


def _data_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def interpreter(environment: Path) -> Path:
    """The Python of an environment."""
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def made_environments() -> list[Path]:
    """The environments that were made, sorted by name."""
    folder = environments_folder()
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if interpreter(path).exists())


def find_environment(name: str) -> Path | None:
    """The environment of that name, if it was made."""
    return next((path for path in made_environments() if path.name == name), None)
