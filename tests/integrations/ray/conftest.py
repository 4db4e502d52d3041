"""A Ray cluster of this machine for each test file, which is gone afterwards."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A cluster with one node that says it has 16 CPUs; the program is connected to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import serve

    _init()
    try:
        yield
        serve.shutdown()
    finally:
        with warnings.catch_warnings():
            # Ray kills its processes, and does not wait for the end of all of them.
            warnings.simplefilter("ignore", ResourceWarning)
            ray.shutdown()
            gc.collect()


def _init() -> None:
    """Connect; Ray gives its processes 30 s to come up, and a busy machine may need more."""
    import ray

    for _ in range(2):
        with suppress(Exception):
            _connect()
            return
        ray.shutdown()
    _connect()


def _connect() -> None:
    import ray

    ray.init(
        "local",
        num_cpus=16,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="realtime_stts",
        object_store_memory=200_000_000,
    )
