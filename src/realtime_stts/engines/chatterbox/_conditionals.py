"""What Chatterbox makes of a recording, before it can speak in that voice.

The same as its own `prepare_conditionals` makes of the same samples at 24 kHz; but of samples
and not of a file, on no shared model, and without the exaggeration, which is each call's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
import soxr
from numpy.typing import NDArray

from ...errors import MissingExtraError, VoiceError
from ...voices import Reference
from ._settings import Kind

try:
    import torch
except ImportError as exc:
    raise MissingExtraError("Chatterbox", "chatterbox") from exc

__all__ = ["Conditionals", "computed", "of_checkpoint", "of_samples"]

_RATE: Final = 24_000  # Hz, of what is spoken
_TOKEN_RATE: Final = 16_000  # Hz, of what the tokenizer and the voice encoder hear
_PROMPT: Final = 10.0  # s of sound that the decoder goes on from
_MANNER: Final[dict[Kind, float]] = {"standard": 6.0, "multilingual": 6.0, "turbo": 15.0}  # s
_MIN_SECONDS_TURBO: Final = 5.0  # Chatterbox's own bound
_LOUDNESS: Final = -27.0  # LUFS, of what turbo was trained on


@dataclass(frozen=True, slots=True)
class Conditionals:
    """A voice, for one model.

    Attributes:
        speaker: Its timbre for T3, float32 of shape (1, 256).
        tokens: How it speaks, int64 of shape (1, at most 150; turbo 375); None if the model
            wants none.
        gen: What S3Gen goes on from, as its `embed_ref` gives it.
    """

    speaker: torch.Tensor
    tokens: torch.Tensor | None
    gen: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        tensors = [self.speaker, self.tokens, *self.gen.values()]
        return sum(each.nbytes for each in tensors if isinstance(each, torch.Tensor))

    def copy(self) -> Conditionals:
        """The same values in tensors of their own."""
        return Conditionals(
            _copied(self.speaker),
            _copied(self.tokens),
            {key: _copied(value) for key, value in self.gen.items()},
        )

    def t3(self, exaggeration: float) -> Any:
        """A new `T3Cond`, which T3 may change."""
        from chatterbox.models.t3.modules.cond_enc import T3Cond

        emotion = torch.full((1, 1, 1), exaggeration, device=self.speaker.device)
        return T3Cond(
            speaker_emb=_copied(self.speaker),
            cond_prompt_speech_tokens=_copied(self.tokens),
            emotion_adv=emotion,
        )


def computed(
    reference: Reference, model: Any, kind: Kind, *, prompt_seconds: float = _PROMPT
) -> Conditionals:
    """A voice for ``model``, which has `t3`, `s3gen`, `ve` and `device` as Chatterbox's have.

    Args:
        prompt_seconds: Of the recording, how much S3Gen goes on from, 1 to 10; less of it is
            rendered sooner, and may be less like the voice.

    Raises:
        VoiceError: The recording is too short for such a model.
        ValueError: ``prompt_seconds`` is out of range.
    """
    if kind == "turbo" and reference.seconds <= _MIN_SECONDS_TURBO:
        raise VoiceError(
            f"the turbo model wants more than {_MIN_SECONDS_TURBO:g} s of a voice, and the "
            f"recording has {reference.seconds:.1f} s: record more of it"
        )
    moved = reference.audio.converted("pcm_f32le").resampled(_RATE)
    return of_samples(moved.samples[:, 0], model, kind, prompt_seconds=prompt_seconds)


def of_samples(
    samples: NDArray[np.float32], model: Any, kind: Kind, *, prompt_seconds: float = _PROMPT
) -> Conditionals:
    """The same of float32 samples of shape (n,) at 24 kHz."""
    if not 1.0 <= prompt_seconds <= _PROMPT:
        raise ValueError(f"prompt_seconds is 1 to {_PROMPT:g}, not {prompt_seconds}")
    if kind == "turbo":
        samples = _as_loud(samples)
    low = _resampled(samples)
    with torch.inference_mode():
        prompt = samples[: round(prompt_seconds * _RATE)].copy()
        gen = model.s3gen.embed_ref(prompt, _RATE, device=model.device)
        tokens = None
        if n_tokens := model.t3.hp.speech_cond_prompt_len:
            manner = low[: round(_MANNER[kind] * _TOKEN_RATE)]
            found, _ = model.s3gen.tokenizer.forward([manner], max_len=n_tokens)
            tokens = torch.atleast_2d(found).to(model.device)
        speakers = torch.from_numpy(model.ve.embeds_from_wavs([low], sample_rate=_TOKEN_RATE))
        speaker = speakers.mean(dim=0, keepdim=True).to(model.device)
    return Conditionals(speaker, tokens, gen).copy()


def of_checkpoint(conds: Any) -> Conditionals:
    """The voice that comes with a model, of Chatterbox's own `Conditionals`."""
    return Conditionals(conds.t3.speaker_emb, conds.t3.cond_prompt_speech_tokens, conds.gen).copy()


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _resampled(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """At 16 kHz, of the length that librosa gives it."""
    low = soxr.resample(samples, _RATE, _TOKEN_RATE)
    n_samples = -(-samples.size * _TOKEN_RATE // _RATE)
    return np.pad(low[:n_samples], (0, max(n_samples - low.size, 0)))


def _as_loud(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """As loud as what turbo was trained on; silence as it is."""
    import pyloudnorm  # comes with chatterbox-tts

    loudness = pyloudnorm.Meter(_RATE).integrated_loudness(samples)
    gain = float(10.0 ** ((_LOUDNESS - loudness) / 20.0))
    return samples * np.float32(gain) if isfinite(gain) and gain > 0.0 else samples
