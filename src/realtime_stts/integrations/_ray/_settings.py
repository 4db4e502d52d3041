"""PURE: what is said about a deployment and an engine on Ray, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import Any, Final

__all__ = ["Autoscaling", "EdgeOptions", "RayStatistics", "checked_name", "scaling_options"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """As many replicas as the calls need, between two numbers.

    What waits for a slot is not seen by Ray, only what runs: so `target` has to be below the
    slots of a replica, or nothing would ever grow.

    Args:
        min_replicas: How many there are when nothing is asked. 0 lets the first call wait
            until a replica has started, for which it needs the engine's ``patience``.
        max_replicas: How many there are at most.
        target: Calls that run in each replica, on average, when their number is right. None
            is three quarters of its slots.
        upscale_delay: Seconds for which more must be needed before there are more.
        downscale_delay: Seconds for which fewer must be enough before there are fewer.
        window: Seconds over which the calls are averaged; over 10, as Ray counts them every
            ten. The environment variables ``RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S``
            and ``RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S`` have it count more often.

    Raises:
        ValueError: A number is out of range.
    """

    min_replicas: int = 1
    max_replicas: int = 2
    target: float | None = None
    upscale_delay: float = 5.0
    downscale_delay: float = 120.0
    window: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(
                "min_replicas is 0 or more and at most max_replicas, which is 1 or more, "
                f"not {self.min_replicas} and {self.max_replicas}"
            )
        if self.target is not None:
            _over_zero("target", self.target)
        if not 10.0 < self.window < inf:
            raise ValueError(f"window is over 10 seconds, not {self.window}")
        for name, delay in (
            ("upscale_delay", self.upscale_delay),
            ("downscale_delay", self.downscale_delay),
        ):
            if not 0.0 <= delay < inf:
                raise ValueError(f"{name} is in seconds, 0 or more, not {delay}")


def scaling_options(replicas: int | Autoscaling, slots: int) -> dict[str, Any]:
    """Serve's options of a deployment.

    Raises:
        ValueError: A number is out of range.
    """
    if slots < 1:
        raise ValueError(f"slots is 1 or more, or no call could ever run; not {slots}")
    if not isinstance(replicas, Autoscaling):
        if replicas < 1:
            raise ValueError(f"replicas is 1 or more, not {replicas}")
        return {"num_replicas": replicas}
    target = 0.75 * slots if replicas.target is None else replicas.target
    if target >= slots:
        raise ValueError(f"target is below the {slots} slots of a replica, not {target}")
    return {
        "autoscaling_config": {
            "min_replicas": replicas.min_replicas,
            "max_replicas": replicas.max_replicas,
            "target_ongoing_requests": target,
            "upscale_delay_s": replicas.upscale_delay,
            "downscale_delay_s": replicas.downscale_delay,
            "look_back_period_s": replicas.window,
        }
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """How an edge uses a deployment; `RaySTTEngine` says what each means."""

    address: str | None = None
    share: float = 1.0
    max_waiting: int | None = None
    timeout: float | None = None
    retries: int = 2
    patience: float = 30.0
    batch: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is over 0 and at most 1, not {self.share}")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting is a number of calls, 0 or more, not {self.max_waiting}")
        if self.timeout is not None:
            _over_zero("timeout", self.timeout)
        if self.retries < 0:
            raise ValueError(f"retries is 0 or more, not {self.retries}")
        _over_zero("patience", self.patience)
        if not 0.0 <= self.batch <= 10.0:
            raise ValueError(f"batch is in seconds of sound, 0 to 10, not {self.batch}")

    def slots(self, replicas: int, slots: int) -> int:
        """How many calls this edge may have under way."""
        return max(1, int(self.share * max(1, replicas) * slots))

    def places(self, slots: int) -> int:
        """How many calls may wait for one of so many slots."""
        return slots if self.max_waiting is None else self.max_waiting


@dataclass(frozen=True, slots=True)
class RayStatistics:
    """The numbers of one engine, at one edge, at one moment."""

    replicas: int  # that run, when last looked: every two seconds while there are calls
    slots: int  # of this edge: its share of all replicas'
    running: int  # calls that hold a slot
    waiting: int  # calls that wait for one
    retried: int  # since it was loaded: attempts after one whose replica failed
    refused: int  # since it was loaded: calls for which there was no room


def checked_name(name: str) -> str:
    """A deployment's name.

    Raises:
        ValueError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a deployment's name is 1 to 64 letters, digits, '_', '-' and '.', "
            f"and begins with a letter or digit, not {name!r}"
        )
    return name


def _over_zero(name: str, value: float) -> None:
    if not 0.0 < value < inf:
        raise ValueError(f"{name} is over 0, not {value}")
