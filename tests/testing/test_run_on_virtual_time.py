"""A call on virtual time, awaited where a loop with another clock already runs."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

import anyio
import pytest

from realtime_stts.testing import run_on_virtual_time

pytestmark = pytest.mark.anyio


async def an_hour(result: str) -> tuple[str, float, int]:
    began = anyio.current_time()
    await anyio.sleep(3600)
    return result, anyio.current_time() - began, threading.get_ident()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_an_hour_passes_and_the_loop_that_waits_goes_on(backend: str) -> None:
    if backend == "trio":
        pytest.importorskip("trio")
    began, now = perf_counter(), anyio.current_time()
    result, seconds, thread = await run_on_virtual_time(an_hour, "done", backend=backend)
    assert (result, seconds) == ("done", pytest.approx(3600))
    assert thread != threading.get_ident()
    assert perf_counter() - began < 60
    assert anyio.current_time() - now < 60


async def test_an_error_is_the_awaiters() -> None:
    async def fail() -> Any:
        await anyio.sleep(1)
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await run_on_virtual_time(fail)


async def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="asyncio or trio"):
        await run_on_virtual_time(an_hour, "", backend="curio")
