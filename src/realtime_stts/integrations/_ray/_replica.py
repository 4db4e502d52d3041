"""What runs in a replica: the engine, and the calls it works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

import ray
from ray import cloudpickle, serve

from ..._request import request_scope
from ...engines._called import called
from ...engines._isolated_frames import Message
from ...engines._isolated_values import packed_result
from ...errors import EngineCrashedError
from ._messages import PROTOCOL, packed, unpacked
from ._replica_call import ReplicaCall

__all__ = ["Replica", "steer"]

_MAX_CRASHES: Final = 3  # in a row: then the replica is another one's to start

# Those of this process, which is one replica's.
_calls: dict[str, ReplicaCall] = {}


def steer(actor: object, id: str, header: str, payload: bytes) -> bool:
    """Tell a replica's call something; run by `__ray_call__` in the replica's process.

    False, if it does not run here any more.
    """
    call = _calls.get(id)
    if call is not None:
        call.hear(unpacked(header, payload))
    return call is not None


class Replica:
    """One engine, made by ``factory`` here, where its packages are.

    Serve makes it, asks whether it is healthy, and calls it; only by asynchronous
    generators, since no other method can be withdrawn.

    Args:
        factory: By `ray.cloudpickle`; unpacked here, so that what it lacks here is said.
        voices: Of how many voices the replica is known to have them.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, name: str, kind: str, factory: bytes, slots: int, voices: int
    ) -> None:
        self._about = {"name": name, "kind": kind, "slots": slots, "protocol": PROTOCOL}
        self._crashes = 0
        self._engine = cloudpickle.loads(factory)()
        await self._engine.load()
        await self._engine.warmup()
        # Serve sends calls for a voice to a replica that was asked for it.
        multiplexed: Any = serve.multiplexed(max_num_models_per_replica=voices)
        self._take_voice = multiplexed(_noted)

    async def check_health(self) -> None:
        """By Serve, every few seconds; raises where another replica should take its place."""
        if self._crashes >= _MAX_CRASHES:
            raise RuntimeError(f"the engine crashed {self._crashes} times in a row")
        ask = getattr(self._engine, "is_available", None)
        if ask is not None and not await ask():
            raise RuntimeError("the engine says that it is not available")

    async def call(
        self, id: str, header: str, payload: bytes
    ) -> AsyncGenerator[tuple[str, bytes, Any]]:
        """Work on a call: first this replica, then what there is to say, and then its end."""
        request = unpacked(header, payload)
        call = ReplicaCall(request.header["remaining"])
        _calls[id] = call
        work = asyncio.create_task(self._work(call, request))
        try:
            yield (*packed(Message({"do": "begin", **self._about})), _here())
            while (message := await call.next()) is not None:
                yield (*packed(message), None)
                if message.header["do"] == "end":
                    return
        finally:
            del _calls[id]
            call.scope.cancel()
            await _settled(work)  # the slot is taken until the engine has given up

    async def _work(self, call: ReplicaCall, request: Message) -> None:
        error: Exception | None = None
        origin = request.header["origin"]
        try:
            with call.scope, request_scope(origin[0], session_id=origin[1]):
                await asyncio.sleep(0)  # what is over already does not begin
                async with aclosing(self._results(call, request)) as results:
                    async for result in results:
                        message = packed_result(result)
                        header = {"do": "item", **message.header}
                        await call.put(Message(header, message.payload))
            self._crashes = 0
        except EngineCrashedError as exc:
            error = exc
            self._crashes += 1
        except Exception as exc:  # noqa: BLE001 - it is raised at the edge
            error = exc
        call.end(error, expired=error is None and call.scope.cancelled_caught)

    async def _results(self, call: ReplicaCall, request: Message) -> AsyncGenerator[object]:
        """All that the engine has to say to a call."""
        engine, header = self._engine, request.header
        if header["voice"]:
            await self._take_voice(header["voice"])
        async with aclosing(called(engine, header, request.payload, call.audio)) as results:
            async for result in results:
                yield result


def _here() -> Any:
    """This replica's actor, by which it can be told things."""
    return ray.get_runtime_context().current_actor


async def _noted(voice: str) -> str:
    """What Serve keeps of a voice; the engine makes it its own when it is asked to speak."""
    return voice


async def _settled(work: asyncio.Task[None]) -> None:
    """Wait for the end of a task that was withdrawn, whatever happens meanwhile."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
