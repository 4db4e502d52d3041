"""Every error this library raises, and whose fault it is.

    RealtimeSTTSError
    ├── AudioError
    │   ├── AudioFormatError (ValueError)    the caller's: this is not usable audio
    │   └── AudioLimitError (ValueError)     the caller's: a file longer than allowed
    ├── UnknownEngineError (LookupError)     the caller's: no engine of that name
    ├── MissingExtraError (ImportError)      the installation's: names the `pip install`
    ├── EngineError                          the engine's: carries its name and the request id
    │   └── EngineLoadError                  its model or library could not be loaded
    ├── TurnError                            ours: an event that cannot happen in that state
    ├── OverloadedError                      nobody's: more was asked for than the limit allows
    └── SessionClosedError                   the caller's: the session has ended

Cancellation is never one of them: a cancelled call raises the event loop's own exception.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AudioError",
    "AudioFormatError",
    "AudioLimitError",
    "EngineError",
    "EngineLoadError",
    "MissingExtraError",
    "OverloadedError",
    "RealtimeSTTSError",
    "SessionClosedError",
    "TurnError",
    "UnknownEngineError",
]


class RealtimeSTTSError(Exception):
    """The root: catch it to catch everything this library raises on purpose."""


class AudioError(RealtimeSTTSError):
    """Audio that cannot be used."""


class AudioFormatError(AudioError, ValueError):
    """Bytes, a rate, a channel count or samples that are not usable audio."""


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


class MissingExtraError(RealtimeSTTSError, ImportError):
    """A package that one of the extras brings is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature, self.extra = feature, extra
        super().__init__(feature, extra)

    def __str__(self) -> str:
        return (
            f"{self.feature} needs a package that is not installed: "
            f'pip install "realtime-stts[{self.extra}]"'
        )


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


class EngineLoadError(EngineError):
    """The engine's model or library could not be loaded."""


class TurnError(RealtimeSTTSError):
    """An event that cannot happen in that state: a bug in whoever sent it."""

    def __init__(self, state: object, event: object) -> None:
        self.state, self.event = state, event
        super().__init__(state, event)

    def __str__(self) -> str:
        return f"{self.event!r} is impossible in {self.state!r}"


class OverloadedError(RealtimeSTTSError):
    """More was asked for than a stated limit allows; the rest goes on."""


class SessionClosedError(RealtimeSTTSError):
    """The session has ended and takes no more audio or commands."""
