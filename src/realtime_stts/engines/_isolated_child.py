"""The engine's process: it makes the engine, and answers calls until it is told to end.

Three threads: the main one runs the event loop, and the engine in it; one reads, and itself
answers the question whether the process is alive; one writes. When the other end closes, for
whatever reason, the process ends at once.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from math import inf
from threading import Thread
from traceback import format_exception
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from .._registry import load_stt, load_tts
from .._request import request_scope
from ..audio import AudioData
from ._called import called
from ._isolated_frames import PROTOCOL, FrameError, Hello, Message, hello_line
from ._isolated_values import packed_error, packed_result, unpacked_audio, valued
from ._isolated_wire import WINDOW, Outbox, read_messages, write_all, write_frames

__all__ = ["main", "this_process"]

_ABANDONED: Final = 3  # exit code; nobody sees it but the system


def this_process() -> Hello:
    """The versions here."""
    from importlib.metadata import version

    return Hello(PROTOCOL, version("realtime-stts"), platform.python_version())


def main() -> None:
    """Answer calls on stdin and stdout."""
    reading, writing = _take_the_pipes()
    write_all(writing, hello_line(this_process()))
    anyio.run(_run, reading, writing)


def _take_the_pipes() -> tuple[int, int]:
    """Stdin and stdout, which nobody else can reach any more.

    What a library prints goes to stderr, in Python or in C, and stdin is empty.
    """
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return reading, writing


async def _run(reading: int, writing: int) -> None:
    outbox = Outbox()
    writer = Thread(target=write_frames, args=(outbox, writing), daemon=True)
    writer.start()
    # What the calls are told is bounded by what their senders are told that they may send.
    inbox = asyncio.Queue[Message]()
    loop = asyncio.get_running_loop()

    def receive(message: Message) -> None:
        loop.call_soon_threadsafe(inbox.put_nowait, message)

    Thread(target=_read, args=(reading, outbox, receive), daemon=True).start()
    async with anyio.create_task_group() as tasks:
        server = _Server(outbox, tasks)
        while not server.ended:
            await server.receive(await inbox.get())
    outbox.close()
    writer.join()


def _read(reading: int, outbox: Outbox, receive: Callable[[Message], None]) -> None:
    try:
        for message in read_messages(reading):
            if message.header["do"] == "ping":  # answered even if the loop is busy
                outbox.put_now({"do": "pong"})
            else:
                receive(message)
    except FrameError as exc:
        sys.stderr.write(f"{exc}\n")
    except RuntimeError:  # the loop is closed: the process ends anyway
        return
    os._exit(_ABANDONED)  # without waiting for a model that may be busy for long


class _Call:
    """A call that the engine works on."""

    def __init__(self, message: Message) -> None:
        self.id: int = message.header["id"]
        self.header = message.header
        self.payload = message.payload
        self.scope = anyio.CancelScope()
        self.window = anyio.Semaphore(WINDOW)  # results that the reader will take
        self.feed, self._audio = anyio.create_memory_object_stream[AudioData](inf)

    async def audio(self, outbox: Outbox) -> AsyncGenerator[AudioData]:
        """The chunks as they come."""
        async for chunk in self._audio:
            outbox.put_now({"do": "more", "id": self.id})
            yield chunk

    def close(self) -> None:
        self.feed.close()
        self._audio.close()


class _Server:
    """The engine, and the calls it works on."""

    def __init__(self, outbox: Outbox, tasks: TaskGroup) -> None:
        self.ended = False
        self._outbox = outbox
        self._tasks = tasks
        self._calls: dict[int, _Call] = {}
        self._engine: Any = None

    async def receive(self, message: Message) -> None:
        """Do what a message says."""
        header = message.header
        do, id = header["do"], header.get("id", 0)
        call = self._calls.get(id)
        if do == "start":
            self._start(header)
        elif do == "call":
            if self._engine is not None:
                call = self._calls[id] = _Call(message)
                self._tasks.start_soon(self._serve, call)
        elif do == "exit":
            await self._end()
        elif call is None:
            if do == "cancel":  # of a call that has just ended, or never came
                self._outbox.put({"do": "end", "id": id, "error": None, "loaded": self._loaded})
        elif do == "cancel":
            call.scope.cancel()
        elif do == "more":
            for _ in range(header["n"]):
                call.window.release()
        elif do == "audio":
            call.feed.send_nowait(unpacked_audio(header["layout"], message.payload))
        elif do == "audio_end":
            call.feed.close()

    def _start(self, header: Any) -> None:
        """Make the engine. It is imported here, in the main thread, as some have to be."""
        try:
            if header["memory_limit"] is not None:
                _limit_memory(header["memory_limit"])
            load = {"stt": load_stt, "tts": load_tts}[header["kind"]]
            self._engine = load(header["spec"], **valued(header["options"]))
        except Exception as exc:  # noqa: BLE001 - it is raised in the other process
            self._outbox.put({"do": "failed", "error": _packed(exc)})
            self.ended = True

    @property
    def _loaded(self) -> bool:
        return self._engine is not None and bool(self._engine.model_loaded)

    async def _serve(self, call: _Call) -> None:
        error: Exception | None = None
        try:
            with call.scope, request_scope(call.header["request_id"]):
                async with aclosing(self._results(call)) as results:
                    async for result in results:
                        await call.window.acquire()
                        message = packed_result(result)
                        header = {"do": "item", "id": call.id, **message.header}
                        self._outbox.put(header, message.payload)
        except Exception as exc:  # noqa: BLE001 - it is raised in the other process
            error = exc
        finally:
            call.close()
        if call.scope.cancel_called:
            self._outbox.forget(call.id)
        del self._calls[call.id]
        packed = None if error is None else _packed(error)
        self._outbox.put({"do": "end", "id": call.id, "error": packed, "loaded": self._loaded})

    async def _results(self, call: _Call) -> AsyncGenerator[object]:
        """All that the engine has to say to a call."""
        engine, header = self._engine, call.header
        match header["method"]:
            case "load":
                await engine.load()
            case "warmup":
                await engine.warmup()
            case "is_available":
                yield await engine.is_available()
            case _:
                sound = partial(call.audio, self._outbox)
                async with aclosing(called(engine, header, call.payload, sound)) as results:
                    async for result in results:
                        yield result

    async def _end(self) -> None:
        """Release the model; no call is under way any more."""
        self.ended = True
        await self._engine.unload()


def _packed(error: Exception) -> dict[str, Any]:
    return packed_error(error, "".join(format_exception(error)))


def _limit_memory(n_bytes: int) -> None:
    """Let this process have no more than that; what asks for more has a `MemoryError`."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
