"""Answers of a language model, from any server that speaks OpenAI's chat API.

    responder = ChatResponseGenerator("llama3.2", base_url="http://localhost:11434/v1")
    engine = ConversationEngine(stt=stt, tts=tts, responder=responder)

Speech engines over the same API are `realtime_stts.engines.http`; a server of it for other
programs is `openai_router` in `realtime_stts.integrations.fastapi`.
"""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import openai  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("ChatResponseGenerator", "openai") from exc

from ._openai_chat._generator import ChatResponseGenerator

__all__ = ["ChatResponseGenerator"]
