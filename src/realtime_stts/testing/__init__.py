"""Everything to test a voice application without a microphone, a model or a wait.

* `virtual_time`, `run_on_virtual_time` and the pytest plugin
  ``realtime_stts.testing.plugin``: an hour of conversation in the time of its computing.
* `Caller`: somebody who calls a session, waits, interrupts and hangs up; the `Call` it was,
  and `assert_within`.
* ``Scripted…``: engines that say what the test tells them to, when, and fail on demand.
* ``Faulty…``: engines that fail or hang at any result, for tests of what is around them.
* `speak_tones`, `tone_text` and `ToneSTTEngine`: a language that fakes truly speak and
  understand, so that what was heard can be compared with what was said.
* `Cassette`: calls of real engines, recorded once and replayed with their timing.
* ``…Suite``: what the Protocols promise, as test classes. An engine is proved by a
  subclass whose ``engine`` method returns it, a middleware by that of
  `MiddlewareSuite`. `connected_pair`: a WebSocket in memory.
* `speech`, `chunked` and `no_leaks`: sound, its delivery, and nothing left running.

Only the suites and the plugin need pytest: ``pip install "realtime-stts[testing]"``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from ._audio import chunked, speech
from ._call import Call, CallTurn, assert_within
from ._caller import Caller
from ._cassette import Cassette, RecordingMiddleware
from ._cassette_replay import CassetteMismatch
from ._faults import (
    Fault,
    FaultyCall,
    FaultyResponseGenerator,
    FaultySTTEngine,
    FaultyTTSEngine,
    Hang,
)
from ._leaks import no_leaks
from ._pauses import ScriptedPauseDetector
from ._responder import ResponseCall, ScriptedResponseGenerator
from ._script import Failure, ScriptExhausted
from ._stt import ScriptedSTTEngine, STTCall
from ._tone_reader import tone_text
from ._tone_stt import ToneSTTEngine
from ._tones import speak_tones, tone_spelling
from ._tts import ScriptedTTSEngine, TTSCall
from ._virtual_time import run_on_virtual_time, virtual_time
from ._websocket import (
    MemoryWebSocketAdapter,
    MemoryWebSocketClient,
    WebSocketClient,
    connected_pair,
)

if TYPE_CHECKING:
    from .suites import (
        MiddlewareSuite,
        PauseDetectorSuite,
        ResponseGeneratorSuite,
        SpeechToTextSuite,
        StreamingSpeechToTextSuite,
        StreamingTextToSpeechSuite,
        TextToSpeechSuite,
        WebSocketAdapterSuite,
    )

__all__ = [
    "Call",
    "CallTurn",
    "Caller",
    "Cassette",
    "CassetteMismatch",
    "Failure",
    "Fault",
    "FaultyCall",
    "FaultyResponseGenerator",
    "FaultySTTEngine",
    "FaultyTTSEngine",
    "Hang",
    "MemoryWebSocketAdapter",
    "MemoryWebSocketClient",
    "MiddlewareSuite",
    "PauseDetectorSuite",
    "RecordingMiddleware",
    "ResponseCall",
    "ResponseGeneratorSuite",
    "STTCall",
    "ScriptExhausted",
    "ScriptedPauseDetector",
    "ScriptedResponseGenerator",
    "ScriptedSTTEngine",
    "ScriptedTTSEngine",
    "SpeechToTextSuite",
    "StreamingSpeechToTextSuite",
    "StreamingTextToSpeechSuite",
    "TTSCall",
    "TextToSpeechSuite",
    "ToneSTTEngine",
    "WebSocketAdapterSuite",
    "WebSocketClient",
    "assert_within",
    "chunked",
    "connected_pair",
    "no_leaks",
    "run_on_virtual_time",
    "speak_tones",
    "speech",
    "tone_spelling",
    "tone_text",
    "virtual_time",
]


def __getattr__(name: str) -> Any:
    # The suites import pytest, which an application that only uses the fakes need not have.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as exc:
        raise MissingExtraError(name, "testing") from exc
    suites = f"{__name__}.suites"
    if suites not in sys.modules:  # whoever imported it from there has it as it is
        pytest.register_assert_rewrite(suites)
    return getattr(import_module(suites), name)
