"""Putting engines into replicas, and taking them away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic, sleep
from typing import Any, Final

import ray
from ray import cloudpickle, serve
from ray.serve.schema import ApplicationStatus

from ...errors import EngineLoadError, EngineUnavailableError
from ._replica import Replica
from ._settings import Autoscaling, checked_name, scaling_options

__all__ = ["DEPLOYMENT", "Plan", "deploy", "undeploy"]

DEPLOYMENT: Final = "engine"  # the one of each application
_POLL: Final = 0.1  # s
_FAREWELL: Final = 5.0  # s


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to deploy; `deploy_stt` says what each means."""

    name: str
    kind: str
    factory: Callable[[], Any]
    replicas: int | Autoscaling
    slots: int
    voices: int
    cpus: float
    gpus: float
    resources: Mapping[str, float]
    runtime_env: Mapping[str, Any]
    drain: float
    surge: int
    start_timeout: float

    def __post_init__(self) -> None:
        checked_name(self.name)
        scaling_options(self.replicas, self.slots)
        if self.voices < 1:
            raise ValueError(f"voices is 1 or more, not {self.voices}")
        if not (0.0 <= self.cpus < inf and 0.0 <= self.gpus < inf):
            raise ValueError(f"cpus and gpus are 0 or more, not {self.cpus} and {self.gpus}")
        if not 0.0 <= self.drain < inf:
            raise ValueError(f"drain is in seconds, 0 or more, not {self.drain}")
        if not 0 <= self.surge <= 100:
            raise ValueError(f"surge is a percentage, 0 to 100, not {self.surge}")
        if not self.start_timeout > 0.0:
            raise ValueError(f"start_timeout is over 0 seconds, not {self.start_timeout}")

    def application(self) -> serve.Application:
        """For Serve."""
        deployment: Any = serve.deployment(
            name=DEPLOYMENT,
            **scaling_options(self.replicas, self.slots),
            max_ongoing_requests=self.slots,
            max_queued_requests=-1,  # admission is in front, where it is fair
            ray_actor_options={
                "num_cpus": self.cpus,
                "num_gpus": self.gpus,
                "resources": dict(self.resources),
                "runtime_env": dict(self.runtime_env),
            },
            graceful_shutdown_timeout_s=self.drain,
            graceful_shutdown_wait_loop_s=0.2,
            max_constructor_retry_count=2,  # once may be the machine's fault
            max_surge_percent=self.surge,
            logging_config={"enable_access_log": False},
        )(Replica)
        factory = cloudpickle.dumps(self.factory)  # type: ignore[no-untyped-call]
        bound: serve.Application = deployment.bind(
            self.name, self.kind, factory, self.slots, self.voices
        )
        return bound


def deploy(plan: Plan) -> None:
    """Have it run; blocks until it does, or until that has failed.

    Raises:
        EngineLoadError: A replica could not be made ready, or not in time.
        EngineUnavailableError: This program is not connected to Ray.
    """
    _connected(plan.name)
    before = serve.status()
    if not before.proxies and not before.applications:
        serve.start(proxy_location="Disabled")  # nothing of ours is for HTTP
    serve.run_many(
        [serve.RunTarget(plan.application(), name=plan.name, route_prefix=None)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    failure = _outcome(plan)
    if failure is not None:
        if plan.name not in before.applications:
            _delete(plan.name, _FAREWELL)  # what never came up has no calls to end
        raise EngineLoadError(plan.name, failure)


def undeploy(name: str) -> None:
    """Take a deployment away, and its replicas; blocks until they are gone.

    Calls under way may end, for as long as the deployment's ``drain``. Does nothing if there
    is none of that name.

    Raises:
        EngineUnavailableError: This program is not connected to Ray.
        ValueError: That is no deployment's name.
    """
    _connected(checked_name(name))
    _delete(name, inf)


def _connected(name: str) -> None:
    if not ray.is_initialized():
        raise EngineUnavailableError(
            name, "this program is not connected to Ray: call ray.init() first"
        )


def _delete(name: str, patience: float) -> None:
    """Have Serve take a deployment away; return when it is gone, or after so many seconds."""
    end = monotonic() + patience
    told = False
    while ray.is_initialized() and name in serve.status().applications and monotonic() < end:
        if not told:
            serve.delete(name, _blocking=False)  # else it gives up after a minute
            told = True
        sleep(_POLL)


def _outcome(plan: Plan) -> str | None:
    """Wait for the end of a deployment's start; why it failed, or None."""
    end = monotonic() + plan.start_timeout
    seen = False
    while True:
        if not ray.is_initialized():  # or Serve would start a cluster of its own
            return "this program was disconnected from Ray meanwhile"
        application = serve.status().applications.get(plan.name)
        said = ""
        if seen and application is None:
            return "it was taken away meanwhile"
        seen = seen or application is not None
        if application is not None:
            deployment = application.deployments.get(DEPLOYMENT)
            said = (deployment.message if deployment else "") or application.message
            if application.status == ApplicationStatus.RUNNING:
                return None
            if application.status == ApplicationStatus.DEPLOY_FAILED:
                return f"no replica could be made ready: {said}"
        if monotonic() > end:
            return f"no replica was ready within {plan.start_timeout:g} s: {said}"
        sleep(_POLL)
