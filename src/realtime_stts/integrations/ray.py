"""Engines on a Ray cluster: sessions stay where they are, utterances and sentences travel.

    import ray
    from realtime_stts.engines import load_stt
    from realtime_stts.integrations.ray import deploy_stt

    ray.init()
    stt = deploy_stt(lambda: load_stt("whisper:base.en"), replicas=4)  # in any program, once

    async with RaySTTEngine("stt") as stt:  # and in every edge
        print((await stt.transcribe(clip)).text)

Replicas are Ray Serve's (https://docs.ray.io/en/latest/serve/): it starts them, replaces the
dead, and scales. An engine here is its deployment's handle, and keeps the promises of any
other engine, on asyncio and on trio. Ray is talked to in one thread, so that no event loop
ever waits for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MissingExtraError
from ..protocols import StreamingSTTEngine, StreamingTTSEngine

try:
    with warnings.catch_warnings():
        # Ray declares its settings in a way that newer versions of pydantic warn of.
        warnings.filterwarnings("ignore", "Using extra keyword arguments", DeprecationWarning)
        import ray.serve  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("Engines on Ray", "ray") from exc

from ._ray._deploying import Plan, deploy, undeploy
from ._ray._engine import RaySTTEngine, RayTTSEngine
from ._ray._settings import Autoscaling, RayStatistics

__all__ = [
    "Autoscaling",
    "RaySTTEngine",
    "RayStatistics",
    "RayTTSEngine",
    "deploy_stt",
    "deploy_tts",
    "undeploy",
]


def deploy_stt(
    factory: Callable[[], StreamingSTTEngine],
    *,
    name: str = "stt",
    replicas: int | Autoscaling = 1,
    slots: int = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    drain: float = 60.0,
    surge: int = 100,
    start_timeout: float = 600.0,
    **options: Any,
) -> RaySTTEngine:
    """Put a speech-to-text engine into replicas, and return the engine that asks them.

    Blocks until they run: in an asynchronous program it belongs into a thread. A name that
    is deployed already is updated while it works: each new replica is ready before an old
    one goes, which takes calls no more, and ends those it has. If none of the new ones can be
    made ready, the old ones stay.

    The engine is made by ``factory()``, loaded and warmed up in each replica. Packages that
    it needs and others must not have belong into ``runtime_env``, which needs this very
    version of realtime_stts, too; or else into an environment of its own, by a factory that
    returns an `IsolatedSTTEngine`.

    Args:
        factory: Called in each replica, without arguments; sent there by ``cloudpickle``, so
            it may be a lambda. What it imports must be there.
        name: 1 to 64 letters, digits, '_', '-' and '.'. Another engine is another name.
        replicas: How many, or between how many.
        slots: Calls that a replica works on at the same time. Whisper and Chatterbox work on
            one; an engine that calls a server may have many.
        cpus: That a replica reserves, of its node's.
        gpus: Likewise; a fraction lets replicas share a GPU.
        resources: Likewise, of resources with names of one's own.
        runtime_env: Ray's: ``pip``, ``uv``, ``py_executable``, ``env_vars``, ``working_dir``.
        drain: Seconds that a replica which has to go gives the calls under way.
        surge: How many more replicas there may be during an update, in per cent. 0 needs no
            room beside, but each old one goes before its successor has come.
        start_timeout: Seconds in which the replicas have to be ready.
        **options: Those of `RaySTTEngine`.

    Raises:
        EngineLoadError: The engine cannot be made or loaded, or not in time; says why. A
            name that was not deployed before is not deployed now.
        EngineUnavailableError: This program is not connected to Ray: ``ray.init()`` is missing.
        ValueError: A value is out of range.
    """
    engine = RaySTTEngine(name, **options)
    deploy(
        Plan(
            name=name,
            kind="stt",
            factory=factory,
            replicas=replicas,
            slots=slots,
            voices=1,
            cpus=cpus,
            gpus=gpus,
            resources=resources or {},
            runtime_env=runtime_env or {},
            drain=drain,
            surge=surge,
            start_timeout=start_timeout,
        )
    )
    return engine


def deploy_tts(
    factory: Callable[[], StreamingTTSEngine],
    *,
    name: str = "tts",
    replicas: int | Autoscaling = 1,
    slots: int = 1,
    voices: int = 16,
    cpus: float = 1.0,
    gpus: float = 0.0,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    drain: float = 60.0,
    surge: int = 100,
    start_timeout: float = 600.0,
    **options: Any,
) -> RayTTSEngine:
    """Put a text-to-speech engine into replicas; otherwise as `deploy_stt`.

    Args:
        voices: Of how many voices a replica is known to have them, the last ones it was asked
            for: calls for them go there. About as many as the engine keeps itself.
        **options: Those of `RayTTSEngine`.
    """
    engine = RayTTSEngine(name, **options)
    deploy(
        Plan(
            name=name,
            kind="tts",
            factory=factory,
            replicas=replicas,
            slots=slots,
            voices=voices,
            cpus=cpus,
            gpus=gpus,
            resources=resources or {},
            runtime_env=runtime_env or {},
            drain=drain,
            surge=surge,
            start_timeout=start_timeout,
        )
    )
    return engine
