"""What an engine answers to a call that came from another process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from .._edge import not_none
from ..audio import AudioData
from ._isolated_values import unpacked_audio, valued

__all__ = ["called"]


async def called(
    engine: Any,
    header: Mapping[str, Any],
    payload: bytes,
    audio: Callable[[], AsyncGenerator[AudioData]],
) -> AsyncGenerator[object]:
    """All that the engine has to say, if ``header["method"]`` is a call to speak or to hear.

    Args:
        header: The method and its arguments, as `plain` made them.
        payload: The sound of a clip.
        audio: Makes the sound of a stream; closed here.

    Raises:
        Exception: What the engine raised.
    """
    match header["method"]:
        case "list_voices":
            yield await engine.list_voices()
        case "synthesize":
            config = valued(header["voice_config"])
            yield not_none(await engine.synthesize(header["text"], config), engine)
        case "transcribe":
            clip = unpacked_audio(header["layout"], payload)
            yield not_none(await engine.transcribe(clip, header["language"]), engine)
        case "speak":
            config = valued(header["voice_config"])
            async with aclosing(engine.stream(header["text"], config)) as chunks:
                async for chunk in chunks:
                    yield chunk
        case "listen":
            async with (
                aclosing(audio()) as sound,
                aclosing(engine.stream(sound, header["language"])) as results,
            ):
                async for result in results:
                    yield result
