"""Middleware as settings have it: which, in which order, and with which options."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

from .. import middleware
from ..analytics import AnalyticsStore, SQLiteAnalyticsStore
from ..instrumentation import Instrumentation
from ..middleware import CallNext, Chain, Middleware, RequestContext
from ..settings import Settings, SettingsProvider
from ._engines import load

__all__ = ["ORDER", "Defaults", "Kind", "Layers", "values"]

Kind = Literal["stt", "tts", "response"]

T = TypeVar("T")

_EVERY: Final[tuple[Kind, ...]] = ("stt", "tts", "response")

# Every middleware: the kinds of calls that it is for, and whether one serves all kinds.
ORDER: Final[tuple[tuple[str, tuple[Kind, ...], bool], ...]] = (
    ("redaction", _EVERY, True),
    ("timing", _EVERY, True),
    ("instrumentation", _EVERY, True),
    ("logging", _EVERY, True),
    ("analytics", _EVERY, True),
    ("audit", _EVERY, True),
    ("authentication", _EVERY, True),
    ("rate_limit", _EVERY, True),
    ("text_normalizer", ("tts",), True),
    ("cache", ("stt", "tts"), True),
    ("load_shed", ("stt", "tts"), True),
    ("silence_trim", ("tts",), True),
    ("loudness_match", ("tts",), True),
    ("hallucination_guard", ("stt",), True),
    ("fallback", ("stt", "tts"), False),
    ("timeout", _EVERY, False),
    ("concurrency_limit", _EVERY, False),
    ("retry", _EVERY, False),
    ("circuit_breaker", _EVERY, False),
    ("speech_guard", ("tts",), False),
)


class Layers:
    """Makes layers, each when it is first asked for, and once."""

    def __init__(
        self,
        settings: Settings,
        instrumentation: Sequence[Instrumentation],
        store: AnalyticsStore | None,
    ) -> None:
        self._settings = settings
        self._instrumentation = instrumentation
        self._given_store = store
        self._made: dict[tuple[str, str], Any] = {}

    def around(self, kind: Kind) -> Iterator[Middleware]:
        """All around calls of a kind, from the outermost."""
        if defaults := self._defaults(kind):
            yield Defaults(kind, defaults)
        for name, kinds, is_shared in ORDER:
            if kind not in kinds or not self._is_on(name, kind):
                continue
            yield self.once(name, "" if is_shared else kind, partial(self._make, name, kind))

    @property
    def store(self) -> AnalyticsStore | None:
        """Where analytics go to last, if they do."""
        analytics = self._settings.analytics
        if self._given_store is not None or not analytics.enable or analytics.path is None:
            return self._given_store
        path = analytics.path
        return self.once(
            "store",
            "",
            lambda: SQLiteAnalyticsStore(path, retention_days=analytics.retention_days),
        )

    def is_ours(self, store: AnalyticsStore) -> bool:
        """Whether a store was made here, and is to be opened and closed here."""
        return store is not self._given_store

    def standing_by(self, kind: Kind) -> tuple[Any, ...]:
        """The engines that are asked when that of a kind fails."""
        if not self._is_on("fallback", kind):
            return ()
        names = getattr(self._settings.middleware.fallback, kind)
        return self.once(
            "standing by",
            kind,
            lambda: tuple(Chain(*self._around_each(kind)).wrap(load(kind, name)) for name in names),
        )

    def made(self, what: str, kind: str) -> Any:
        """A part that has been made, or None."""
        return self._made.get((what, kind))

    def once(self, what: str, kind: str, make: Callable[[], T]) -> T:
        key = (what, kind)
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    # -- inside

    def _defaults(self, kind: Kind) -> dict[str, Any]:
        provider = SettingsProvider(self._settings)
        if kind == "stt":
            language = provider.get_stt_config()["language"]
            return {"language": language} if language else {}
        return provider.get_tts_config() if kind == "tts" else {}

    def _is_on(self, name: str, kind: Kind) -> bool:
        match name:
            case "instrumentation":
                return bool(self._instrumentation)
            case "analytics":
                return self._settings.analytics.enable or self._given_store is not None
            case "fallback":
                fallback = self._settings.middleware.fallback
                return fallback.enabled and bool(getattr(fallback, kind))
            case _:
                return bool(getattr(self._settings.middleware, name).enabled)

    def _make(self, name: str, kind: Kind) -> Middleware:
        cls = getattr(middleware, f"{''.join(map(str.title, name.split('_')))}Middleware")
        if name == "instrumentation":
            made: Middleware = cls(*self._instrumentation)
        elif name == "analytics":
            pseudonymous = self._settings.analytics.pseudonymous
            made = cls(store=self.store, pseudonymous=pseudonymous)
        else:
            arguments, options = self._arguments(name, kind)
            made = cls(*arguments, **options)
        return made

    def _arguments(self, name: str, kind: Kind) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Of a middleware's class. Most options have the names of its arguments."""
        section = getattr(self._settings.middleware, name)
        options = values(section)
        del options["enabled"]
        positional: tuple[Any, ...] = ()
        match name:
            case "redaction":
                from ..middleware import redaction

                key = options["pseudonym_key"]
                options["pseudonym_key"] = key and key.get_secret_value().encode()
                options["patterns"] = {
                    each: getattr(redaction, each.upper()) for each in options["patterns"]
                }
            case "logging":
                options["log_level"] = getattr(logging, options["log_level"])
            case "audit":
                path, fsync = options.pop("path"), options.pop("fsync")
                positional = (
                    self.once("audit log", "", lambda: middleware.FileAuditLog(path, fsync=fsync)),
                )
            case "authentication":
                positional = (self._principals(),)
            case "rate_limit":
                positional = (options.pop("rate"),)
            case "concurrency_limit":
                positional = (options.pop("slots"),)
            case "retry":
                options["budget"] = middleware.RetryBudget(
                    options.pop("budget_ratio"), options.pop("budget_reserve")
                )
            case "fallback":
                del options["stt"], options["tts"]
                positional = self.standing_by(kind)
        return positional, options

    def _principals(self) -> dict[str, Any]:
        from ..middleware.authentication import Principal

        return {
            known.token.get_secret_value(): Principal(subject, known.permissions)
            for subject, known in self._settings.server.auth_tokens.items()
        }

    def _around_each(self, kind: Kind) -> Iterator[Middleware]:
        for name, kinds, _ in ORDER:
            if name in ("timeout", "speech_guard") and kind in kinds and self._is_on(name, kind):
                yield self.once(name, kind, partial(self._make, name, kind))


class Defaults:
    """Gives calls what they do not say themselves."""

    name = "defaults"

    def __init__(self, kind: Kind, defaults: dict[str, Any]) -> None:
        self._kind, self._defaults = kind, defaults

    def __call__(self, context: RequestContext, call_next: CallNext, /) -> AsyncGenerator[Any]:
        if context.request_type == self._kind:
            said = {key: value for key, value in context.config.items() if value is not None}
            context.config = {**self._defaults, **said}
        return call_next(context)


def values(section: Any) -> dict[str, Any]:
    """The options of a section by name, as they are."""
    return {name: getattr(section, name) for name in type(section).model_fields}
