"""What is asked of each framework, with the same calls; figures in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from time import monotonic, process_time
from typing import Any

from .call import FRAME, SAID, Call, Feeder, Side

__all__ = ["answering"]

_IDLE, _CONVERSATION = 4.0, 12.0  # s
_SPREAD = 6.0  # s within which the conversations begin to be spoken in
_PATIENCE = 4.0  # s for an answer
# Frames by which utterances differ, so that they end everywhere in a window of 0.5 s; each side
# has the same ones, as each process begins anew.
_phases = (7 * i % 25 for i in count())
_GAP = 0.15  # s without sound that are silence; no engine here is so late


async def turns(side: Side, n: int, *, eager: bool = False) -> dict[str, Any]:
    """From the user's last voiced sample to the first sound of each of so many answers."""
    call = Call(1.0, eager=eager)
    response, lengths = [], []
    async with side(call) as push:
        line = Feeder(push)
        await line.silence(0.5)
        for _ in range(n):
            call.phone.expect()
            await line.speech(1.0 + next(_phases) * FRAME)
            last = line.now
            if not await line.silence_until(partial(_answers, call), _PATIENCE):
                break
            response.append(_first(call) - last)
            await line.silence_until(lambda: monotonic() > call.phone.until + 0.6, _PATIENCE)
            lengths.append(call.phone.played)
    agreed = call.said == [SAID] * n and all(abs(length - 1.0) < 0.11 for length in lengths)
    return {"seconds": response, "equal": agreed and len(response) == n}


async def barge_in(side: Side, n: int, *, eager: bool = False) -> dict[str, Any]:
    """From the first sample of a voice over a long answer to the bot's silence."""
    stops = []
    for _ in range(n):
        call = Call(9.0, eager=eager)
        async with side(call) as push:
            line = Feeder(push)
            await line.silence(0.5)
            await line.speech(1.0)
            if not await line.silence_until(partial(_answers, call), _PATIENCE):
                break
            await line.silence(1.0 + next(_phases) * FRAME)
            began = line.now
            await line.speech(1.0)
            silent = await line.silence_until(partial(_is_silent, call), 3.0)
            until = call.phone.until
            # More than half of the answer had been to come: it did not just end.
            if silent and until < _first(call) + 4.5:
                stops.append(until - began)
    return {"seconds": stops, "equal": len(stops) == n}


def _is_silent(call: Call) -> bool:
    return monotonic() > call.phone.until + _GAP


def _answers(call: Call) -> bool:
    return call.phone.first is not None


def _first(call: Call) -> float:
    assert call.phone.first is not None
    return call.phone.first


async def idle(side: Side, n: int, *, eager: bool = False) -> dict[str, Any]:
    """The CPU time of a frame while nobody speaks, of so many calls at a time."""
    computed, _ = await _at_once(side, n, _IDLE, speaking=False, eager=eager)
    return {"seconds": [computed / (n * _IDLE / FRAME)], "equal": True}


async def conversations(side: Side, n: int, *, eager: bool = False) -> dict[str, Any]:
    """The CPU time of a second of a conversation, of so many at a time.

    In each the user speaks for 2 s and is answered with 2 s of speech, once in 12 s. All of
    that is counted, whenever a framework does it.
    """
    computed, answered = await _at_once(side, n, _CONVERSATION, speaking=True, eager=eager)
    return {"seconds": [computed / (n * _CONVERSATION)], "equal": answered}


async def _at_once(
    side: Side, n: int, window: float, *, speaking: bool, eager: bool
) -> tuple[float, bool]:
    """The process's CPU time within the window, and whether every utterance was answered."""
    settle = 1.0
    begin = monotonic() + 0.5 + 0.05 * n  # until then they are opened
    calls = [Call(2.0, eager=eager) for _ in range(n)]

    async def hold(i: int) -> None:
        async with side(calls[i]) as push:
            line = Feeder(push, begin + i / n * FRAME)
            wait = i / n * _SPREAD if speaking else 0.0
            await line.silence(settle + wait)
            if speaking:
                await line.speech(2.0)
            await line.silence(window - wait - 2.0 * speaking + 0.1)

    holding = [asyncio.create_task(hold(i)) for i in range(n)]
    await asyncio.sleep(begin + settle - monotonic())
    start = process_time()
    await asyncio.sleep(begin + settle + window - monotonic())
    computed = process_time() - start
    await asyncio.gather(*holding)
    answered = all(call.said == [SAID] and abs(call.phone.played - 2.0) < 0.11 for call in calls)
    return computed, answered or not speaking


_JOBS = {job.__name__: job for job in (turns, barge_in, idle, conversations)}


def answering(side: Callable[..., Side]) -> Callable[..., dict[str, Any]]:
    """What a worker asks: the options that are the side's own make it, the others the job."""

    def answer(
        until_the_end: ExitStack, *, job: str, n: int, eager: bool = False, **options: Any
    ) -> dict[str, Any]:
        return asyncio.run(_JOBS[job](side(**options), n, eager=eager))

    return answer
