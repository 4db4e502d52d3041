"""The files that engines need, fetched with a progress bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ..engines import load_stt, load_tts
from ..errors import UnknownEngineError
from ._console import err

__all__ = ["Downloads", "download", "fetch"]


@runtime_checkable
class Downloads(Protocol):
    """An engine with something to download. Its class takes ``download_root``, a folder."""

    async def download(self, progress: Callable[[int, int | None], None] | None = None) -> Path:
        """Fetch what is not there yet; return where it is.

        Args:
            progress: Called in any thread with the bytes that have come and, if known, how
                many there will be; not at all if everything is there.

        Raises:
            EngineLoadError: It cannot be downloaded.
        """
        ...


async def download(spec: str, root: Path | None) -> Path | None:
    """Fetch what that engine needs; return where it is, or None if it needs nothing.

    Args:
        root: The folder to put it in; None for the engine's own.

    Raises:
        RealtimeSTTSError: There is no such engine, or its files cannot be downloaded.
        ValueError: It knows no such model.
    """
    engine = _made(spec)
    if not isinstance(engine, Downloads):
        return None
    if root is not None:
        engine = _made(spec, download_root=root)
    return await fetch(engine, spec)


def _made(spec: str, **options: object) -> object:
    try:
        return load_stt(spec, **options)
    except UnknownEngineError as no_stt:
        try:
            return load_tts(spec, **options)
        except UnknownEngineError as no_tts:
            known = {*no_stt.known, *no_tts.known}
            raise UnknownEngineError("speech", no_stt.name, known) from None


async def fetch(engine: object, spec: str) -> Path | None:
    """Fetch what a made engine needs, so that loading it does not; None if that is nothing.

    Raises:
        EngineLoadError: It cannot be downloaded.
    """
    if not isinstance(engine, Downloads):
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task: TaskID | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:  # until then there may be nothing to download
                task = bar.add_task(f"downloading {spec}", total=total)
            bar.update(task, completed=done, total=total)

        return await engine.download(show)
