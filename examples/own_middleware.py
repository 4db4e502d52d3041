"""A middleware of one's own: words that an engine always hears wrong, put right.

    pip install "realtime-stts[local]"
    python examples/own_middleware.py

It is an async generator function, and needs to know of nothing but the call. The same one
is around whole clips and around streams, whose partial results it corrects as they come.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import anyio

from realtime_stts.engines import load_stt, load_tts
from realtime_stts.middleware import Chain, TimingMiddleware
from realtime_stts.testing import chunked

# -- the middleware ----------------------------------------------------------------------

RIGHT = {"hal": "HAL", "pod bay": "pod-bay"}


async def correct(context, call_next):
    async with aclosing(call_next(context)) as results:
        async for result in results:
            text = result.text
            for heard, meant in RIGHT.items():
                text = text.replace(heard, meant)
            yield replace(result, text=text)


# -- and its use -------------------------------------------------------------------------


async def main() -> None:
    timing = TimingMiddleware()
    engine = load_stt("pocketsphinx", phrases=["open the pod bay doors hal"])
    stt = Chain(timing, correct).wrap(engine)  # an engine again, with all it could do
    said = (await load_tts("espeak").synthesize("open the pod bay doors, Hal", {})).audio_data

    print("without:", (await engine.transcribe(said)).text)
    print("with:   ", (await stt.transcribe(said)).text)
    async with aclosing(chunked(said, 0.1)) as audio, aclosing(stt.stream(audio)) as results:
        async for result in results:
            print("partial:" if result.partial else "final:  ", result.text)
    print(f"{timing.statistics().count} calls, timed by the layer outside of it")


anyio.run(main)
