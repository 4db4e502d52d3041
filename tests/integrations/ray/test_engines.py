"""Engines in replicas keep every promise of their Protocols, on both event loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ray.serve")

from realtime_stts.audio import AudioData
from realtime_stts.integrations.ray import RaySTTEngine, RayTTSEngine, deploy_stt, deploy_tts
from realtime_stts.testing import (
    StreamingSpeechToTextSuite,
    StreamingTextToSpeechSuite,
    speak_tones,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

BOTH = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
    pytest.mark.usefixtures("deployed"),
]


def made(kind: str, **options: Any) -> Callable[[], Any]:
    """A factory of one of this library's fakes, for a replica."""

    def factory() -> Any:
        from realtime_stts import testing

        return getattr(testing, kind)(**options)

    return factory


@pytest.fixture(scope="module")
def deployed(ray_cluster: None) -> None:
    deploy_stt(made("ToneSTTEngine"), name="ears", replicas=2, slots=4, cpus=0.1)
    deploy_tts(made("ScriptedTTSEngine"), name="mouth", replicas=2, slots=4, cpus=0.1)


class TestHearing(StreamingSpeechToTextSuite):
    pytestmark = BOTH
    text = "turn the lights on"
    streams_as_it_transcribes = True

    def engine(self) -> RaySTTEngine:
        return RaySTTEngine("ears")

    def clip(self) -> AudioData:
        return speak_tones(self.text)


class TestSpeaking(StreamingTextToSpeechSuite):
    pytestmark = BOTH

    def engine(self) -> RayTTSEngine:
        return RayTTSEngine("mouth")
