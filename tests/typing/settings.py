"""What settings build, to a type checker. Never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from realtime_stts.analytics import AnalyticsStore, InMemoryAnalyticsStore, SQLiteAnalyticsStore
from realtime_stts.building import Assembly, build_chain, build_conversation, build_engine
from realtime_stts.conversation import ConversationEngine
from realtime_stts.instrumentation import Details, Instrumentation
from realtime_stts.integrations.opentelemetry import OpenTelemetryInstrumentation
from realtime_stts.integrations.prometheus import PrometheusInstrumentation
from realtime_stts.middleware import AnalyticsMiddleware, Chain, InstrumentationMiddleware
from realtime_stts.protocols import ConfigurationProvider, ManagedSTTEngine, ManagedTTSEngine
from realtime_stts.settings import (
    DictConfigurationProvider,
    EnvConfigurationProvider,
    Settings,
    SettingsProvider,
    SettingsStore,
    SettingsUpdate,
    YAMLConfigurationProvider,
    json_schema,
    validate,
)


def building(settings: Settings) -> None:
    assert_type(build_engine(settings, "stt"), ManagedSTTEngine)
    assert_type(build_engine(settings, "tts"), ManagedTTSEngine)
    assert_type(build_chain(settings, "response"), Chain)
    assert_type(build_conversation(settings), ConversationEngine)
    Assembly(settings)


def values(store: SettingsStore) -> None:
    assert_type(store.current, Settings)
    assert_type(store.update({"server.port": 8005}), SettingsUpdate)
    assert_type(json_schema(), dict[str, Any])
    validate({"server": {"port": "abc"}})


def providers(settings: Settings, path: Path) -> list[ConfigurationProvider]:
    return [
        DictConfigurationProvider({}),
        YAMLConfigurationProvider(path),
        EnvConfigurationProvider(),
        SettingsProvider(settings),
    ]


def telling(path: Path) -> None:
    stores: list[AnalyticsStore] = [InMemoryAnalyticsStore(), SQLiteAnalyticsStore(path)]

    def tell(details: Details) -> None: ...

    hooks: list[Instrumentation] = [
        tell,
        PrometheusInstrumentation(),
        OpenTelemetryInstrumentation(),
        *stores,
    ]
    Chain(InstrumentationMiddleware(*hooks), AnalyticsMiddleware(store=stores[1]))
