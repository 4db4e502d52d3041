"""Generators that were not closed are known by name; the event loop's own hooks go on."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from realtime_stts.testing._generators import watched_generators

Generator = AsyncGenerator[int, None]


async def numbers() -> Generator:
    yield 1
    yield 2


def begin(generator: Generator) -> Generator:
    """Ask it for its first item, as an event loop would."""
    with pytest.raises(StopIteration, match="1"):
        generator.__anext__().send(None)
    return generator


def close(generator: Generator) -> None:
    with pytest.raises(StopIteration):
        generator.aclose().send(None)


class Loop:
    """The hooks of an event loop, here one that closes what was left to it."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.collected: list[str] = []

    def first_iteration(self, generator: Any) -> None:
        self.began.append(generator.__qualname__)

    def finalize(self, generator: Any) -> None:
        self.collected.append(generator.__qualname__)
        close(generator)


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = sys.get_asyncgen_hooks()
    loop = Loop()
    sys.set_asyncgen_hooks(loop.first_iteration, loop.finalize)
    yield loop
    sys.set_asyncgen_hooks(*before)


def always() -> bool:
    return True


def test_one_that_is_open_is_named(loop: Loop) -> None:
    with watched_generators(always) as watched:
        generator = begin(numbers())
        assert watched.names == ["numbers"]
        close(generator)
        assert watched.names == []
    assert loop.began == ["numbers"]


def test_one_that_ran_to_its_end_is_not(loop: Loop) -> None:
    with watched_generators(always) as watched:
        generator = begin(numbers())
        for _ in range(2):
            with pytest.raises((StopIteration, StopAsyncIteration)):
                generator.__anext__().send(None)
        assert watched.names == []


def test_one_that_was_dropped_is_named_and_left_to_the_loop(loop: Loop) -> None:
    with watched_generators(always) as watched:
        begin(numbers())
        gc.collect()
        assert watched.names == ["numbers"]
    assert loop.collected == ["numbers"]


def test_one_that_began_before_is_not_watched(loop: Loop) -> None:
    generator = begin(numbers())
    with watched_generators(always) as watched:
        with pytest.raises(StopIteration, match="2"):
            generator.__anext__().send(None)
        assert watched.names == []
        del generator
        gc.collect()
        assert watched.names == []
    assert loop.collected == ["numbers"]


def test_one_that_is_somebody_elses_is_not_watched(loop: Loop) -> None:
    with watched_generators(lambda: False) as watched:
        generator = begin(numbers())
        assert watched.names == []
        del generator
        gc.collect()
        assert watched.names == []
    assert loop.collected == ["numbers"]


def test_one_that_is_dropped_afterwards_is_still_left_to_the_loop(loop: Loop) -> None:
    with watched_generators(always):
        generator = begin(numbers())
    del generator
    gc.collect()
    assert loop.collected == ["numbers"]


@pytest.mark.parametrize("first_out", ["outer", "inner"])
def test_blocks_may_overlap_in_any_order(loop: Loop, first_out: str) -> None:
    blocks = [watched_generators(always) for _ in range(2)]
    outer, inner = (block.__enter__() for block in blocks)
    generator = begin(numbers())
    assert outer.names == inner.names == ["numbers"]
    close(generator)
    first, last = blocks if first_out == "outer" else blocks[::-1]
    first.__exit__(None, None, None)
    generator = begin(numbers())
    assert [watched.names for watched in (outer, inner)].count(["numbers"]) == 1
    close(generator)
    last.__exit__(None, None, None)
    assert sys.get_asyncgen_hooks().firstiter == loop.first_iteration
    assert loop.began == ["numbers"] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_the_loops_hooks_are_back_afterwards(loop: Loop, fails: bool) -> None:
    def block() -> None:
        with watched_generators(always):
            if fails:
                raise KeyError

    if fails:
        with pytest.raises(KeyError):
            block()
    else:
        block()
    hooks = sys.get_asyncgen_hooks()
    assert (hooks.firstiter, hooks.finalizer) == (loop.first_iteration, loop.finalize)


def test_without_a_loop_there_are_no_hooks_to_call() -> None:
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        with watched_generators(always) as watched:
            begin(numbers())
            gc.collect()
            assert watched.names == ["numbers"]
        assert tuple(sys.get_asyncgen_hooks()) == (None, None)
    finally:
        sys.set_asyncgen_hooks(*before)
