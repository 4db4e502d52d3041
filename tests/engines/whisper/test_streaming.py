"""Whisper while the speech goes on: what is shown, what stays, and what it costs.

Chunks come as a microphone brings them, on virtual time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("whisper")

import itertools

from realtime_stts.audio import AudioData
from realtime_stts.engines.whisper import Streaming, WhisperSTTEngine
from realtime_stts.engines.whisper import _streaming as streaming_module
from realtime_stts.engines.whisper import engine as engine_module
from realtime_stts.engines.whisper._reader import Decoded, Window
from realtime_stts.protocols import TranscriptionResult
from realtime_stts.testing import chunked, no_leaks
from tools.train_whisper_fixture import edits

pytestmark = pytest.mark.anyio

POLICIES = ["agreement", "attention"]
SENTENCE = "hello there how is the weather today"

Saying = Callable[..., AudioData]
Making = Callable[..., WhisperSTTEngine]


@pytest.fixture
def engine(tiny_words: Path) -> Making:
    """Makes an engine that decodes each sound once, and no more of it than need be."""

    def engine(policy: str = "agreement", **how: Any) -> WhisperSTTEngine:
        return WhisperSTTEngine(
            str(tiny_words),
            "cpu",
            encoder="balanced",
            temperature=0.0,
            streaming=Streaming(policy=policy, **how),  # type: ignore[arg-type]
        )

    return engine


async def stream(
    stt: WhisperSTTEngine, clip: AudioData, packet: float = 0.1, *, paced: bool = True
) -> list[TranscriptionResult]:
    async with (
        aclosing(chunked(clip, packet, paced=paced)) as chunks,
        aclosing(stt.stream(chunks)) as results,
    ):
        return [result async for result in results]


def holds_what_it_promised(results: Sequence[TranscriptionResult]) -> bool:
    """Whether the committed text only grows, and is the beginning of the text."""
    committed = ["", *(result.committed for result in results)]
    grows = all(later.startswith(earlier) for earlier, later in itertools.pairwise(committed))
    return grows and all(result.text.startswith(result.committed) for result in results)


@dataclass
class Asked:
    """What streams asked of the model."""

    prompts: list[str] = field(default_factory=list)  # one of each update
    windows: list[Window] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """Seconds."""
        return max(window.n_frames for window in self.windows) / 100


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Notes what any engine's streams ask."""
    asked = Asked()
    begin = engine_module._reader
    read = WhisperSTTEngine._read

    def reader(model: Any, mel: Any, options: Any, *args: Any, **beginning: Any) -> Any:
        asked.prompts.append(options.prompt or "")
        return begin(model, mel, options, *args, **beginning)

    async def reading(self: WhisperSTTEngine, reader: Any, **how: Any) -> Decoded | None:
        window = reader.window

        def noted() -> Window | None:
            found: Window | None = window()
            if found is not None:
                asked.windows.append(found)
            return found

        reader.window = noted
        return await read(self, reader, **how)

    monkeypatch.setattr(engine_module, "_reader", reader)
    monkeypatch.setattr(WhisperSTTEngine, "_read", reading)
    return asked


# -- what is shown, and what stays -------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_text_grows_and_what_is_committed_stays(
    engine: Making, say: Saying, policy: str
) -> None:
    clip = say(SENTENCE)
    async with engine(policy, interval=0.4) as stt:
        results = await stream(stt, clip)
        whole = await stt.transcribe(clip)
    assert [result.partial for result in results] == [True] * (len(results) - 1) + [False]
    assert len(results) >= 3
    assert holds_what_it_promised(results)
    assert 0 < len(results[0].text) < len(results[-1].text)
    assert any(0 < len(result.committed) < len(result.text) for result in results)
    assert results[-1].text == results[-1].committed == whole.text == f"{SENTENCE}."
    assert results[-1].language == "en"


@pytest.mark.parametrize("policy", POLICIES)
async def test_words_have_times_of_the_stream(engine: Making, say: Saying, policy: str) -> None:
    clip = say(SENTENCE)
    async with engine(policy) as stt:
        results = await stream(stt, clip)
    words = results[-1].words
    assert " ".join(word.text for word in words) == results[-1].text
    times = [moment for word in words for moment in (word.start, word.end)]
    assert times == sorted(times)
    assert 0.0 <= times[0] < 0.7
    assert times[-1] <= clip.duration_seconds + 0.02


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("packet", "paced"), [(0.02, True), (0.37, True), (0.05, False), (9, True)]
)
async def test_the_final_text_is_the_same_however_the_sound_is_cut(
    engine: Making, say: Saying, policy: str, packet: float, paced: bool
) -> None:
    async with engine(policy) as stt:
        results = await stream(stt, say(SENTENCE), packet, paced=paced)
    assert results[-1].text == f"{SENTENCE}."
    assert holds_what_it_promised(results)


@pytest.mark.parametrize("policy", POLICIES)
async def test_any_layout_of_the_chunks_will_do(engine: Making, say: Saying, policy: str) -> None:
    samples = say(SENTENCE).resampled(48_000).samples.repeat(2, axis=1)
    async with engine(policy) as stt:
        results = await stream(stt, AudioData.from_samples(samples, 48_000, "pcm_f32le"))
    assert results[-1].text == f"{SENTENCE}."


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_language_that_is_told_is_kept_to(engine: Making, say: Saying, policy: str) -> None:
    async with (
        engine(policy) as stt,
        aclosing(chunked(say("guten morgen", "de+f3"), 0.1, paced=True)) as chunks,
        aclosing(stt.stream(chunks, "german")) as results,
    ):
        heard = [result async for result in results]
    assert {result.language for result in heard} == {"de"}
    assert heard[-1].text == "guten morgen."


# -- silence -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_silence_has_no_text_and_asks_nothing_of_the_model(
    engine: Making, asked: Asked, policy: str
) -> None:
    async with engine(policy) as stt:
        results = await stream(stt, AudioData.silence(12.0, 16_000))
    assert [result.text for result in results] == [""]
    assert asked.windows == []


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_noisy_line_has_no_text(engine: Making, policy: str) -> None:
    noise = np.random.default_rng(2).normal(0.0, 1e-3, 16_000 * 5)
    async with engine(policy) as stt:
        results = await stream(stt, AudioData.from_samples(noise, 16_000))
    assert {result.text.strip(" .") for result in results} == {""}


@pytest.mark.parametrize("policy", POLICIES)
async def test_after_a_long_silence_words_are_heard_at_their_times(
    engine: Making, say: Saying, policy: str
) -> None:
    clip = AudioData.concat([AudioData.silence(30.0, 16_000), say("tell me a joke")])
    async with engine(policy, keep=1.0, limit=3.0) as stt:
        results = await stream(stt, clip)
    assert "joke" in results[-1].text  # so small a model expects no pause before speech
    words = [word for word in results[-1].words if word.text.strip(".")]
    assert 29.5 <= words[0].start < 32.0


# -- what it costs -----------------------------------------------------------------------

PHRASES = [
    "hello there", "how is the weather today", "tell me a joke", "what time is it",
    "thank you very much", "good bye", "please stop now", "yes please",
]  # fmt: skip


@pytest.fixture(scope="module")
def minute(say: Saying) -> tuple[AudioData, list[str]]:
    """A minute of phrases with half a second between them, and their words."""
    pieces, said, seconds = [], [], 0.0
    while seconds < 60.0:
        phrase = PHRASES[len(said) % len(PHRASES)]
        pieces += [say(phrase), AudioData.silence(0.1, 16_000)]
        said.append(phrase)
        seconds += pieces[-2].duration_seconds + 0.1
    samples = AudioData.concat(pieces).samples[:, 0]
    noise = np.random.default_rng(7).normal(0.0, 1e-3, samples.size)
    return AudioData.from_samples(samples + noise, 16_000), " ".join(said).split()


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_minute_of_speech_is_decoded_in_bounded_pieces(
    engine: Making,
    minute: tuple[AudioData, list[str]],
    asked: Asked,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip, said = minute
    # So small a model has learnt from prompts of up to three phrases.
    monkeypatch.setattr(streaming_module, "_CONTEXT", 40)
    interval, limit = 1.0, 8.0
    async with engine(policy, interval=interval, keep=3.0, limit=limit) as stt:
        results = await stream(stt, clip, 0.25)
    assert holds_what_it_promised(results)
    # One chunk more, as sound comes in whole chunks; and on a busy machine some come meanwhile.
    assert asked.longest <= limit + 2 * interval
    # An update is one window, and rarely two: if a time in the first says where to go on.
    assert len(asked.prompts) <= clip.duration_seconds / interval + 1
    assert len(asked.windows) <= 1.3 * len(asked.prompts)
    heard = results[-1].text.replace(".", "").split()
    # The attention of two layers places words so badly that some of them are heard twice.
    assert edits(said, heard) < (0.1 if policy == "agreement" else 0.6) * len(said)
    times = [round(t, 3) for word in results[-1].words for t in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] > 55.0


@pytest.mark.parametrize("policy", POLICIES)
async def test_only_committed_text_is_a_prompt(
    engine: Making, minute: tuple[AudioData, list[str]], asked: Asked, policy: str
) -> None:
    clip = minute[0].sliced(0.0, 20.0)
    async with (
        engine(policy, keep=2.0, limit=5.0) as stt,
        aclosing(chunked(clip, 0.25, paced=True)) as chunks,
        aclosing(stt.stream(chunks)) as results,
    ):
        told = [(len(asked.prompts), result.committed) async for result in results]
    assert any(asked.prompts)
    for i, prompt in enumerate(asked.prompts):
        committed = next(text for n, text in told if n > i)
        assert prompt in committed
        assert len(prompt) <= 200


async def test_a_decode_that_says_the_same_again_checks_it_in_one_pass(
    engine: Making, say: Saying, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts: list[tuple[int, ...]] = []
    reader = engine_module._reader

    def noted(*args: Any, draft: tuple[int, ...] = (), **beginning: Any) -> Any:
        drafts.append(draft)
        return reader(*args, draft=draft, **beginning)

    monkeypatch.setattr(engine_module, "_reader", noted)
    async with engine("agreement", interval=0.4) as stt:
        results = await stream(stt, say(SENTENCE))
    assert results[-1].text == f"{SENTENCE}."
    assert drafts[0] == ()
    assert any(drafts[1:])


# -- the ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_sources_error_comes_out_after_what_was_heard(
    engine: Making, say: Saying, policy: str
) -> None:
    class UnpluggedError(Exception):
        pass

    async def unplugged() -> AsyncGenerator[AudioData]:
        async with aclosing(chunked(say(SENTENCE), 0.1, paced=True)) as chunks:
            async for chunk in chunks:
                yield chunk
        raise UnpluggedError

    heard: list[str] = []
    async with engine(policy, interval=0.4) as stt:
        async with (
            no_leaks(),
            aclosing(unplugged()) as source,
            aclosing(stt.stream(source)) as results,
        ):
            with pytest.raises(UnpluggedError):  # noqa: PT012 - not at the first one
                async for result in results:
                    heard.append(result.text)  # noqa: PERF401 - what came before the error
        assert heard
        assert (await stt.transcribe(say("good bye"))).text == "good bye."


@pytest.mark.parametrize("policy", POLICIES)
async def test_closing_early_leaves_nothing(engine: Making, say: Saying, policy: str) -> None:
    async with engine(policy, interval=0.4) as stt:
        expected = await stt.transcribe(say("good bye"))
        async with (
            no_leaks(),
            aclosing(chunked(say(SENTENCE), 0.1, paced=True)) as chunks,
            aclosing(stt.stream(chunks)) as results,
        ):
            assert (await anext(results)).partial
        assert stt.statistics.n_waiting == 0
        assert await stt.transcribe(say("good bye")) == expected


async def test_cancelling_while_the_caller_is_silent_leaves_nothing(
    engine: Making, say: Saying
) -> None:
    async def on_hold() -> AsyncGenerator[AudioData]:
        yield say(SENTENCE)
        await anyio.sleep_forever()

    async with engine() as stt, no_leaks():
        with anyio.move_on_after(5.0) as scope:
            async with aclosing(on_hold()) as source, aclosing(stt.stream(source)) as results:
                async for _ in results:
                    pass
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"policy": "guess"}, "policy is auto, agreement or attention"),
        ({"interval": 0.0}, "interval is over 0"),
        ({"limit": 30.0}, "up to a limit of 1 to 28"),
        ({"keep": 9.0, "limit": 8.0}, "up to a limit"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(how: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Streaming(**how)


async def test_a_checkpoint_whose_heads_nobody_measured_streams_by_agreement(
    tiny_words: Path, say: Saying, asked: Asked
) -> None:
    async with WhisperSTTEngine(str(tiny_words), "cpu", encoder="balanced") as stt:
        await stream(stt, say(SENTENCE))
    assert all(window.options.timestamps for window in asked.windows)
