"""Without a cluster: nothing is started by surprise, and what cannot be is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ray.serve")

from realtime_stts.audio import AudioData
from realtime_stts.errors import EngineError, EngineUnavailableError
from realtime_stts.integrations.ray import (
    RayStatistics,
    RaySTTEngine,
    deploy_stt,
    deploy_tts,
    undeploy,
)
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine

CLIP = AudioData.silence(0.1, 16_000)


@pytest.mark.anyio
async def test_the_program_has_to_be_connected() -> None:
    engine = RaySTTEngine("nowhere")
    assert engine.statistics() == RayStatistics(0, 0, 0, 0, 0, 0)
    assert not engine.model_loaded
    await engine.unload()
    for _ in range(2):
        with pytest.raises(EngineUnavailableError, match=r"ray\.init\(\)"):
            await engine.load()
    with pytest.raises(EngineUnavailableError, match=r"ray\.init\(\)"):
        await engine.transcribe(CLIP)
    assert not await engine.is_available()
    assert not engine.model_loaded


def test_and_so_has_who_deploys() -> None:
    for act in (
        lambda: deploy_stt(ToneSTTEngine),
        lambda: deploy_tts(ScriptedTTSEngine),
        lambda: undeploy("stt"),
    ):
        with pytest.raises(EngineUnavailableError, match=r"ray\.init\(\)"):
            act()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a b"},
        {"replicas": 0},
        {"slots": 0},
        {"voices": 0},
        {"cpus": -1.0},
        {"gpus": -1.0},
        {"drain": -1.0},
        {"surge": 101},
        {"start_timeout": 0.0},
        {"share": 2.0},
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        deploy_tts(ScriptedTTSEngine, **options)


def test_what_an_engine_gives_is_what_it_should() -> None:
    from realtime_stts.integrations._ray._engine import _of

    with pytest.raises(EngineError, match="gave str, and no int"):
        _of(int, "1", "ears")
