"""Tokens become sound while more tokens come, and it is the sound there would have been."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.s3gen import S3Gen
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from realtime_stts.engines.chatterbox._noise import Use, noise
from realtime_stts.engines.chatterbox._render import (
    FEWEST_TOKENS,
    Mode,
    Prompt,
    Renderer,
    Rendering,
    render_whole,
)
from tools.random_chatterbox import random_voice, small_s3gen

T = TypeVar("T")
Sound = NDArray[np.float32]

SAMPLES_PER_TOKEN = 960
STEPS = 3
VOICE = 28  # tokens: a chunk, and the three that the encoder looks ahead


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=[False, True], ids=["standard", "meanflow"])
def s3gen(request: pytest.FixtureRequest) -> S3Gen:
    return small_s3gen(meanflow=request.param)


@pytest.fixture
def renderer(s3gen: S3Gen) -> Renderer:
    return Renderer(s3gen, meanflow=s3gen.meanflow, steps=STEPS)


def plain() -> Renderer:
    return Renderer(small_s3gen(), meanflow=False, steps=STEPS)


def voice(renderer: Renderer, n_tokens: int = VOICE) -> Prompt:
    return renderer.prompt(random_voice(n_tokens))


def sentence(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 6561, n).tolist()


def done(steps: Generator[None, None, T]) -> T:
    result: list[T] = []

    def keep() -> Generator[None, None, None]:
        result.append((yield from steps))

    for _ in keep():
        pass
    return result[0]


def drained(rendering: Rendering) -> list[Sound]:
    """All chunks whose tokens are there."""
    chunks = []
    while (needed := rendering.needed) is not None and len(rendering._tokens) >= needed:
        for _ in rendering.next_chunk():
            pass
        chunks.append(rendering.take())
    return chunks


def streamed(rendering: Rendering, tokens: Sequence[int], sizes: Iterable[int] = ()) -> Sound:
    """The sound of tokens that come in parts of those sizes, and then the rest."""
    start, chunks = 0, []
    for size in sizes:
        rendering.feed(tokens[start : start + size], last=False)
        chunks += drained(rendering)
        start += size
    rendering.feed(tokens[start:], last=True)
    return np.concatenate([*chunks, *drained(rendering)])


def close(one: Sound | Tensor, other: Sound | Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=0, atol=atol)


class TestASentenceAtOnce:
    def test_is_what_upstream_renders_of_the_same_noise(
        self, s3gen: S3Gen, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens, gen = sentence(40), random_voice(VOICE)
        prompt = renderer.prompt(gen)
        rendering = Rendering(renderer, prompt, seed=7, first_tokens=None)
        ours = streamed(rendering, tokens)

        drawn = noise(7, Use.MEL, 0, 80, (80,))
        begin = torch.cat([prompt.noise, drawn[None]], dim=1).transpose(1, 2)
        monkeypatch.setattr(torch, "randn_like", lambda x: begin.clone())
        monkeypatch.setattr(torch, "randn", lambda *size, **_: begin[..., -size[-1] :].clone())
        mel = s3gen.flow_inference(
            torch.tensor([tokens]), ref_dict=gen, n_cfm_timesteps=STEPS, finalize=True
        )
        monkeypatch.undo()
        close(rendering._mel.mel, mel.transpose(1, 2))

        with torch.inference_mode():
            vocoder = renderer.vocoder
            pitch = s3gen.mel2wav.f0_predictor(mel)[0]
            source, _ = vocoder._source(pitch, 0, 0.0, 7)
            sound, _ = s3gen.mel2wav.inference(mel, cache_source=source[None, None])
            sound[:, : len(s3gen.trim_fade)] *= s3gen.trim_fade
        close(ours, sound[0])

    def test_without_the_fade_begins_at_once(self, renderer: Renderer) -> None:
        tokens, prompt = sentence(12), voice(renderer)
        faded = render_whole(renderer, prompt, tokens)
        bare = render_whole(renderer, prompt, tokens, fade_in=False)
        assert not faded[:480].any()
        assert bare[:480].any()
        close(faded[960:], bare[960:], atol=0)

    def test_by_chunks_is_what_upstream_renders_with_a_mask(
        self, s3gen: S3Gen, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        masked = deepcopy(s3gen)
        masked.flow.encoder.static_chunk_size = 25
        masked.flow.decoder.estimator.static_chunk_size = 50
        tokens, gen = sentence(70), random_voice(VOICE)
        prompt = done(renderer.remember(renderer.prompt(gen)))
        rendering = Rendering(renderer, prompt, seed=7, mode="cached", first_tokens=None)
        streamed(rendering, tokens)

        drawn = noise(7, Use.MEL, 0, 140, (80,))
        begin = torch.cat([prompt.noise, drawn[None]], dim=1).transpose(1, 2)
        monkeypatch.setattr(torch, "randn_like", lambda x: begin.clone())
        monkeypatch.setattr(torch, "randn", lambda *size, **_: begin[..., -size[-1] :].clone())
        mel = masked.flow_inference(
            torch.tensor([tokens]), ref_dict=gen, n_cfm_timesteps=STEPS, finalize=True
        )
        close(rendering._mel.mel, mel.transpose(1, 2))

    @pytest.mark.parametrize("mode", ["window", "cached"])
    @pytest.mark.parametrize("n", [1, 2, 5, 26])
    def test_however_short_has_the_sound_of_every_token(
        self, renderer: Renderer, mode: Mode, n: int
    ) -> None:
        sound = render_whole(renderer, voice(renderer), sentence(n), mode=mode)
        assert sound.dtype == np.float32
        assert sound.shape == (n * SAMPLES_PER_TOKEN,)
        assert np.isfinite(sound).all()

    def test_without_tokens_has_no_sound(self, renderer: Renderer) -> None:
        assert render_whole(renderer, voice(renderer), []).size == 0


class TestCachedStreaming:
    @pytest.mark.parametrize("n_voice", [5, 28, 60])
    @pytest.mark.parametrize("remembered", [False, True])
    def test_gives_the_sound_of_the_sentence_at_once(
        self, renderer: Renderer, n_voice: int, remembered: bool
    ) -> None:
        tokens, prompt = sentence(90), voice(renderer, n_voice)
        if remembered:
            prompt = done(renderer.remember(prompt))
        whole = render_whole(renderer, replace(prompt, past=None), tokens, mode="cached", seed=3)
        rendering = Rendering(renderer, prompt, mode="cached", seed=3, first_tokens=12)
        close(streamed(rendering, tokens, [40, 1, 30]), whole)

    @settings(max_examples=8, deadline=None)
    @given(
        st.integers(1, 80),
        st.lists(st.integers(1, 40), max_size=6),
        st.integers(FEWEST_TOKENS, 60),
        st.integers(1, 60),
    )
    def test_gives_it_however_tokens_come_and_chunks_are_cut(
        self, n: int, sizes: list[int], first_tokens: int, chunk_tokens: int
    ) -> None:
        renderer = plain()
        prompt, tokens = voice(renderer), sentence(n)
        whole = render_whole(renderer, prompt, tokens, mode="cached")
        rendering = Rendering(
            renderer,
            prompt,
            mode="cached",
            first_tokens=first_tokens,
            chunk_tokens=chunk_tokens,
        )
        close(streamed(rendering, tokens, sizes), whole)

    def test_waits_for_the_end_of_a_chunk_and_three_tokens(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), mode="cached", first_tokens=20)
        waits = []
        rendering.feed(sentence(60), last=False)
        while rendering.needed is not None and rendering.needed <= 60:
            waits.append(rendering.needed)
            for _ in rendering.next_chunk():
                pass
        assert waits == [25, 50]  # with the voice's 28 and without three: 50, 75
        assert rendering.needed == 75

    def test_keeps_what_it_says(self, s3gen: S3Gen, renderer: Renderer) -> None:
        prompt = voice(renderer, 53)
        assert prompt.past is None
        remembered = done(renderer.remember(prompt))
        said = renderer.kept_bytes(2.0)
        kept = remembered.n_bytes - prompt.n_bytes
        encoders = kept - said
        assert 0 < encoders < 50 * 100_000

    def test_forgets_all_when_the_sentence_ends(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), mode="cached")
        streamed(rendering, sentence(60))
        assert rendering._mel.past.n_bytes == 0

    def test_leaves_the_prompt_as_it_is(self, renderer: Renderer) -> None:
        prompt = done(renderer.remember(voice(renderer)))
        n_bytes = prompt.n_bytes
        one, two = (render_whole(renderer, prompt, sentence(60), mode="cached") for _ in range(2))
        assert prompt.n_bytes == n_bytes
        close(one, two, atol=0)

    def test_of_another_number_of_steps_than_the_prompts_is_refused(
        self, renderer: Renderer
    ) -> None:
        prompt = done(renderer.remember(voice(renderer)))
        with pytest.raises(ValueError, match="number of steps"):
            Rendering(renderer, prompt, mode="cached", n_steps=STEPS + 1)


class TestWindowedStreaming:
    def test_gives_the_sound_of_every_token(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), first_tokens=12)
        sound = streamed(rendering, sentence(80), [5, 30, 20])
        assert sound.shape == (80 * SAMPLES_PER_TOKEN,)
        assert np.isfinite(sound).all()

    def test_of_a_first_window_gives_all_but_what_may_change(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), first_tokens=12)
        rendering.feed(sentence(12), last=False)
        (sound,) = drained(rendering)
        assert sound.size == (2 * 12 - 11) * 480

    def test_grows_its_windows(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), first_tokens=8, chunk_tokens=5)
        waits = []
        rendering.feed(sentence(70), last=False)
        while rendering.needed is not None and rendering.needed <= 70:
            waits.append(rendering.needed)
            for _ in rendering.next_chunk():
                pass
        assert waits == [8, 13, 23, 43, 63]

    @settings(max_examples=8, deadline=None)
    @given(st.integers(1, 80), st.lists(st.integers(1, 40), max_size=6))
    def test_does_not_depend_on_when_the_tokens_came(self, n: int, sizes: list[int]) -> None:
        renderer = plain()
        prompt, tokens = voice(renderer), sentence(n)
        at_once = streamed(Rendering(renderer, prompt), tokens)
        close(streamed(Rendering(renderer, prompt), tokens, sizes), at_once, atol=0)

    def test_does_not_jump_where_windows_meet(self) -> None:
        renderer = plain()
        rendering = Rendering(renderer, voice(renderer), first_tokens=12)
        rendering.feed(sentence(70), last=True)
        chunks = drained(rendering)
        sound = np.concatenate(chunks)
        usual = np.quantile(np.abs(np.diff(sound)), 0.999)
        for edge in np.cumsum([chunk.size for chunk in chunks])[:-1]:
            assert abs(sound[edge] - sound[edge - 1]) <= usual

    def test_what_was_given_out_is_known_to_the_next_window(self) -> None:
        """And so is near to what the sentence at once has there, at the shared noise."""
        renderer = plain()
        prompt, tokens = voice(renderer), sentence(60)
        whole = Rendering(renderer, prompt, first_tokens=None)
        streamed(whole, tokens)
        rendering = Rendering(renderer, prompt, first_tokens=30)
        streamed(rendering, tokens)
        away = (rendering._mel.mel - whole._mel.mel).abs().mean()
        other = Rendering(renderer, prompt, first_tokens=None, seed=1)
        streamed(other, tokens)
        assert away < 0.5 * (other._mel.mel - whole._mel.mel).abs().mean()


class TestARendering:
    @pytest.mark.parametrize("mode", ["window", "cached"])
    def test_with_the_same_seed_sounds_the_same(self, renderer: Renderer, mode: Mode) -> None:
        prompt, tokens = voice(renderer), sentence(40)
        one, same, other = (
            render_whole(renderer, prompt, tokens, mode=mode, seed=seed) for seed in (1, 1, 2)
        )
        close(one, same, atol=0)
        assert not np.allclose(one, other, atol=1e-3)

    @pytest.mark.parametrize("mode", ["window", "cached"])
    def test_takes_its_steps_one_by_one(self, renderer: Renderer, mode: Mode) -> None:
        rendering = Rendering(renderer, voice(renderer, 3), mode=mode, first_tokens=25)
        rendering.feed(sentence(28), last=False)
        n = 0
        for _ in rendering.next_chunk():
            assert not torch.is_inference_mode_enabled()
            n += 1
        assert n == STEPS + 2  # the encoder, the flow, and before the vocoder

    def test_may_be_of_fewer_steps(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), n_steps=1, first_tokens=None)
        rendering.feed(sentence(10), last=True)
        assert len([*rendering.next_chunk()]) == 3

    @pytest.mark.parametrize("mode", ["window", "cached"])
    def test_begins_a_chunk_again_that_was_left(self, renderer: Renderer, mode: Mode) -> None:
        prompt, tokens = voice(renderer), sentence(70)
        whole = streamed(Rendering(renderer, prompt, mode=mode), tokens)
        rendering, chunks = Rendering(renderer, prompt, mode=mode), []
        rendering.feed(tokens, last=True)
        left = 0
        while rendering.needed is not None:
            steps = rendering.next_chunk()
            for _ in range(left := left + 1):
                next(steps)
            del steps
            assert rendering.take().size == 0
            for _ in rendering.next_chunk():
                pass
            chunks.append(rendering.take())
        close(np.concatenate(chunks), whole, atol=0)

    @pytest.mark.parametrize("mode", ["window", "cached"])
    def test_that_is_dropped_leaves_nothing(
        self, s3gen: S3Gen, renderer: Renderer, mode: Mode
    ) -> None:
        before = everything(s3gen)
        prompt = voice(renderer)
        for n in (0, 1, 4):
            rendering = Rendering(renderer, prompt, mode=mode)
            rendering.feed(sentence(30), last=True)
            steps = rendering.next_chunk()
            for _ in range(n):
                next(steps)
            gone = weakref.ref(rendering)
            del rendering, steps
            gc.collect()
            assert gone() is None
        assert everything(s3gen) == before

    def test_gives_its_sound_once(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), first_tokens=None)
        rendering.feed(sentence(5), last=True)
        drained(rendering)
        assert rendering.needed is None
        assert rendering.take().size == 0

    def test_needs_no_tokens_once_they_are_all_there(self, renderer: Renderer) -> None:
        rendering = Rendering(renderer, voice(renderer), first_tokens=20)
        assert rendering.needed == 20
        rendering.feed(sentence(10), last=False)
        assert rendering.needed == 20
        rendering.feed([], last=True)
        assert rendering.needed == 10

    def test_refuses_what_makes_no_sense(self, renderer: Renderer) -> None:
        prompt = voice(renderer)
        for wrong, message in [
            ({"seed": -1}, "seed"),
            ({"first_tokens": 7}, "first_tokens"),
            ({"chunk_tokens": 0}, "chunk_tokens"),
            ({"n_steps": 0}, "n_steps"),
            ({"mode": "exact"}, "mode"),
        ]:
            with pytest.raises(ValueError, match=message):
                Rendering(renderer, prompt, **wrong)
        rendering = Rendering(renderer, prompt)
        for token in (-1, 6561):
            with pytest.raises(ValueError, match="not a speech token"):
                rendering.feed([0, token], last=False)
        with pytest.raises(ValueError, match="are needed"):
            rendering.next_chunk()
        rendering.feed([0], last=True)
        with pytest.raises(ValueError, match="already"):
            rendering.feed([0], last=True)


class TestAPrompt:
    def test_keeps_the_end_of_the_reference(self, renderer: Renderer) -> None:
        gen = random_voice(60)
        prompt = renderer.prompt(gen, seconds=1.12)
        assert prompt.n_tokens == 28
        assert torch.equal(prompt.tokens, gen["prompt_token"][:, -28:])
        assert torch.equal(prompt.mel, gen["prompt_feat"][:, -56:])
        assert renderer.prompt(gen, seconds=99).n_tokens == 60
        assert renderer.prompt(gen).n_tokens == 60

    def test_may_come_as_arrays(self, renderer: Renderer) -> None:
        gen = random_voice(VOICE)
        arrays = {
            name: value.numpy() if isinstance(value, Tensor) else value
            for name, value in gen.items()
        }
        one, other = renderer.prompt(gen), renderer.prompt(arrays)
        assert torch.equal(one.mel, other.mel)
        assert torch.equal(one.speaker, other.speaker)

    def test_is_cut_where_tokens_and_mel_differ(self, renderer: Renderer) -> None:
        gen = random_voice(30)
        gen["prompt_feat"] = gen["prompt_feat"][:, :57]
        prompt = renderer.prompt(gen)
        assert (prompt.n_tokens, prompt.mel.shape[1]) == (28, 56)

    def test_knows_its_size(self, renderer: Renderer) -> None:
        prompt = voice(renderer)
        assert prompt.n_bytes == VOICE * 8 + 2 * (2 * VOICE * 80 * 4) + 80 * 4
        assert done(renderer.remember(prompt)).n_bytes > renderer.kept_bytes(1.0)

    def test_of_nothing_is_refused(self, renderer: Renderer) -> None:
        with pytest.raises(ValueError, match="no tokens"):
            voice(renderer, 0)
        with pytest.raises(ValueError, match="seconds"):
            renderer.prompt(random_voice(VOICE), seconds=0.0)

    def test_that_is_remembered_begins_with_a_chunk(self, renderer: Renderer) -> None:
        prompt = voice(renderer, 70)
        remembered = done(renderer.remember(prompt))
        assert remembered.n_tokens == 53
        assert torch.equal(remembered.tokens, prompt.tokens[:, -53:])
        assert torch.equal(remembered.mel, prompt.mel[:, -106:])

    def test_too_short_to_be_remembered_stays_as_it_is(self, renderer: Renderer) -> None:
        prompt = voice(renderer, 27)
        assert done(renderer.remember(prompt)) is prompt


class TestARenderer:
    def test_refuses_a_model_in_training(self) -> None:
        s3gen = deepcopy(small_s3gen()).train()
        with pytest.raises(ValueError, match="evaluation"):
            Renderer(s3gen, meanflow=False)

    def test_refuses_the_other_kind_of_flow(self, s3gen: S3Gen) -> None:
        with pytest.raises(ValueError, match="meanflow"):
            Renderer(s3gen, meanflow=not s3gen.meanflow)

    def test_takes_upstreams_number_of_steps(self, s3gen: S3Gen) -> None:
        assert Renderer(s3gen, meanflow=s3gen.meanflow).n_steps == (2 if s3gen.meanflow else 10)

    def test_serves_sentences_that_take_turns(self, renderer: Renderer) -> None:
        prompts = [voice(renderer), renderer.prompt(random_voice(40, seed=1))]
        alone = [render_whole(renderer, prompt, sentence(30, 4)) for prompt in prompts]
        both = [Rendering(renderer, prompt, first_tokens=None) for prompt in prompts]
        for rendering in both:
            rendering.feed(sentence(30, 4), last=True)
        for _ in zip(*(rendering.next_chunk() for rendering in both), strict=True):
            pass
        for rendering, sound in zip(both, alone, strict=True):
            close(rendering.take(), sound, atol=0)
        assert not np.allclose(*alone, atol=1e-3)


def everything(model: nn.Module) -> dict[str, Any]:
    """All that could be left on a model: attributes, hooks, and what its tensors hold."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, dict):
                found[f"{name}.{key}"] = sorted(map(str, value))
            else:
                found[f"{name}.{key}"] = repr(value)[:200]
    for name, value in model.state_dict().items():
        found[name] = (value._version, float(value.double().sum()))
    return found
