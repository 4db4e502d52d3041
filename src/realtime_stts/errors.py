"""Every error this library raises, and whose fault it is.

    RealtimeSTTSError
    ├── AudioError
    │   ├── AudioFormatError (ValueError)    the caller's: this is not usable audio
    │   │   └── AudioContainerError          the caller's: a kind of file that is not taken
    │   └── AudioLimitError (ValueError)     the caller's: a file longer than allowed
    ├── UnknownEngineError (LookupError)     the caller's: no engine of that name
    ├── VoiceError (ValueError)              the caller's: no voice can be made of this
    │   └── UnknownVoiceError (LookupError)  the caller's: no voice of that id
    ├── MissingExtraError (ImportError)      the installation's: names the `pip install`
    ├── AudioDeviceError                     the machine's: no such sound device, or it went away
    ├── AuditError (OSError)                 the machine's: a record could not be kept
    ├── AuthenticationError (PermissionError)  the caller's: who they are was not shown
    │   └── PermissionDeniedError            the caller's: they may not do this
    ├── SettingsError (ValueError)           the caller's: settings that cannot be used, by path
    ├── EngineError                          the engine's: carries its name and the request id
    │   ├── CircuitOpenError                 it failed too often: it is left alone for a while
    │   ├── EngineCrashedError               its process ended; the next call starts another
    │   ├── EngineLoadError                  its model or library could not be loaded
    │   ├── EngineMemoryError                the model did not fit into its device's memory
    │   ├── EngineRefusedError               it will not do this; another one may
    │   ├── EngineTimeoutError               it took longer than it was given
    │   ├── EngineUnavailableError           there is nowhere to send the request now
    │   └── ImplausibleSpeechError           what it said cannot be that text
    ├── TurnError                            ours: an event that cannot happen in that state
    ├── OverloadedError                      nobody's: more was asked for than the limit allows
    │   └── RateLimitError                   the caller's: they asked too often
    └── SessionClosedError                   the caller's: the session has ended

Cancellation is never one of them: a cancelled call raises the event loop's own exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = [
    "AudioContainerError",
    "AudioDeviceError",
    "AudioError",
    "AudioFormatError",
    "AudioLimitError",
    "AuditError",
    "AuthenticationError",
    "CircuitOpenError",
    "EngineCrashedError",
    "EngineError",
    "EngineLoadError",
    "EngineMemoryError",
    "EngineRefusedError",
    "EngineTimeoutError",
    "EngineUnavailableError",
    "ImplausibleSpeechError",
    "MissingExtraError",
    "OverloadedError",
    "PermissionDeniedError",
    "RateLimitError",
    "RealtimeSTTSError",
    "SessionClosedError",
    "SettingsError",
    "TurnError",
    "UnknownEngineError",
    "UnknownVoiceError",
    "VoiceError",
]


class RealtimeSTTSError(Exception):
    """The root: catch it to catch everything this library raises on purpose."""


class AudioError(RealtimeSTTSError):
    """Audio that cannot be used."""


class AudioFormatError(AudioError, ValueError):
    """Bytes, a rate, a channel count or samples that are not usable audio."""


class AudioContainerError(AudioFormatError):
    """A file of a kind that is not taken, whatever it holds."""


class AudioLimitError(AudioError, ValueError):
    """Audio that decodes to more than the caller allowed."""


class UnknownEngineError(RealtimeSTTSError, LookupError):
    """No engine of that name is installed."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(kind, name, self.known)

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return (
            f"no {self.kind} engine is called {self.name!r}; known: {known}. "
            'The embedded engines come with: pip install "realtime-stts[local]"'
        )


class VoiceError(RealtimeSTTSError, ValueError):
    """A recording that no voice can be taken from, or a wrong use of voices."""


class UnknownVoiceError(VoiceError, LookupError):
    """No voice is registered under that id."""

    def __init__(self, voice_id: str, known: Iterable[str]) -> None:
        self.voice_id, self.known = voice_id, tuple(sorted(known))
        super().__init__(voice_id, self.known)

    def __str__(self) -> str:
        return f"no voice is called {self.voice_id!r}; known: {', '.join(self.known) or 'none'}"


class MissingExtraError(RealtimeSTTSError, ImportError):
    """A package that one of the extras brings is not installed.

    `remedy` is what helps where the extra is there and a library of the system is not.
    """

    def __init__(self, feature: str, extra: str, *, remedy: str | None = None) -> None:
        self.feature, self.extra, self.remedy = feature, extra, remedy
        super().__init__(feature, extra)

    def __str__(self) -> str:
        remedy = self.remedy or f'pip install "realtime-stts[{self.extra}]"'
        return f"{self.feature} needs a package that is not installed: {remedy}"


class AudioDeviceError(RealtimeSTTSError):
    """A microphone or loudspeaker that is not there, cannot be opened, or went away.

    `found` names the devices there are, where that helps to choose another.
    """

    def __init__(self, message: str, found: Iterable[str] | None = None) -> None:
        self.message = message
        self.found = None if found is None else tuple(found)
        super().__init__(message, self.found)

    def __str__(self) -> str:
        if self.found is None:
            return self.message
        return f"{self.message}; found: {', '.join(self.found) or 'no sound device at all'}"


class AuditError(RealtimeSTTSError, OSError):
    """A record of a call could not be kept."""


class AuthenticationError(RealtimeSTTSError, PermissionError):
    """Nobody has shown who they are, or not so that it is believed."""


class PermissionDeniedError(AuthenticationError):
    """Who asks is known, and may not do this."""


class SettingsError(RealtimeSTTSError, ValueError):
    """Settings that cannot be used.

    `problems` says what is wrong with each, by the path of its key: ``"server.port"``.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join(f"{path}: {problem}" for path, problem in self.problems.items())


class EngineError(RealtimeSTTSError):
    """An engine failed. Results it had already delivered stand.

    `request_id` names the call where one is known, so that a log line, an event and
    this error can be put side by side.
    """

    def __init__(self, engine: str, message: str, *, request_id: str | None = None) -> None:
        self.engine, self.message, self.request_id = engine, message, request_id
        super().__init__(engine, message)

    def __str__(self) -> str:
        of = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.engine}: {self.message}{of}"


class CircuitOpenError(EngineError):
    """The engine failed too often, and is not asked again for ``retry_after`` seconds."""

    def __init__(self, engine: str, retry_after: float, *, request_id: str | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(
            engine,
            f"failed too often; it is tried again in {retry_after:.3g} s",
            request_id=request_id,
        )
        self.args = (engine, retry_after)  # what it is made of again when it is copied


class EngineCrashedError(EngineError):
    """The engine's process ended while it was needed. The next call starts another.

    `exit_code` is that of the process; minus a signal's number, if that ended it.
    """

    def __init__(
        self,
        engine: str,
        message: str,
        *,
        exit_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.exit_code = exit_code
        super().__init__(engine, message, request_id=request_id)


class EngineLoadError(EngineError):
    """The engine's model or library could not be loaded."""


class EngineMemoryError(EngineError):
    """The model did not fit into the memory of its device."""


class EngineRefusedError(EngineError):
    """The engine will not take this request: asking again is in vain, another engine may."""


class EngineTimeoutError(EngineError):
    """The engine took longer than it was given, in seconds."""

    def __init__(self, engine: str, seconds: float, *, request_id: str | None = None) -> None:
        self.seconds = seconds
        super().__init__(engine, f"gave nothing within {seconds:g} s", request_id=request_id)
        self.args = (engine, seconds)  # what it is made of again when it is copied


class EngineUnavailableError(EngineError):
    """There is nowhere to send the request now: nothing runs, or it cannot be reached."""


class ImplausibleSpeechError(EngineError):
    """The sound that the engine made cannot be the text that it was given."""


class TurnError(RealtimeSTTSError):
    """An event that cannot happen in that state: a bug in whoever sent it."""

    def __init__(self, state: object, event: object) -> None:
        self.state, self.event = state, event
        super().__init__(state, event)

    def __str__(self) -> str:
        return f"{self.event!r} is impossible in {self.state!r}"


class OverloadedError(RealtimeSTTSError):
    """More was asked for than a stated limit allows; the rest goes on.

    `retry_after` is in how many seconds it may be worth asking again, if that is known.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.message, self.retry_after = message, retry_after
        super().__init__(message)

    def __str__(self) -> str:
        if self.retry_after is None:
            return self.message
        return f"{self.message}; try again in {self.retry_after:.3g} s"


class RateLimitError(OverloadedError):
    """This caller asked more often than they may; others are served."""


class SessionClosedError(RealtimeSTTSError):
    """The session has ended and takes no more audio or commands."""
