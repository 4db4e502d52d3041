"""What the Protocols promise, as test classes: a subclass proves an engine or a middleware.

    class TestMyEngine(StreamingTextToSpeechSuite):
        def engine(self):
            return MyEngine()

Each test makes an engine of its own and unloads it. The suites run on whatever
``anyio_backend`` the test session has: all of anyio's by default, on virtual time with
``realtime_stts.testing.plugin``.
"""

from __future__ import annotations

from ._middleware import MiddlewareSuite
from ._pause_detector import PauseDetectorSuite
from ._responder import ResponseGeneratorSuite
from ._speech_to_text import SpeechToTextSuite, StreamingSpeechToTextSuite
from ._text_to_speech import StreamingTextToSpeechSuite, TextToSpeechSuite
from ._websocket import WebSocketAdapterSuite

__all__ = [
    "MiddlewareSuite",
    "PauseDetectorSuite",
    "ResponseGeneratorSuite",
    "SpeechToTextSuite",
    "StreamingSpeechToTextSuite",
    "StreamingTextToSpeechSuite",
    "TextToSpeechSuite",
    "WebSocketAdapterSuite",
]
