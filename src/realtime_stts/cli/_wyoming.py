"""Serve Home Assistant, until a signal."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from ..engines import load_pause_detector, load_stt, load_tts
from ..protocols import PauseDetector
from ._console import err, fail, tell
from ._download import fetch

if TYPE_CHECKING:  # its package is an extra of its own
    from collections.abc import AsyncGenerator

    from ..integrations.wyoming import WyomingServer

__all__ = ["Wanted", "run_wyoming"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be served, and where.

    Attributes:
        config: Settings whose engines are served, in their chains; ``stt`` and ``tts`` then
            only say whether there is to be one.
    """

    uri: str
    stt: str | None = "pocketsphinx"
    tts: str | None = "espeak"
    pause_detector: str | None = None
    languages: Sequence[str] = ()
    config: Path | None = None


def run_wyoming(wanted: Wanted) -> None:
    """Serve until SIGINT or SIGTERM; then end what is being answered, and return.

    Raises:
        RealtimeSTTSError: An engine cannot be used.
        ValueError: What was given is wrong.
        typer.Exit: It cannot listen there, which has been said.
    """
    anyio.run(_serve, wanted)


async def _serve(wanted: Wanted) -> None:
    from ..integrations.wyoming import WyomingServer  # here, because of its extra

    detector: Callable[[], PauseDetector] | None = None
    if wanted.pause_detector is not None:
        detector = partial(load_pause_detector, wanted.pause_detector)
    async with AsyncExitStack() as opened:
        with err.status("loading the engines"):
            stt, tts = await opened.enter_async_context(_engines(wanted))
            server = WyomingServer(
                stt=stt,
                tts=tts,
                pause_detector=detector,
                languages=wanted.languages or None,
                uri=wanted.uri,
            )
            try:
                await opened.enter_async_context(server)
            except OSError as exc:
                raise fail(_why(exc, wanted.uri)) from exc
        async with anyio.create_task_group() as tasks:
            await tasks.start(_obey, server, tasks.cancel_scope)
            _introduce(server)
            await server.serve()
            tasks.cancel_scope.cancel()
    tell("stopped")


@asynccontextmanager
async def _engines(wanted: Wanted) -> AsyncGenerator[tuple[Any, Any]]:
    """The two engines, made, and loaded where settings say how."""
    if wanted.config is None:
        stt = None if wanted.stt is None else load_stt(wanted.stt)
        tts = None if wanted.tts is None else load_tts(wanted.tts)
        for engine, spec in ((stt, wanted.stt), (tts, wanted.tts)):
            if spec is not None:
                await fetch(engine, spec)
        yield stt, tts
        return
    from ..building import Assembly
    from ..settings import SettingsStore

    hears, speaks = wanted.stt is not None, wanted.tts is not None
    kinds: list[Any] = [kind for kind, is_wanted in (("stt", hears), ("tts", speaks)) if is_wanted]
    async with Assembly(SettingsStore(wanted.config).current, kinds=kinds) as assembly:
        yield assembly.stt if hears else None, assembly.tts if speaks else None


def _introduce(server: WyomingServer) -> None:
    for line in server.offers:
        tell(line)
    if not server.is_local:
        err.print(
            "warning: the protocol has no password: whoever reaches this address may listen and "
            "speak through it",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    tell(f"listening at {server.uri}; Ctrl-C stops")


async def _obey(
    server: WyomingServer, scope: anyio.CancelScope, *, task_status: TaskStatus[None]
) -> None:
    """Stop at the first signal, and at once at the second."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if server.is_stopping:
                    scope.cancel()
                else:
                    tell("stopping; answers that have begun are ended, once more ends them now")
                    server.stop()
    except NotImplementedError:  # on Windows: there Ctrl-C ends it at once
        task_status.started()


def _why(exc: OSError, uri: str) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"{uri} is taken: stop what listens there, or choose another address by --uri"
    return f"{uri}: {exc.strerror or exc}"
