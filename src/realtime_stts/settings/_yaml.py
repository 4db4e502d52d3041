"""Settings in YAML files: read strictly, written so that no crash leaves half a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any, Final

import yaml

from ..errors import SettingsError

__all__ = ["dump", "parse", "read", "write"]

_PRIVATE: Final = 0o600  # of a new file: it may come to hold passwords


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML itself silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # Merged (<<) keys may be overridden: only what stands in the mapping itself counts.
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[Any] = set()
        for key in own:
            name = getattr(key, "value", None)
            if isinstance(name, str):
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {name!r} is there twice", key.start_mark
                    )
                seen.add(name)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text is; an empty text is an empty one.

    Args:
        source: What the text is called in errors.

    Raises:
        SettingsError: It is no YAML, or no mapping. The message says where, and not what.
    """
    try:
        # `_Loader` is a SafeLoader: it makes plain values and no objects.
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as exc:
        raise SettingsError({source: _where(exc)}) from None  # its context quotes the file
    except RecursionError:
        raise SettingsError({source: "is nested too deeply"}) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError({source: "holds no mapping of sections, but something else"})
    return data


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "is no YAML"
    if mark is None:
        return str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def read(path: Path) -> dict[str, Any] | None:
    """What the file holds; None if there is none.

    Raises:
        SettingsError: It is no YAML mapping, or no UTF-8.
        OSError: It cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors add a mark
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as exc:
        raise SettingsError({str(path): f"is no UTF-8 (byte {exc.start})"}) from None
    return parse(text, str(path))


def dump(data: Mapping[str, Any]) -> str:
    """The YAML of plain values."""
    if not data:
        return ""
    return yaml.safe_dump({**data}, sort_keys=False, allow_unicode=True, width=100)


def write(path: Path, text: str) -> None:
    """Put ``text`` in the place of the file, whole or not at all.

    The file's mode stays, a link stays a link, and what it held is kept in ``NAME.bak``. A
    crash at any moment leaves the old file or the new one.

    Raises:
        OSError: It cannot be written; the file is as it was or, if only its folder could not
            be synced, the new one.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
        old: bytes | None = target.read_bytes()
    except FileNotFoundError:
        mode, old = _PRIVATE, None
    if old is not None:
        _put(target.with_name(f"{target.name}.bak"), old, mode)
    _put(target, text.encode(), mode)


def _put(target: Path, content: bytes, mode: int) -> None:
    # A name of its own: another process may be saving too. Only the owner can read it.
    descriptor, part = mkstemp(".part", f".{target.name}.", target.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.chmod(part, mode)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
