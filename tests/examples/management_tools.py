"""What the tests of the management routers share: recordings, and clients of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from fastapi_server import create_app

from realtime_stts import AudioData
from realtime_stts.settings import SettingsStore
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from tests.examples.apps import OWNER, running, scripted_app

__all__ = ["CONSENT", "CloningEngine", "Served", "app_in", "as_files", "recording", "served"]

CONSENT = {"consent_by": "Emily Rose", "consent_statement": "This server may use my voice."}


@dataclass
class Served:
    """A running server, as its owner sees it and as anybody does."""

    owner: httpx.Client
    anybody: httpx.Client
    services: Any
    folder: Path


def app_in(folder: Path, store: SettingsStore | None = None, **options: Any) -> FastAPI:
    """A server with scripted engines that writes into a folder, whatever is reset."""
    if store is None:
        store = SettingsStore(environ={"REALTIME_STTS_PATHS__OUTPUT": str(folder / "outputs")})
    engines = {
        "stt": ScriptedSTTEngine(repeat("hello"), latency=0.0),
        "tts": ScriptedTTSEngine(latency=0.0, real_time_factor=0.0),
    }
    return create_app(store, management_token=OWNER, **{**engines, **options})


@contextmanager
def served(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    store: SettingsStore | None = None,
    **options: Any,
) -> Iterator[Served]:
    """A server with scripted engines and these settings, or those of a store."""
    if store is None:
        app = scripted_app(folder, settings, **options)
    else:
        app = app_in(folder, store, **options)
    with (
        running(app) as url,
        httpx.Client(base_url=url, timeout=20) as anybody,
        httpx.Client(
            base_url=url, timeout=20, headers={"Authorization": f"Bearer {OWNER}"}
        ) as owner,
    ):
        yield Served(owner, anybody, app.state.services, folder)


class CloningEngine(ScriptedTTSEngine):
    """Speaks in whatever voices it is told that there are."""

    registry: Any = None

    async def list_voices(self) -> list[dict[str, Any]]:
        uploaded = [{"id": each.id, "name": each.name} for each in self.registry.list()]
        return [*await super().list_voices(), *uploaded]


def recording(seed: int = 0, seconds: float = 3.2, format: str = "wav") -> bytes:
    """A file that a voice can be taken from: noise is sound enough."""
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * 16_000))
    return AudioData.from_samples(noise, 16_000).encode(format)


def as_files(**files: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Files of a form, by names in which _ stands for a point."""
    return [
        ("files", (name.replace("_", "."), content, "audio/wav")) for name, content in files.items()
    ]
