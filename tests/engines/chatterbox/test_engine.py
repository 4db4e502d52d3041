"""Chatterbox as an engine: any text in, speech out, in the voice that was asked for."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("chatterbox")

import perth
import torch

from realtime_stts import ManagedTTSEngine
from realtime_stts.audio import AudioData
from realtime_stts.engines.chatterbox import (
    ChatterboxSettings,
    ChatterboxTTSEngine,
    Manner,
    VoiceRegistry,
)
from realtime_stts.engines.chatterbox import _conductor as conductor_module
from realtime_stts.engines.chatterbox import _talker as talker_module
from realtime_stts.engines.chatterbox._watermark import Marker
from realtime_stts.errors import (
    EngineError,
    EngineMemoryError,
    OverloadedError,
    UnknownVoiceError,
)
from realtime_stts.testing import no_leaks
from tools.random_chatterbox import small

pytestmark = pytest.mark.anyio

TEXT = "Hello there. How are you?"
SHORT = "Yes."

Making = Callable[..., ChatterboxTTSEngine]

# With random weights a model does not know when to stop, and no sentence is as long as it may be.
QUICK = Manner(steps=1, rerolls=0)
EXACT = Manner(mode="cached", prompt_seconds=3.0, steps=1, rerolls=0)


async def whole(tts: ChatterboxTTSEngine, text: str, **config: Any) -> AudioData:
    return (await tts.synthesize(text, config)).audio_data


async def streamed(tts: ChatterboxTTSEngine, text: str, **config: Any) -> list[AudioData]:
    async with aclosing(tts.stream(text, config)) as chunks:
        return [chunk async for chunk in chunks]


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    results: dict[int, Any] = {}

    async def run(i: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[i] = await call()

    async with anyio.create_task_group() as tasks:
        for i, call in enumerate(calls):
            tasks.start_soon(run, i, call)
    return [results[i] for i in range(len(calls))]


def near(one: AudioData, other: AudioData, tolerance: float = 2e-3) -> bool:
    return one.samples.shape == other.samples.shape and bool(
        np.abs(one.samples - other.samples).max() < tolerance
    )


# -- what it says ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["standard", "turbo", "multilingual"])
async def test_it_speaks_at_24_khz(engine: Making, kind: str) -> None:
    tts = engine(kind, manner=QUICK)
    assert isinstance(tts, ManagedTTSEngine)
    result = await tts.synthesize(SHORT, {})
    audio = result.audio_data
    assert (audio.sample_rate, audio.channels) == (24_000, 1)
    assert audio.duration_seconds > 1.0
    assert np.abs(audio.samples).max() > 0.01
    assert (result.text, result.voice_id, result.watermarked) == (SHORT, "default", False)


async def test_the_same_seed_says_the_same_whoever_else_speaks(engine: Making) -> None:
    tts = engine(manner=EXACT, seed=None)
    alone = [await whole(tts, SHORT, seed=seed) for seed in (7, 8)]
    together = await at_once(
        *(partial(whole, tts, SHORT, seed=seed) for seed in (7, 8)),
        partial(whole, tts, TEXT),
        partial(streamed, tts, TEXT),
    )
    assert near(together[0], alone[0])
    assert near(together[1], alone[1])
    assert not near(alone[0], alone[1])


async def test_without_a_seed_it_never_says_the_same_twice(engine: Making) -> None:
    tts = engine(manner=QUICK, seed=None)
    assert not near(await whole(tts, SHORT), await whole(tts, SHORT))


async def test_chance_is_left_as_it_was(engine: Making) -> None:
    tts = engine(manner=QUICK)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    await whole(tts, SHORT)
    assert torch.rand(1) == expected


async def test_it_may_speak_faster(engine: Making) -> None:
    tts = engine(manner=QUICK)
    normal, fast = await whole(tts, SHORT), await whole(tts, SHORT, speed_factor=2.0)
    assert 0.4 < fast.duration_seconds / normal.duration_seconds < 0.6


async def test_a_line_that_cannot_be_right_is_said_again_and_then_told_of(
    engine: Making, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = engine(manner=Manner(steps=1, rerolls=1))
    joined: list[Any] = []
    join = talker_module.Talker.join
    monkeypatch.setattr(
        talker_module.Talker, "join", lambda self, *args: (joined.append(args), join(self, *args))
    )
    with caplog.at_level(logging.WARNING, "realtime_stts"):
        audio = await whole(tts, SHORT)
    assert "words may be missing" in caplog.text
    assert SHORT not in caplog.text
    assert len(joined) == 2
    assert joined[0][0].tokens != joined[1][0].tokens
    assert audio.duration_seconds < 4.0


# -- as it is made -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["standard", "turbo"])
async def test_a_stream_is_what_is_said_at_once(engine: Making, kind: str) -> None:
    tts = engine(kind, manner=EXACT)
    chunks = await streamed(tts, TEXT)
    assert len(chunks) > 3
    assert near(AudioData.concat(chunks), await whole(tts, TEXT))


async def test_its_first_sound_comes_before_the_sentence_is_known(
    engine: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = engine(manner=EXACT)
    n_steps = 0
    at_sounds: list[int] = []  # how many tokens there were when each sound was handed over
    step, emit = talker_module.Talker.step, conductor_module._Call.emit

    def counted(self: Any, check: Any) -> None:
        nonlocal n_steps
        n_steps += 1
        step(self, check)

    def noted(self: Any, sound: Any) -> None:
        at_sounds.append(n_steps)
        emit(self, sound)

    monkeypatch.setattr(talker_module.Talker, "step", counted)
    monkeypatch.setattr(conductor_module._Call, "emit", noted)
    await streamed(tts, "This is a sentence of some length.")
    assert at_sounds[0] < n_steps / 2
    assert at_sounds == sorted(at_sounds)


# -- voices ------------------------------------------------------------------------------


async def test_voices_at_the_same_time_do_not_mix(
    engine: Making, two_voices: VoiceRegistry
) -> None:
    tts = engine(manner=EXACT, voices=two_voices)
    names = ("ada", "bob", "default")
    alone = [await whole(tts, SHORT, voice_id=name) for name in names]
    assert not near(alone[0], alone[1])
    assert not near(alone[0], alone[2])
    together = await at_once(
        *(partial(whole, tts, SHORT, voice_id=name) for name in names * 2),
    )
    for i, audio in enumerate(together):
        assert near(audio, alone[i % 3])


async def test_a_voice_is_computed_once(
    engine: Making, two_voices: VoiceRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = engine(manner=QUICK, voices=two_voices)
    encoder = tts._loaded.chatterbox.ve  # type: ignore[union-attr]
    calls = []
    embeds = encoder.embeds_from_wavs

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return embeds(*args, **kwargs)

    monkeypatch.setattr(encoder, "embeds_from_wavs", counted)
    await at_once(*[partial(whole, tts, SHORT, voice_id="ada")] * 3)
    await whole(tts, SHORT, voice_id="ada", exaggeration=1.0)
    assert len(calls) == 1


async def test_a_voice_that_is_deleted_is_gone(engine: Making, two_voices: VoiceRegistry) -> None:
    tts = engine(manner=QUICK, voices=two_voices)
    assert [voice["id"] for voice in await tts.list_voices()] == ["ada", "bob", "default"]
    await whole(tts, SHORT, voice_id="ada")
    two_voices.delete("ada")
    with pytest.raises(UnknownVoiceError, match="no voice is called 'ada'; known: bob, default"):
        await whole(tts, SHORT, voice_id="ada")
    assert [voice["id"] for voice in await tts.list_voices()] == ["bob", "default"]


# -- the mark ----------------------------------------------------------------------------


async def test_every_stream_carries_the_watermark(engine: Making) -> None:
    tts = engine(manner=QUICK, watermark=True)
    detector = perth.PerthImplicitWatermarker()
    for text in (SHORT, TEXT):
        heard = AudioData.concat(await streamed(tts, text))
        mark = detector.get_watermark(heard.samples[:, 0], sample_rate=24_000, round=False)
        assert mark.mean() > 0.9
    assert (await tts.synthesize(SHORT, {})).watermarked is True
    unmarked = await whole(engine(manner=QUICK), SHORT)
    assert detector.get_watermark(unmarked.samples[:, 0], 24_000, round=False).mean() < 0.5


async def test_what_perth_lacks_is_said_before_anything_is_loaded(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from realtime_stts.engines.chatterbox import engine as module

    monkeypatch.setattr(module, "_marker", lambda: Marker(24_000))
    monkeypatch.setattr(perth, "PerthImplicitWatermarker", None)
    tts = ChatterboxTTSEngine("cpu", model=checkpoint("standard"))
    with pytest.raises(Exception, match=r"setuptools<81"):
        await tts.load()
    assert not tts.model_loaded


# -- many, and their ends ----------------------------------------------------------------


class Steps:
    """Counts how often the model asks whether it is still wanted; stops at a chosen one."""

    def __init__(self) -> None:
        self.n = 0
        self._stop_at = sys.maxsize
        self.there = threading.Event()
        self._go_on = threading.Event()

    def stop_at(self, n: int) -> None:
        self.n, self._stop_at = 0, n
        self.there.clear()
        self._go_on.clear()

    def go_on(self) -> None:
        self._stop_at = sys.maxsize
        self.n = 0
        self._go_on.set()

    def taken(self) -> None:
        self.n += 1
        if self.n == self._stop_at:
            self.there.set()
            self._go_on.wait()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Of tokens."""
    steps = Steps()
    step = talker_module.Talker.step

    def counted(self: Any, check: Any) -> None:
        steps.taken()
        step(self, check)

    monkeypatch.setattr(talker_module.Talker, "step", counted)
    return steps


async def test_a_cancelled_call_stops_within_a_token_and_leaves_nothing(
    engine: Making, steps: Steps
) -> None:
    tts = engine(manner=EXACT)
    expected = await whole(tts, SHORT)
    chance = np.random.default_rng(0)
    talker = tts._loaded.talker  # type: ignore[union-attr]
    least = talker.n_bytes
    async with no_leaks():
        for _ in range(100):
            steps.stop_at(int(chance.integers(1, 40)))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(streamed, tts, SHORT)
                await anyio.to_thread.run_sync(steps.there.wait)
                tasks.cancel_scope.cancel()
            steps.go_on()
            with tts._worker.exclusive():  # once the model is free
                assert steps.n <= 1
                assert (len(talker.utterances), talker.n_bytes) == (0, least)
    assert near(await whole(tts, SHORT), expected)


async def test_one_that_is_cancelled_does_not_change_another(engine: Making, steps: Steps) -> None:
    tts = engine(manner=EXACT)
    expected = await whole(tts, TEXT)
    heard: list[AudioData] = []

    async def listen() -> None:
        heard.append(await whole(tts, TEXT))

    async with anyio.create_task_group() as tasks:
        steps.stop_at(10)
        tasks.start_soon(listen)
        async with anyio.create_task_group() as others:
            others.start_soon(streamed, tts, SHORT)
            await anyio.to_thread.run_sync(steps.there.wait)
            others.cancel_scope.cancel()
        steps.go_on()
    assert near(heard[0], expected)


async def test_more_calls_than_may_wait_are_refused(engine: Making, steps: Steps) -> None:
    tts = engine(manner=QUICK, max_active=1, max_waiting=1)
    steps.stop_at(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(whole, tts, SHORT)
        await anyio.to_thread.run_sync(steps.there.wait)
        tasks.start_soon(whole, tts, SHORT)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(OverloadedError, match="1 calls of chatterbox wait already"):
            await whole(tts, SHORT)
        steps.go_on()


@pytest.mark.parametrize(
    ("failure", "expected", "complaint"),
    [
        (RuntimeError("CUDA out of memory. Tried"), EngineMemoryError, "out of memory"),
        (RuntimeError("a bad layer"), EngineError, "the model failed: a bad layer"),
    ],
)
async def test_a_failure_ends_the_calls_it_hit_and_no_later_one(
    engine: Making,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    expected: type[Exception],
    complaint: str,
) -> None:
    tts = engine(manner=EXACT)
    right = await whole(tts, SHORT)
    with monkeypatch.context() as patched:

        def failing(*args: Any) -> None:
            raise failure

        patched.setattr(talker_module, "draw", failing)
        with pytest.raises(expected, match=complaint):
            await whole(tts, SHORT)
    assert near(await whole(tts, SHORT), right)


# -- what cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"temperature": 0.0}, "temperature is 0.05 to 2, not 0.0"),
        ({"language": "de"}, "does nothing with language"),
        ({"voice_path": "/etc/passwd"}, "register the recording as a voice"),
        ({"voice_id": "nobody"}, "no voice is called 'nobody'; known: default"),
    ],
)
async def test_what_cannot_be_is_said(
    engine: Making, config: dict[str, Any], complaint: str
) -> None:
    tts = engine()
    with pytest.raises(ValueError, match=complaint):
        await whole(tts, SHORT, **config)
    with pytest.raises(ValueError, match=complaint):
        await streamed(tts, SHORT, **config)


def test_settings_are_of_the_models_kind(checkpoint: Callable[[str], Path]) -> None:
    model = checkpoint("standard")
    with pytest.raises(ValueError, match="for a turbo model, and this is standard"):
        ChatterboxTTSEngine(model=model, settings=ChatterboxSettings.of("turbo"))
    with pytest.raises(TypeError, match="temprature"):
        ChatterboxTTSEngine(model=model, temprature=0.5)
    with pytest.raises(ValueError, match="at least 1"):
        ChatterboxTTSEngine(model=model, max_active=0)


async def test_it_tells_of_its_model(checkpoint: Callable[[str], Path]) -> None:
    tts = ChatterboxTTSEngine("cpu", model=checkpoint("turbo"))
    assert not tts.model_loaded
    assert await tts.is_available()
    assert tts.is_downloaded
    info = tts.get_model_info()
    assert (info["model_type"], info["sample_rate"], info["watermark"]) == ("turbo", 24_000, True)
    with small("turbo"):
        async with tts:
            assert tts.model_loaded
            await tts.warmup()
    assert not tts.model_loaded
