"""At full size, with random weights, it computes what Chatterbox itself computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.t3_config import T3Config

from realtime_stts.engines.chatterbox._noise import Use, noise
from realtime_stts.engines.chatterbox._render import Renderer, Rendering
from realtime_stts.engines.chatterbox._sampling import Sampling
from realtime_stts.engines.chatterbox._talker import Talker, Utterance
from tools.random_chatterbox import conditioning, random_voice, real_s3gen, text_tokens

pytestmark = [pytest.mark.full_size, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_tokens() -> None:
    torch.manual_seed(0)
    t3 = T3(T3Config.english_only()).eval().requires_grad_(False)
    text = text_tokens(t3, 20)
    talker = Talker(t3)
    said = Utterance(
        text,
        talker.prefix(conditioning(t3), lambda: None),
        Sampling(),
        torch.Generator().manual_seed(4),
        max_tokens=10,
    )
    talker.join(said, lambda: None)
    while talker.utterances:
        talker.step(lambda: None)
    torch.manual_seed(4)
    drawn = t3.inference(
        t3_cond=conditioning(t3),
        text_tokens=torch.stack([text, text]),
        max_new_tokens=10,
        top_p=1.0,
    )
    assert said.tokens == [token for token in drawn[0].tolist() if token < 6561]


def test_the_mel(monkeypatch: pytest.MonkeyPatch) -> None:
    s3gen, gen = real_s3gen(), random_voice(28)
    renderer = Renderer(s3gen, meanflow=False)
    prompt = renderer.prompt(gen)
    tokens = speech_tokens(12)
    rendering = Rendering(renderer, prompt, seed=7, first_tokens=None)
    rendering.feed(tokens, last=True)
    for _ in rendering.next_chunk():
        pass
    begin = torch.cat([prompt.noise, noise(7, Use.MEL, 0, 24, (80,))[None]], dim=1)
    monkeypatch.setattr(torch, "randn_like", lambda x: begin.transpose(1, 2).clone())
    mel = s3gen.flow_inference(torch.tensor([tokens]), ref_dict=gen, finalize=True)
    torch.testing.assert_close(rendering._mel.mel, mel.transpose(1, 2), rtol=0, atol=1e-3)


def speech_tokens(n: int) -> list[int]:
    return torch.randint(0, 6561, (n,), generator=torch.Generator().manual_seed(0)).tolist()
