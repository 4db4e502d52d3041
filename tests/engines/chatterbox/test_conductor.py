"""Many calls of one model: whose turn it is, and what ends whom. The model here is a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("chatterbox")

import anyio.lowlevel
import torch

from realtime_stts.engines._worker import Worker
from realtime_stts.engines.chatterbox._conductor import Conductor, Sound
from realtime_stts.engines.chatterbox._sampling import Sampling
from realtime_stts.engines.chatterbox._talker import Utterance
from realtime_stts.errors import EngineError, EngineMemoryError, OverloadedError
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio

RATE = 24_000
CHUNK = 5  # tokens, of which a second of sound is made


class ScriptedTalker:
    """Each line's tokens, one at a step."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.spoken: list[Utterance] = []
        self.fails: Exception | None = None

    def join(self, utterance: Utterance, check: Callable[[], None]) -> None:
        check()
        self.spoken.append(utterance)

    def step(self, check: Callable[[], None]) -> None:
        check()
        if self.fails is not None:
            raise self.fails
        self.log.append("tokens")
        for each in [*self.spoken]:
            if len(each.tokens) < each.max_tokens:
                each.tokens.append(0)
            if len(each.tokens) == each.max_tokens:
                each.ended = True
                self.spoken.remove(each)

    def leave(self, utterance: Utterance) -> None:
        if utterance in self.spoken:
            self.spoken.remove(utterance)

    def clear(self) -> None:
        self.spoken.clear()


class ScriptedRendering:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.fed, self.made, self.last = 0, 0, False

    @property
    def needed(self) -> int | None:
        if self.last and self.made >= self.fed:
            return None
        return min(self.made + CHUNK, self.fed) if self.last else self.made + CHUNK

    def feed(self, tokens: Sequence[int], last: bool) -> None:
        self.fed += len(tokens)
        self.last = last

    def next_chunk(self) -> Iterator[None]:
        for _ in range(3):
            self.log.append(f"{self.name} renders")
            yield
        self.made = min(self.made + CHUNK, self.fed)

    def take(self) -> np.ndarray:
        return np.ones(RATE, np.float32)


class ScriptedLine:
    closing: Sequence[int] = ()
    rerolls = 1

    def __init__(self, stage: Stage, name: str, lengths: Sequence[int], right: int | None) -> None:
        self.stage, self.name, self.lengths, self.right = stage, name, lengths, right
        self.warned: list[int] = []

    def utterance(self, attempt: int) -> Utterance:
        return Utterance(torch.zeros(3), [], Sampling(), max_tokens=self.lengths[attempt])

    def is_plausible(self, n_tokens: int) -> bool:
        return self.right is None or n_tokens == self.right

    def warn(self, n_tokens: int) -> None:
        self.stage.warned.append((self.name, n_tokens))

    def rendering(self) -> ScriptedRendering:
        return ScriptedRendering(self.name, self.stage.log)


class Stage:
    """A request is ``(name, lengths of its lines, the right length)``, or an error."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.warned: list[tuple[str, int]] = []
        self.talker: Any = ScriptedTalker(self.log)

    def lines(self, request: Any, check: Callable[[], None]) -> list[Any]:
        if isinstance(request, Exception):
            raise request
        name, lengths, right = request
        return [ScriptedLine(self, name, each, right) for each in lengths]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def made(stage: Stage) -> Callable[..., Conductor]:
    def made(**options: Any) -> Conductor:
        options = {"max_active": 4, "max_waiting": 4, **options}
        return Conductor("scripted", Worker("scripted"), lambda: stage, **options)

    return made


async def heard(conductor: Conductor, request: Any) -> list[Sound]:
    async with aclosing(conductor.say(request)) as sounds:
        return [sound async for sound in sounds]


def lines(*lengths: int) -> list[list[int]]:
    return [[length] for length in lengths]


async def test_lines_are_said_in_order_and_the_last_sound_of_each_says_so(
    made: Callable[..., Conductor],
) -> None:
    sounds = await heard(made(), ("a", lines(12, 5, 3), None))
    assert [(sound.line, sound.ends) for sound in sounds] == [
        (0, False), (0, False), (0, True), (1, True), (2, True),
    ]  # fmt: skip


async def test_a_line_without_a_token_has_no_sound_and_ends(
    made: Callable[..., Conductor],
) -> None:
    conductor = made()
    request = ("a", [[0], [5]], None)
    # A line of no tokens ends with its first step.
    sounds = await heard(conductor, request)
    assert [(sound.line, sound.ends, sound.samples.size) for sound in sounds] == [
        (0, True, 0), (1, True, RATE),
    ]  # fmt: skip


async def test_a_first_sound_does_not_wait_for_the_end_of_another_call(
    made: Callable[..., Conductor], stage: Stage
) -> None:
    conductor = made()
    finished: list[str] = []
    begun = anyio.Event()

    async def long() -> None:
        async with aclosing(conductor.say(("long", lines(400), None))) as sounds:
            async for _ in sounds:
                begun.set()
        finished.append("long")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(long)
        await begun.wait()
        await heard(conductor, ("short", lines(5), None))
        finished.append("short")
    assert finished == ["short", "long"]
    # From where the short one could, it rendered, though the other had tokens enough.
    first = stage.log.index("short renders")
    assert stage.log[first : first + 3] == ["short renders"] * 3


async def test_a_step_of_tokens_is_for_all(made: Callable[..., Conductor], stage: Stage) -> None:
    conductor = made()
    async with anyio.create_task_group() as tasks:
        for name in "abcd":
            tasks.start_soon(heard, conductor, (name, lines(20), None))
    assert 20 <= stage.log.count("tokens") < 60


@pytest.mark.parametrize(
    ("lengths", "n_chunks", "warned"),
    [([3, 4], 1, []), ([3, 3], 1, [("a", 3)]), ([4, 9], 1, [])],
    ids=["right the second time", "never right", "right at once"],
)
async def test_a_line_of_no_plausible_length_is_said_once_more(
    made: Callable[..., Conductor],
    stage: Stage,
    lengths: list[int],
    n_chunks: int,
    warned: list[Any],
) -> None:
    sounds = await heard(made(), ("a", [lengths], 4))
    assert len(sounds) == n_chunks
    assert stage.warned == warned


async def test_what_was_heard_already_is_not_said_again(
    made: Callable[..., Conductor], stage: Stage
) -> None:
    sounds = await heard(made(), ("a", [[11, 4]], 4))
    assert len(sounds) == 3
    assert stage.warned == [("a", 11)]


async def test_a_slow_reader_holds_up_nobody_else_and_little_is_kept_for_it(
    made: Callable[..., Conductor],
) -> None:
    conductor = made()
    async with aclosing(conductor.say(("slow", lines(500), None))) as slow:
        await anext(slow)
        assert len(await heard(conductor, ("quick", lines(30), None))) == 6
        rest = [sound async for sound in slow]
    assert len(rest) == 99


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RuntimeError("CUDA out of memory"), EngineMemoryError),
        (RuntimeError("a bad layer"), EngineError),
        (ValueError("not so"), ValueError),
    ],
)
async def test_a_request_that_fails_fails_alone(
    made: Callable[..., Conductor], failure: Exception, expected: type[Exception]
) -> None:
    conductor = made()
    results: list[Any] = []

    async def other() -> None:
        results.append(await heard(conductor, ("a", lines(40), None)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        with pytest.raises(expected, match=str(failure)):
            await heard(conductor, failure)
    assert len(results[0]) == 8


async def test_a_step_that_fails_fails_those_it_was_for_each_with_an_error_of_its_own(
    made: Callable[..., Conductor], stage: Stage
) -> None:
    conductor = made()
    stage.talker.fails = RuntimeError("a bad layer")
    errors: list[BaseException] = []

    async def failing() -> None:
        with pytest.raises(EngineError, match="the model failed: a bad layer") as caught:
            await heard(conductor, ("a", lines(10), None))
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failing)
        tasks.start_soon(failing)
    assert errors[0] is not errors[1]
    stage.talker.fails = None
    assert not stage.talker.spoken
    assert len(await heard(conductor, ("a", lines(10), None))) == 2


async def test_a_call_that_is_closed_leaves_the_model(
    made: Callable[..., Conductor], stage: Stage
) -> None:
    conductor = made()
    async with no_leaks():
        async with aclosing(conductor.say(("a", lines(10**9), None))) as sounds:
            await anext(sounds)
        with conductor._worker.exclusive():  # which the model gives back
            assert not stage.talker.spoken


async def test_more_than_may_wait_are_refused(made: Callable[..., Conductor]) -> None:
    conductor = made(max_active=1, max_waiting=1)
    async with aclosing(conductor.say(("a", lines(10**9), None))) as first:
        await anext(first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard, conductor, ("b", lines(5), None))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(OverloadedError, match="1 calls of scripted wait already"):
                await heard(conductor, ("c", lines(5), None))
            await first.aclose()


async def test_who_wants_the_model_for_something_else_waits_for_calls_under_way_alone(
    made: Callable[..., Conductor],
) -> None:
    conductor = made()
    order: list[str] = []
    got = threading.Event()

    def unload() -> None:
        with conductor._worker.exclusive():
            order.append("unloaded")
            got.set()

    async with aclosing(conductor.say(("a", lines(60), None))) as first:
        await anext(first)
        thread = threading.Thread(target=unload)
        thread.start()
        while not conductor._worker.wanted:
            await anyio.lowlevel.checkpoint()

        async def later() -> None:
            await heard(conductor, ("b", lines(5), None))
            order.append("said")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(later)
            async for _ in first:
                pass
    thread.join()
    assert order == ["unloaded", "said"]
