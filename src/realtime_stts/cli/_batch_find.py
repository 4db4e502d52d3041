"""The sound files in folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from errno import EINVAL
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG
from typing import Final

from ._batch_plan import Source

__all__ = ["AV_SUFFIXES", "SUFFIXES", "Found", "find"]

SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
AV_SUFFIXES: Final = (".m4a", ".mp4", ".mov", ".webm", ".mka", ".mkv")


class Found:
    """What was found, and what was left out for want of an extra."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.n_without_av = 0


def find(paths: Sequence[Path], patterns: Iterable[str] = ()) -> Found:
    """The sound files that ``paths`` name or hold, sorted, each once; blocks.

    Of folders, those with a known suffix, at any depth. What is hidden is left out, and so is
    what is no regular file. A folder that links lead to twice is looked into once.

    With one path, names are counted from the folder; with several, the folder's own name
    comes first.

    Args:
        patterns: Globs, one of which the name has to match, or its last part, if there are any.

    Raises:
        OSError: One of ``paths`` is not there, or is neither file nor folder.
    """
    found, patterns = Found(), [*patterns]
    suffixes = SUFFIXES + (AV_SUFFIXES if find_spec("av") else ())
    seen: set[Path] = set()
    for given in paths:
        path = given.absolute()
        if not path.is_dir():
            candidates: Iterable[tuple[Path, str]] = [(path, path.name)]
            if not S_ISREG(given.stat().st_mode):
                raise OSError(EINVAL, "it is neither a file nor a folder", str(given))
        else:
            above = "" if len(paths) == 1 else f"{path.resolve().name}/".lstrip("/")
            candidates = ((each, above + name) for each, name in _below(path))
        for each, name in candidates:
            if each in seen or not _matches(name, patterns):
                continue
            seen.add(each)
            suffix = each.suffix.lower()
            if each == path or suffix in suffixes:
                source = _source(each, name)
                found.sources += [source] if source else []
            elif suffix in AV_SUFFIXES:
                found.n_without_av += 1
    found.sources.sort(key=lambda source: (source.name, source.path))
    return found


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder and of those in it, with their names from there on."""
    visited = {folder.resolve()}

    def is_new(each: Path) -> bool:
        there = each.resolve()
        if each.name.startswith(".") or there in visited:
            return False
        visited.add(there)
        return True

    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [each for each in sorted(folders) if is_new(Path(parent, each))]
        for file in files:
            if not file.startswith("."):
                path = Path(parent, file)
                yield path, path.relative_to(folder).as_posix()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return not patterns or any(fnmatch(name, each) or fnmatch(last, each) for each in patterns)


def _source(path: Path, name: str) -> Source | None:
    """The file, if it is one."""
    try:
        status = path.stat()
    except OSError:  # a link to nowhere, or gone already
        return None
    if not S_ISREG(status.st_mode):
        return None
    return Source(path, name, status.st_size, status.st_mtime_ns)
