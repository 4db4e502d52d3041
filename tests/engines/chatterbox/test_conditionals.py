"""A voice is what Chatterbox itself would make of the same recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.models.s3gen.s3gen import S3Token2Mel
from chatterbox.models.s3gen.utils.mel import mel_spectrogram
from chatterbox.models.s3gen.xvector import CAMPPlus
from chatterbox.models.s3tokenizer import S3Tokenizer
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.mtl_tts import ChatterboxMultilingualTTS
from chatterbox.tts import ChatterboxTTS, Conditionals
from chatterbox.tts_turbo import ChatterboxTurboTTS
from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

from realtime_stts import AudioData
from realtime_stts.engines.chatterbox._conditionals import computed, of_checkpoint, of_samples
from realtime_stts.engines.chatterbox._settings import Kind
from realtime_stts.errors import VoiceError
from realtime_stts.voices import checked

KINDS = get_args(Kind)
UPSTREAM = {
    "standard": ChatterboxTTS,
    "turbo": ChatterboxTurboTTS,
    "multilingual": ChatterboxMultilingualTTS,
}


def speech(seconds: float, rate: int = 24_000) -> AudioData:
    """A buzz of many partials in syllables, and some noise."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * 120 * (time + 0.003 * np.sin(2 * np.pi * 3 * time))
    buzz = sum(np.sin(n * phase) / n for n in range(1, 20))
    noise = np.random.default_rng(0).normal(0, 0.01, time.size)
    sound = 0.1 * buzz * (1.05 + np.sin(2 * np.pi * 4 * time)) + noise
    return AudioData.from_samples(sound.astype(np.float32), rate, "pcm_f32le")


@pytest.fixture(scope="module")
def models() -> Callable[[Kind], Any]:
    """The classes that make voices, with random weights; the tokenizer with fewer and narrower
    layers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.device("meta"):  # what is replaced at once need not be drawn
        tokenizer = S3Tokenizer("speech_tokenizer_v2_25hz")
    real = S3Tokenizer.__new__(S3Tokenizer)
    torch.nn.Module.__init__(real)
    real.__dict__.update({key: value for key, value in tokenizer.__dict__.items() if key[0] != "_"})
    import librosa

    real.register_buffer(
        "_mel_filters",
        torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=128)),
    )
    real.register_buffer("window", torch.hann_window(400))
    real.encoder = AudioEncoderV2(128, 64, 1, 2, 2, False)
    real.quantizer = FSQVectorQuantization(64, 3**8)
    s3gen = S3Token2Mel.__new__(S3Token2Mel)
    torch.nn.Module.__init__(s3gen)
    s3gen.tokenizer, s3gen.mel_extractor = real, mel_spectrogram
    s3gen.speaker_encoder = CAMPPlus(memory_efficient=False)
    s3gen.flow = torch.nn.Linear(1, 1)  # asked for its precision
    ve = VoiceEncoder()
    s3gen.eval()
    ve.eval()

    def of(kind: Kind) -> Any:
        hp = SimpleNamespace(speech_cond_prompt_len=375 if kind == "turbo" else 150)
        model = UPSTREAM[kind].__new__(UPSTREAM[kind])
        model.t3, model.s3gen, model.ve = SimpleNamespace(hp=hp), s3gen, ve
        model.device = "cpu"
        return model

    return of


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what librosa reads files with
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [5.5, 11.02])
def test_a_voice_is_what_the_package_makes(
    models: Callable[[Kind], Any], tmp_path: Path, kind: Kind, seconds: float
) -> None:
    audio = speech(seconds)
    model = models(kind)
    with torch.no_grad():
        UPSTREAM[kind].prepare_conditionals(
            model, str(audio.to_file(tmp_path / "voice.wav")), exaggeration=0.7
        )
    theirs = model.conds
    ours = of_samples(audio.samples[:, 0], model, kind)
    assert torch.equal(ours.speaker, theirs.t3.speaker_emb)
    assert torch.equal(ours.tokens, theirs.t3.cond_prompt_speech_tokens)
    assert ours.gen.keys() == theirs.gen.keys()
    for key, value in theirs.gen.items():
        assert value is None if ours.gen[key] is None else torch.equal(ours.gen[key], value)

    cond = ours.t3(0.7)
    assert torch.equal(cond.speaker_emb, theirs.t3.speaker_emb)
    assert torch.equal(cond.emotion_adv, theirs.t3.emotion_adv)
    assert cond.cond_prompt_speech_emb is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_of_any_rate_will_do(models: Callable[[Kind], Any], kind: Kind) -> None:
    """Its timbre is the same as far as the rates hold the same."""
    voices = [computed(checked(speech(6.0, rate)), models(kind), kind) for rate in (24_000, 44_100)]
    assert torch.cosine_similarity(voices[0].speaker, voices[1].speaker) > 0.99
    assert voices[0].tokens.shape == voices[1].tokens.shape


def test_turbo_wants_more_than_five_seconds(models: Callable[[Kind], Any]) -> None:
    with pytest.raises(VoiceError, match=r"turbo model wants more than 5 s"):
        computed(checked(speech(4.0)), models("turbo"), "turbo")


def test_the_prompt_may_be_shorter(models: Callable[[Kind], Any]) -> None:
    reference = checked(speech(8.0))
    whole, short = (
        computed(reference, models("standard"), "standard", prompt_seconds=seconds)
        for seconds in (10.0, 3.0)
    )
    assert (whole.gen["prompt_token"].shape[1], short.gen["prompt_token"].shape[1]) == (200, 75)
    assert short.gen["prompt_feat"].shape == (1, 150, 80)
    assert torch.equal(whole.speaker, short.speaker)  # which is of the whole
    assert short.nbytes < whole.nbytes
    with pytest.raises(ValueError, match=r"prompt_seconds is 1 to 10, not 0.5"):
        computed(reference, models("standard"), "standard", prompt_seconds=0.5)


class TestACopy:
    def test_shares_nothing(self, models: Callable[[Kind], Any]) -> None:
        voice = computed(checked(speech(4.0)), models("standard"), "standard")
        copy = voice.copy()
        for tensor in (copy.speaker, copy.tokens, copy.gen["prompt_feat"]):
            tensor.zero_()
        assert voice.speaker.any()
        assert voice.gen["prompt_feat"].any()

    def test_for_t3_shares_nothing(self, models: Callable[[Kind], Any]) -> None:
        voice = computed(checked(speech(4.0)), models("standard"), "standard")
        cond = voice.t3(0.5)
        cond.speaker_emb.zero_()
        cond.cond_prompt_speech_emb = torch.zeros(1)
        assert voice.speaker.any()
        assert voice.t3(0.5).cond_prompt_speech_emb is None


def test_the_voice_of_a_checkpoint_is_the_packages() -> None:
    gen = {"prompt_token": torch.ones(1, 5), "prompt_feat_len": None}
    cond = T3Cond(torch.rand(1, 256), cond_prompt_speech_tokens=torch.ones(1, 150))
    ours = of_checkpoint(Conditionals(cond, gen))
    assert torch.equal(ours.speaker, cond.speaker_emb)
    assert torch.equal(ours.tokens, cond.cond_prompt_speech_tokens)
    ours.gen["prompt_token"].zero_()
    assert gen["prompt_token"].all()
    assert ours.nbytes == 4 * (256 + 150 + 5)
