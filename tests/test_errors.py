"""The error tree: as drawn, as raised, and the same on the other side of a process."""

from __future__ import annotations

import copy
import pickle
import re
from inspect import getdoc, isclass

import pytest

from realtime_stts import errors
from realtime_stts.errors import (
    AudioContainerError,
    AudioDeviceError,
    AudioError,
    AudioFormatError,
    AudioLimitError,
    AuditError,
    AuthenticationError,
    CircuitOpenError,
    EngineCrashedError,
    EngineError,
    EngineLoadError,
    EngineMemoryError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ImplausibleSpeechError,
    MissingExtraError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    RealtimeSTTSError,
    SessionClosedError,
    SettingsError,
    TurnError,
    UnknownEngineError,
    UnknownVoiceError,
    VoiceError,
)

RAISED = [
    RealtimeSTTSError("at the root"),
    AudioError("unusable"),
    AudioFormatError("17 bytes are not a frame"),
    AudioContainerError("this is an MP4/M4A file"),
    AudioLimitError("more than 3600 s"),
    UnknownEngineError("stt", "wisper", ["whisper", "pocketsphinx"]),
    VoiceError("the recording is silent"),
    UnknownVoiceError("eve", ["bob", "ada"]),
    MissingExtraError("PocketSphinxSTTEngine", "local"),
    MissingExtraError("Microphone", "microphone", remedy="apt-get install libportaudio2"),
    AudioDeviceError("there is no microphone", ["0 HDMI (ALSA)"]),
    AudioDeviceError("the microphone stopped"),
    EngineError("whisper", "ran out of memory", request_id="req-7"),
    EngineError("whisper", "ran out of memory"),
    EngineCrashedError("whisper", "its process ended with SIGKILL", exit_code=-9),
    EngineLoadError("whisper", "no such file: base.pt", request_id="req-8"),
    EngineMemoryError("whisper", "large-v3 needs 10 GB of cuda:0", request_id="req-10"),
    EngineRefusedError("http", "the server refuses the request (400)", request_id="req-12"),
    EngineTimeoutError("whisper", 10.0, request_id="req-9"),
    EngineTimeoutError("whisper", 0.5),
    EngineUnavailableError("stt", "no replica runs", request_id="req-13"),
    AuditError("the disk does not answer"),
    AuthenticationError("no token was given"),
    PermissionDeniedError("ada may not use stt"),
    SettingsError({"server.port": "is no whole number", "tts_engine.device": "is not known"}),
    CircuitOpenError("whisper", 12.5, request_id="req-11"),
    ImplausibleSpeechError("chatterbox", "made 30 s of 2 letters"),
    TurnError("Idle()", "ReplyFinished(turn=3)"),
    OverloadedError("8 calls are waiting"),
    OverloadedError("8 calls are waiting", retry_after=2.0),
    RateLimitError("more than 2 a second", retry_after=0.5),
    SessionClosedError("the session has ended"),
]


def drawn() -> dict[str, list[str]]:
    """Each class of the tree in the module's docstring, with its bases."""
    document = errors.__doc__
    assert document is not None
    bases: dict[str, list[str]] = {"RealtimeSTTSError": ["Exception"]}
    above = ["RealtimeSTTSError"]
    for branch, name, builtin in re.findall(
        r"^ {4}([ │]*)[├└]── (\w+)(?: \((\w+)\))?", document, re.MULTILINE
    ):
        depth = len(branch) // 4 + 1
        above[depth:] = [name]
        bases[name] = [above[depth - 1], *([builtin] if builtin else [])]
    return bases


def defined() -> dict[str, list[str]]:
    return {
        name: [base.__name__ for base in thing.__bases__]
        for name, thing in vars(errors).items()
        if isclass(thing) and issubclass(thing, BaseException)
    }


def test_the_tree_is_the_one_drawn_in_the_docstring() -> None:
    assert drawn() == defined()
    assert sorted(drawn()) == sorted(errors.__all__)


def test_every_error_is_raised_in_these_tests_and_explained() -> None:
    assert {type(error).__name__ for error in RAISED} == {*drawn()}
    for error in RAISED:
        assert "__doc__" in vars(type(error))
        assert getdoc(type(error))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            UnknownEngineError("stt", "wisper", ["whisper", "pocketsphinx"]),
            (
                "no stt engine is called 'wisper'; known: pocketsphinx, whisper. "
                'The embedded engines come with: pip install "realtime-stts[local]"'
            ),
        ),
        (
            UnknownEngineError("tts", "espeak", []),
            (
                "no tts engine is called 'espeak'; known: none. "
                'The embedded engines come with: pip install "realtime-stts[local]"'
            ),
        ),
        (
            MissingExtraError("PocketSphinxSTTEngine", "local"),
            (
                "PocketSphinxSTTEngine needs a package that is not installed: "
                'pip install "realtime-stts[local]"'
            ),
        ),
        (
            MissingExtraError("Microphone", "microphone", remedy="apt-get install libportaudio2"),
            "Microphone needs a package that is not installed: apt-get install libportaudio2",
        ),
        (
            AudioDeviceError("there is no microphone", iter(["0 HDMI (ALSA)", "1 USB (ALSA)"])),
            "there is no microphone; found: 0 HDMI (ALSA), 1 USB (ALSA)",
        ),
        (
            AudioDeviceError("there is no microphone", []),
            "there is no microphone; found: no sound device at all",
        ),
        (AudioDeviceError("the microphone stopped"), "the microphone stopped"),
        (EngineError("whisper", "ran out of memory"), "whisper: ran out of memory"),
        (
            EngineLoadError("whisper", "no such file", request_id="req-8"),
            "whisper: no such file (request req-8)",
        ),
        (TurnError("Idle", "Tick"), "'Tick' is impossible in 'Idle'"),
        (AudioLimitError("more than 3600 s"), "more than 3600 s"),
    ],
)
def test_messages_say_what_failed_and_what_to_do(error: Exception, message: str) -> None:
    assert str(error) == message


def test_the_facts_are_fields_too() -> None:
    unknown = UnknownEngineError("stt", "wisper", iter(["whisper", "pocketsphinx"]))
    assert (unknown.kind, unknown.name) == ("stt", "wisper")
    assert unknown.known == ("pocketsphinx", "whisper")
    failed = EngineError("whisper", "ran out of memory", request_id="req-7")
    assert (failed.engine, failed.message, failed.request_id) == (
        "whisper", "ran out of memory", "req-7",
    )  # fmt: skip
    missing = MissingExtraError("PocketSphinxSTTEngine", "local")
    assert (missing.feature, missing.extra) == ("PocketSphinxSTTEngine", "local")


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_whole(error: RealtimeSTTSError) -> None:
    arrivals = [
        copy.copy(error),
        copy.deepcopy(error),
        *(
            pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ]
    for arrived in arrivals:
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert arrived.args == error.args
        assert vars(arrived) == vars(error)


def test_the_callers_faults_are_caught_as_what_python_calls_them() -> None:
    for error, builtin in [
        (AudioFormatError("x"), ValueError),
        (AudioLimitError("x"), ValueError),
        (UnknownEngineError("stt", "x", []), LookupError),
        (MissingExtraError("x", "local"), ImportError),
    ]:
        with pytest.raises(builtin):
            raise error
