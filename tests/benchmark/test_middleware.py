"""What layers around an engine add, in rounds that take turns."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from realtime_stts.benchmark import _middleware
from realtime_stts.benchmark._check import CheckError
from realtime_stts.benchmark._middleware import added, chains, measure
from realtime_stts.middleware import CallNext, Chain, RequestContext

from .conversations import by_case, job

pytestmark = pytest.mark.anyio

LAYERS = ("no layer", "one layer", "three layers", "seven layers")


async def test_a_figure_for_each_chain_of_calls_and_of_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_middleware, "_ROUNDS_QUICK", 3)
    figures = by_case(await measure(job()))
    assert [*figures] == [
        case
        for what in ("a call", "a streamed result")
        for case in (f"{what}, bare engine", *(f"added to {what} by {name}" for name in LAYERS))
    ]
    assert all(len(figure.samples) == 3 for figure in figures.values())
    assert all(figure.unit == "us" for figure in figures.values())
    assert figures["a call, bare engine"].better == ""


async def test_more_is_measured_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_middleware, "_ROUNDS", 4)
    figures = await measure(replace(job(), quick=False))
    assert {len(figure.samples) for figure in figures} == {4}


async def test_a_chain_that_changes_a_result_fails_the_suite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def loud(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
        async for result in call_next(context):
            yield replace(result, text=result.text + "!")

    monkeypatch.setattr(_middleware, "chains", lambda **_: {"one layer": Chain(loud)})
    with pytest.raises(CheckError, match="the chain of one layer changed what the engine gave"):
        await measure(job())


async def test_the_engine_is_a_whole_one() -> None:
    engine = _middleware._NoOpEngine(1)
    wrapped = chains(first=5.0)["seven layers"].wrap(engine)
    assert await wrapped.is_available()
    assert wrapped.model_loaded


def test_the_layers_are_those_that_are_named() -> None:
    assert tuple(chains(first=5.0)) == LAYERS
    assert {*_middleware._NOTES} == {*LAYERS}


class Clock:
    """Stands still but for those who take time from it."""

    now = 0.0

    def takes(self, *seconds: float) -> Any:
        taken: Iterator[float] = iter(seconds)

        async def side() -> None:
            self.now += next(taken)

        return side


async def test_each_round_is_held_against_the_first_sides_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first time of each is not measured."""
    clock = Clock()
    monkeypatch.setattr(_middleware, "_clock", lambda: clock.now)
    bare, chain = clock.takes(9.0, 1.0, 2.0), clock.takes(9.0, 1.5, 4.0)
    rounds = await added({"bare": bare, "chain": chain}, 2)
    assert rounds == {"bare": [1.0, 2.0], "chain": [0.5, 2.0]}


async def test_the_sides_take_turns_there_and_back() -> None:
    ran: list[str] = []

    def side(name: str) -> Any:
        async def run() -> None:
            ran.append(name)

        return run

    await added({name: side(name) for name in "abc"}, 2)
    assert "".join(ran) == "abc" + "abc" + "cba"


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_garbage_collector_rests_within_a_round_and_is_as_it_was_after(
    enabled: bool,
) -> None:
    seen: list[bool] = []

    async def side() -> None:
        seen.append(gc.isenabled())

    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        await added({"bare": side}, 1)
        assert seen == [enabled, False]  # the first is not measured
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
