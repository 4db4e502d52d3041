"""PURE: what an error of Ray's means to who asked an engine for something.

Errors are known by their names, so that nothing of Ray is imported: a replica's place failed,
there is no place, or it is nothing of Ray's.
"""

from __future__ import annotations

from typing import Final

from ...errors import (
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    OverloadedError,
    RealtimeSTTSError,
)

__all__ = ["Displaced", "translated"]

# The replica, its process or its machine went away while it had the call.
_CRASHED: Final = frozenset(
    {
        "ActorDiedError",
        "ActorUnavailableError",
        "LocalRayletDiedError",
        "NodeDiedError",
        "NodePreemptedError",
        "ObjectLostError",  # an answer that was in a lost machine's memory
        "OutOfMemoryError",
        "OwnerDiedError",
        "RayActorError",
        "WorkerCrashedError",
    }
)
# It never got to a replica.
_UNAVAILABLE: Final = frozenset(
    {
        "ActorHandleNotFoundError",
        "ActorUnschedulableError",
        "DeploymentUnavailableError",
        "GetTimeoutError",
        "RayServeException",
        "RaySystemError",
        "ReplicaUnavailableError",
        "RpcError",
        "RuntimeEnvSetupError",
        "TaskUnschedulableError",
    }
)
_FULL: Final = frozenset({"BackPressureError", "PendingCallsLimitExceeded"})


class Displaced(Exception):
    """The place of a call failed, and not the engine: another one may be asked.

    ``error`` is what its caller is told if none is.
    """

    def __init__(self, error: RealtimeSTTSError) -> None:
        self.error = error
        super().__init__(error)


def translated(error: BaseException, engine: str) -> Exception:
    """What to raise in place of what Ray raised: a `Displaced`, or an error of this library's."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    message = f"{type(error).__name__}: {_first_line(error)}"
    result: Exception
    if kinds & _FULL:
        result = OverloadedError(f"{engine}: Ray refuses more calls")
    # What a replica's code raised is first of all that, whatever it was.
    elif "RayTaskError" in kinds:
        cause = getattr(error, "cause", None)
        if isinstance(cause, BaseException) and not isinstance(cause, type(error)):
            return translated(cause, engine)
        result = EngineError(engine, f"its replica failed: {message}")
    elif kinds & _CRASHED:
        result = Displaced(EngineCrashedError(engine, f"its replica is gone: {message}"))
    elif kinds & _UNAVAILABLE:
        result = Displaced(EngineUnavailableError(engine, f"no replica takes calls: {message}"))
    elif isinstance(error, RealtimeSTTSError):
        return error
    else:
        result = EngineError(engine, f"its replica failed: {message}")
    told = result.error if isinstance(result, Displaced) else result
    told.__cause__ = error
    return result


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "nothing was said"
