"""Sound that engines make, changed on its way: the same code for a clip and for a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
from anyio import to_thread
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray

from ..audio import AudioData
from ..errors import EngineError
from ..protocols import SynthesisResult
from ._context import RequestContext
from ._middleware import CallNext

__all__ = ["AudioProcess", "Samples", "decoded", "processed", "slices"]

Samples = NDArray[np.float32]  # shape (frames, channels), full scale at 1.0

# Seconds that are worked on at a time, so that a long clip does not hold up the event loop:
# what these processes do to a second of sound takes them a millisecond or two.
_SLICE: Final = 1.0


class AudioProcess(Protocol):
    """Changes one stretch of sound. However it is cut, the output joined is the same."""

    def push(self, samples: Samples, /) -> Samples:
        """Take the next samples; return those that are ready."""
        ...

    def flush(self) -> Samples:
        """The sound has ended: return what was held back."""
        ...


async def decoded(audio: AudioData) -> AudioData:
    """The same as PCM. What is encoded is decoded in a thread: a long clip takes its time.

    Raises:
        AudioFormatError: It cannot be decoded.
    """
    if audio.format.startswith("pcm"):
        return audio
    return await to_thread.run_sync(audio.decoded, abandon_on_cancel=True)


def slices(audio: AudioData) -> Iterator[Samples]:
    """The samples of a clip, a second at a time."""
    samples = audio.samples
    step = round(_SLICE * audio.sample_rate)
    return (samples[first : first + step] for first in range(0, len(samples), step))


async def processed(
    context: RequestContext, call_next: CallNext, begin: Callable[[AudioData], AudioProcess]
) -> AsyncGenerator[Any]:
    """The results of a TTS call with their sound changed.

    Rate, channels and PCM format stay the engine's; an encoded clip becomes PCM. Of a
    stream, chunks that complete nothing are not forwarded, but where there was a chunk,
    there is one, if an empty one.

    Args:
        context: The call.
        call_next: The rest of the chain.
        begin: Makes the process for a call, given its clip or its first chunk, decoded.

    Raises:
        AudioFormatError: What the engine made cannot be decoded.
        EngineError: A stream changes its rate or its number of channels.
    """
    stream: _Stream | None = None
    async with aclosing(call_next(context)) as results:
        async for result in results:
            if isinstance(result, SynthesisResult):
                yield replace(result, audio_data=await _whole(result.audio_data, begin))
                continue
            chunk = await decoded(result)
            if stream is None:
                stream = _Stream(chunk, begin(chunk))
            elif not stream.goes_on_with(chunk):
                raise EngineError(
                    context.engine,
                    f"its speech began with {stream.first!r} and went on with {chunk!r}",
                    request_id=context.request_id,
                )
            if (changed := stream.push(chunk)) is not None:
                yield changed
    if stream is not None and (rest := stream.flush()) is not None:
        yield rest


async def _whole(audio: AudioData, begin: Callable[[AudioData], AudioProcess]) -> AudioData:
    audio = await decoded(audio)
    process = begin(audio)
    pieces: list[Samples] = []
    for piece in slices(audio):
        if pieces:
            await checkpoint()
        pieces.append(process.push(piece))
    pieces.append(process.flush())
    return AudioData.from_samples(np.concatenate(pieces), audio.sample_rate, audio.format)


class _Stream:
    """The chunks of one stream."""

    __slots__ = ("_process", "_silent", "first")

    def __init__(self, first: AudioData, process: AudioProcess) -> None:
        self.first = first
        self._process = process
        self._silent = True  # nothing was forwarded yet

    def goes_on_with(self, chunk: AudioData) -> bool:
        first = self.first
        return (chunk.sample_rate, chunk.channels) == (first.sample_rate, first.channels)

    def push(self, chunk: AudioData) -> AudioData | None:
        return self._chunk(self._process.push(chunk.samples), last=False)

    def flush(self) -> AudioData | None:
        return self._chunk(self._process.flush(), last=True)

    def _chunk(self, samples: Samples, *, last: bool) -> AudioData | None:
        if not len(samples) and not (last and self._silent):
            return None
        self._silent = False
        return AudioData.from_samples(samples, self.first.sample_rate, self.first.format)
