"""A text in the voice of a conversation, without any conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ..._edge import streaming_tts
from ..._sentences import SentenceSplitter
from ...audio import AudioData
from ...conversation import ConversationEngine
from ...conversation._limits import next_within
from ...conversation._speakable import speakable

__all__ = ["spoken"]


async def spoken(
    engine: ConversationEngine, text: str, voice_config: Mapping[str, Any] | None
) -> AsyncGenerator[AudioData]:
    """The sound of ``text``, a sentence at a time, as the engine's sessions would speak it.

    Raises:
        EngineError: The TTS engine failed, or took longer than the engine's limits allow.
    """
    assert engine.tts_engine is not None
    tts, limit = streaming_tts(engine.tts_engine), engine.limits.synthesis
    voice = engine.voice_config(voice_config)
    splitter = SentenceSplitter()
    for sentence in (*splitter.feed(text), *splitter.flush()):
        if said := speakable(sentence):
            async with aclosing(tts.stream(said, voice)) as sounds:
                while True:
                    try:
                        audio = await next_within(sounds, limit, tts)
                    except StopAsyncIteration:
                        break
                    yield audio
