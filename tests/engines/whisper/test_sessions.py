"""One Whisper for many sessions: each hears what it would alone, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("whisper")

from realtime_stts.audio import AudioData
from realtime_stts.engines.whisper import Streaming, WhisperOptions, WhisperSTTEngine
from realtime_stts.errors import OverloadedError
from realtime_stts.testing import chunked, no_leaks

pytestmark = pytest.mark.anyio

PHRASES = [
    "hello there", "how is the weather today", "tell me a joke", "what time is it",
    "thank you very much", "good bye", "please stop now", "yes please",
]  # fmt: skip

Saying = Callable[..., AudioData]
Call = Callable[[], Awaitable[str]]


@pytest.fixture
def engine(tiny_words: Path) -> Callable[..., WhisperSTTEngine]:
    def engine(**options: Any) -> WhisperSTTEngine:
        return WhisperSTTEngine(str(tiny_words), "cpu", **{"encoder": "balanced", **options})

    return engine


async def at_once(calls: Sequence[Call]) -> list[str]:
    """What calls made at the same time give, in the order of the calls."""
    texts: dict[int, str] = {}

    async def run(index: int, call: Call) -> None:
        texts[index] = await call()

    async with anyio.create_task_group() as tasks:
        for index, call in enumerate(calls):
            tasks.start_soon(run, index, call)
    return [texts[index] for index in range(len(calls))]


async def text_of(
    stt: WhisperSTTEngine,
    clip: AudioData,
    language: str | None = None,
    options: WhisperOptions | None = None,
) -> str:
    return (await stt.transcribe(clip, language, options=options)).text


async def text_of_stream(stt: WhisperSTTEngine, clip: AudioData) -> str:
    async with (
        aclosing(chunked(clip, 0.1, paced=True)) as chunks,
        aclosing(stt.stream(chunks)) as results,
    ):
        return [result.text async for result in results][-1]


@pytest.mark.parametrize("n", [2, 16])
async def test_clips_of_many_sessions_are_one_batch_and_heard_as_alone(
    engine: Callable[..., WhisperSTTEngine], say: Saying, n: int
) -> None:
    async with engine(encoder="exact") as stt:
        calls = [partial(text_of, stt, say(PHRASES[i % len(PHRASES)])) for i in range(n)]
        alone = [await call() for call in calls]
        before = stt.statistics
        assert before.n_batches == before.n_entries == n
        together = await at_once([partial(text_of, stt, say("good bye")), *calls])
        after = stt.statistics
    assert together[1:] == alone == [f"{PHRASES[i % len(PHRASES)]}." for i in range(n)]
    assert after.n_entries - before.n_entries == n + 1
    # The one that came first was begun at once; the others gathered meanwhile.
    assert after.n_batches - before.n_batches < n + 1
    assert after.largest_batch >= min(n, 8)


@pytest.mark.parametrize("policy", ["agreement", "attention"])
@pytest.mark.parametrize("n", [2, 16])
async def test_streams_of_many_sessions_are_heard_as_alone(
    engine: Callable[..., WhisperSTTEngine], say: Saying, policy: str, n: int
) -> None:
    async with engine(streaming=Streaming(policy=policy), temperature=0.0) as stt:  # type: ignore[arg-type]
        calls = [partial(text_of_stream, stt, say(PHRASES[i % len(PHRASES)])) for i in range(n)]
        alone = [await call() for call in calls[: len(PHRASES)]] * 2
        assert await at_once(calls) == alone[:n]
        if n > 2:
            assert stt.statistics.largest_batch > 1


async def test_sessions_with_options_of_their_own_do_not_disturb_each_other(
    engine: Callable[..., WhisperSTTEngine], say: Saying
) -> None:
    kinds = [
        (None, WhisperOptions(encoder="exact")),
        ("en", WhisperOptions(encoder="balanced", word_timestamps=True)),
        ("en", WhisperOptions(encoder="exact", beam_size=3)),
        (None, WhisperOptions(encoder="balanced", timestamps=False)),
        ("de", WhisperOptions(encoder="exact")),
        (None, WhisperOptions(encoder="exact", prompt="hello there.")),
        (None, WhisperOptions(encoder="exact", temperature=0.4, best_of=2, seed=5)),
        (None, WhisperOptions(encoder="exact", sample_len=3)),
    ]
    async with engine() as stt:
        calls: list[Call] = []
        for i in range(16):
            language, options = kinds[i % len(kinds)]
            said = "guten morgen" if language == "de" else PHRASES[(i * 3) % len(PHRASES)]
            clip = say(said, "de+f3") if language == "de" else say(said)
            calls.append(partial(text_of, stt, clip, language, options))
        calls += [partial(text_of_stream, stt, say(phrase)) for phrase in PHRASES[:4]]
        alone = [await call() for call in calls]
        assert len({*alone}) > 6
        assert await at_once(calls) == alone


async def test_who_cannot_wait_overtakes_a_long_recording(
    engine: Callable[..., WhisperSTTEngine], say: Saying
) -> None:
    recording = AudioData.concat([say(phrase) for phrase in PHRASES] * 8)
    assert recording.duration_seconds > 90
    finished: list[str] = []

    async def hear(name: str, clip: AudioData) -> None:
        await stt.transcribe(clip)
        finished.append(name)

    async with (
        engine(encoder="exact", temperature=0.0) as stt,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(hear, "recording", recording)
        while stt.statistics.n_batches == 0:  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.001)
        for _ in range(3):
            await hear("session", say("good bye"))
    assert finished == ["session"] * 3 + ["recording"]


async def test_more_calls_than_may_wait_are_refused_and_the_others_go_on(
    engine: Callable[..., WhisperSTTEngine], say: Saying
) -> None:
    outcomes: list[str] = []

    async def hear() -> None:
        try:
            outcomes.append(await text_of(stt, say("good bye")))
        except OverloadedError as exc:
            outcomes.append(str(exc))

    async with engine(max_waiting=4, max_batch=2) as stt:
        async with no_leaks(), anyio.create_task_group() as tasks:
            with ExitStack() as held:
                held.enter_context(stt._worker.exclusive())  # the model is another's
                for _ in range(8):
                    tasks.start_soon(hear)
                while len(outcomes) < 4:  # noqa: ASYNC110 - nor do these
                    await anyio.sleep(0.001)
                assert outcomes == ["4 calls of whisper wait already"] * 4
        assert outcomes[4:] == ["good bye."] * 4
        assert stt.statistics.n_waiting == 0
