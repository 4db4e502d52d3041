"""What holds for every engine that computes: its life cycle, cancelling it, and its manners."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ...protocols import Lifecycle
from .._leaks import no_leaks
from ._tools import at_once, longest_stall, opened, withdraw

__all__ = ["EngineSuite"]


class EngineSuite:
    """The part of the suites that speech to text and text to speech have in common.

    Attributes:
        max_stall: Seconds for which the engine may keep the event loop from other tasks.
            The default is ten of a transport's chunks: a tenth of it would be good, but
            a busy machine stalls by itself for longer than that.
    """

    pytestmark = pytest.mark.anyio

    max_stall: float = 0.25

    def engine(self) -> Any:
        """A new engine, not loaded."""
        raise NotImplementedError(f"{type(self).__name__}.engine returns the engine to test")

    async def use(self, engine: Any) -> object:
        """One ordinary call, to the end."""
        raise NotImplementedError

    def same(self, one: Any, other: Any) -> bool:
        """Whether two results may be of the same call: a transcription, or audio.

        By default they are equal. Override it for an engine that leaves something to
        chance; the closer it looks, the more mixed and lost results it finds.
        """
        return bool(one == other)

    def _with_life_cycle(self) -> Any:
        engine = self.engine()
        if not isinstance(engine, Lifecycle):
            pytest.skip(f"{type(engine).__name__} has no life cycle")
        return engine

    # -- life cycle ----------------------------------------------------------------------

    async def test_loads_on_demand(self) -> None:
        """A call needs no `load` before it, and leaves the model loaded."""
        async with opened(self.engine()) as engine:
            await self.use(engine)
            assert engine.model_loaded is True

    async def test_load_is_done_when_it_returns(self) -> None:
        async with opened(self._with_life_cycle()) as engine:
            await engine.load()
            assert engine.model_loaded is True, "load() returned before the model was loaded"
            await engine.load()
            assert engine.model_loaded is True, "a second load() undid the first"

    async def test_may_be_loaded_by_many_at_once(self) -> None:
        async with opened(self._with_life_cycle()) as engine:
            await at_once([engine.load] * 4)
            assert engine.model_loaded is True
            await self.use(engine)

    async def test_survives_a_load_that_is_cancelled(self) -> None:
        async with opened(self._with_life_cycle()) as engine:
            await withdraw(engine.load)
            await engine.load()
            assert engine.model_loaded is True
            await self.use(engine)

    async def test_unloads_and_loads_again(self) -> None:
        """A call after `unload` loads; unloading what is not loaded does nothing."""
        async with opened(self._with_life_cycle()) as engine:
            await engine.unload()
            await engine.load()
            await engine.unload()
            assert engine.model_loaded is False, "still loaded after unload()"
            await engine.unload()
            await self.use(engine)
            assert engine.model_loaded is True

    async def test_unload_does_no_harm_to_a_call_in_flight(self) -> None:
        async with opened(self._with_life_cycle()) as engine:
            expected = await self.use(engine)

            async def unload_when_it_works() -> None:
                await anyio.wait_all_tasks_blocked()
                await engine.unload()

            result, _ = await at_once([lambda: self.use(engine), unload_when_it_works])
            assert self.same(result, expected), "unloaded under a running call"

    async def test_warmup_loads(self) -> None:
        async with opened(self._with_life_cycle()) as engine:
            await engine.warmup()
            assert engine.model_loaded is True

    async def test_is_loaded_inside_async_with(self) -> None:
        async with self._with_life_cycle() as engine:
            assert engine.model_loaded is True
        assert engine.model_loaded is False

    # -- manners -------------------------------------------------------------------------

    async def test_is_unharmed_by_a_cancelled_call(self) -> None:
        async with opened(self.engine()) as engine:
            expected = await self.use(engine)
            for _ in range(3):
                await withdraw(lambda: self.use(engine))
            result = await self.use(engine)
            assert self.same(result, expected), "a cancelled call shows in the next one"

    async def test_leaves_the_event_loop_to_others(self) -> None:
        """Computing happens in a thread or a process, with the interpreter's lock let go."""
        async with opened(self.engine()) as engine:
            await self.use(engine)
            stall = await longest_stall(lambda: self.use(engine))
        assert stall <= self.max_stall, f"the event loop stood still for {stall:.2f} s"

    async def test_leaves_nothing_running(self) -> None:
        """Neither finished nor cancelled calls leave tasks or threads; nor does unloading."""
        async with no_leaks(), opened(self.engine()) as engine:
            await self.use(engine)
            async with no_leaks():
                await self.use(engine)
                await withdraw(lambda: self.use(engine))
