"""What the type checkers have to accept of the engines on Ray."""

from __future__ import annotations

from realtime_stts.engines import load_stt, load_tts
from realtime_stts.integrations.ray import (
    Autoscaling,
    RayStatistics,
    RaySTTEngine,
    RayTTSEngine,
    deploy_stt,
    deploy_tts,
    undeploy,
)
from realtime_stts.middleware import Chain, TimingMiddleware
from realtime_stts.protocols import ManagedSTTEngine, ManagedTTSEngine

stt: ManagedSTTEngine = RaySTTEngine("stt", share=0.5, max_waiting=8, timeout=10.0, batch=0.2)
tts: ManagedTTSEngine = RayTTSEngine("tts", address="auto", retries=0, patience=5.0)
wrapped: ManagedSTTEngine = Chain(TimingMiddleware()).wrap(stt)


def deployed() -> tuple[RaySTTEngine, RayTTSEngine]:
    undeploy("stt")
    return (
        deploy_stt(lambda: load_stt("whisper:base.en"), replicas=4, gpus=0.5),
        deploy_tts(
            lambda: load_tts("chatterbox"),
            replicas=Autoscaling(min_replicas=1, max_replicas=8),
            voices=8,
            runtime_env={"pip": ["chatterbox-tts"]},
            timeout=20.0,
        ),
    )


def slots_in_use(engine: RaySTTEngine) -> int:
    numbers: RayStatistics = engine.statistics()
    return numbers.running
