"""The engines of a batch: each in a process of its own, or replicas on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from anyio import CancelScope, create_task_group, sleep_forever
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.to_thread import run_sync

from ..engines import load_stt
from ..engines.isolated import IsolatedSTTEngine
from ..errors import EngineError
from ..protocols import ManagedSTTEngine
from ._batch_run import loaded

__all__ = ["local", "on_ray"]

_DRAIN = 5.0  # s that calls under way may take when all is over: nobody waits for them


@asynccontextmanager
async def local(
    spec: str, n: int, timeout: float | None
) -> AsyncGenerator[Sequence[ManagedSTTEngine]]:
    """So many engines, loaded, each in a process of its own.

    They share this machine's cores: where several are to compute with more than one thread
    each, they would only be in each other's way.

    Raises:
        RealtimeSTTSError: There is no such engine, or it cannot be loaded.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n))}
    environment = {} if n == 1 or "OMP_NUM_THREADS" in os.environ else threads
    engines = [
        IsolatedSTTEngine(spec.removeprefix("isolated:"), timeout=timeout, environment=environment)
        for _ in range(n)
    ]
    async with loaded(engines):
        yield engines


@asynccontextmanager
async def on_ray(
    spec: str, n: int, timeout: float | None, address: str
) -> AsyncGenerator[Sequence[ManagedSTTEngine]]:
    """So many replicas on a cluster, for as long as this lasts; one engine speaks for all.

    Raises:
        MissingExtraError: Ray is not installed.
        OSError: The cluster does not answer.
        RealtimeSTTSError: The engine cannot be loaded there.
    """
    from ..integrations import ray as replicas

    name = f"transcribe-{uuid4().hex[:8]}"
    deploy = partial(
        replicas.deploy_stt,
        partial(load_stt, spec),
        name=name,
        replicas=n,
        drain=_DRAIN,
        timeout=timeout,
    )
    undeploy = partial(replicas.undeploy, name)
    await run_sync(_connect, address)
    try:
        engine = await _deployed(deploy, undeploy)
        async with loaded([engine]):
            yield [engine] * n
    finally:
        with CancelScope(shield=True):
            await run_sync(undeploy)
            await run_sync(_disconnect)


async def _deployed(
    deploy: Callable[[], ManagedSTTEngine], undeploy: Callable[[], None]
) -> ManagedSTTEngine:
    """What ``deploy`` gives; if it is cancelled, ``undeploy`` ends it."""
    done = False
    outcome: ManagedSTTEngine | EngineError | None = None

    async def end_it() -> None:
        try:
            await sleep_forever()
        finally:
            if not done:
                with CancelScope(shield=True):
                    await run_sync(undeploy)

    async with create_task_group() as tasks:
        tasks.start_soon(end_it)
        try:
            outcome = await run_sync(deploy)
        except EngineError as exc:
            outcome = exc
        await checkpoint_if_cancelled()  # then its failure is only that it was ended
        done = True
        tasks.cancel_scope.cancel()
    if isinstance(outcome, EngineError):
        raise outcome
    assert outcome is not None
    return outcome


def _connect(address: str) -> None:
    import ray

    ray.init(address, logging_level=logging.ERROR, log_to_driver=False)


def _disconnect() -> None:
    import ray

    ray.shutdown()
