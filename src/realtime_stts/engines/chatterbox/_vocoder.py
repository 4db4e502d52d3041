"""From mel frames to sound (HiFT of S3Gen), as the frames come.

The network hears a few frames to both sides, so a window with these around it gives the sound
that the whole would have given, if what excites it is the same signal: harmonics of a pitch
whose phase goes on from window to window, and noise that depends on the place alone.
Upstream starts the phase anew, and fades in, at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from ._noise import Use, noise, phases

if TYPE_CHECKING:
    from chatterbox.models.s3gen.hifigan import HiFTGenerator

__all__ = ["CONTEXT", "PITCH_CONTEXT", "SAMPLES_PER_FRAME", "Spoken", "Vocoder"]

SAMPLES_PER_FRAME: Final = 480  # 20 ms at 24 kHz
# Frames to either side that are heard in a frame's sound: with the kernels as they are 14, of
# which the last two are not worth their 40 ms: on random weights they are less than 1e-5.
CONTEXT: Final = 12
PITCH_CONTEXT: Final = 5  # that are heard in its pitch: five convolutions of three frames


@dataclass(frozen=True, slots=True)
class Spoken:
    """How far a sentence's sound has come.

    The sound of the last frame is known but not given out: it is faded into what the next
    window makes of the same frame.
    """

    n_frames: int = 0  # whose sound is known
    phase: float = 0.0  # of the fundamental after them, in turns
    source: Tensor | None = None  # what excited the last `CONTEXT` + 1 of them
    tail: Tensor | None = None  # the sound of the last


class Vocoder:
    """The mel-to-sound half of S3Gen, read only."""

    def __init__(self, hift: HiFTGenerator) -> None:
        self._hift = hift

    def speak(
        self, mel: Tensor, upto: int, spoken: Spoken, seed: int, *, last: bool
    ) -> tuple[Tensor, Spoken]:
        """The sound of the frames up to ``upto``, as far as it was not given out before.

        Args:
            mel: The sentence's frames so far, of shape (1, n_frames, 80). Those from ``upto``
                on are heard, and may still change; the fewer than `CONTEXT` there are, the
                less is the sound what the whole mel would have given.
            spoken: What the call before returned, `Spoken()` at first.
            last: There will be no more frames, and ``upto`` is the number of them.

        Returns:
            Samples of shape (n,), and what the next call takes.
        """
        known = spoken.n_frames
        if upto <= known:
            rest = spoken.tail if last and spoken.tail is not None else mel.new_empty(0)
            return rest, spoken
        heard = min(mel.shape[1], upto + CONTEXT)
        begin = max(0, known - CONTEXT)
        frames = mel.transpose(1, 2)
        # The last frame is spoken again, so its context begins one earlier.
        start = max(0, known - 1 - CONTEXT)
        pitch = self._hift.f0_predictor(frames[..., begin:])[0, known - begin : heard - begin]
        new, turns = self._source(pitch, known, spoken.phase, seed)
        source = new if spoken.source is None else torch.cat([spoken.source, new])
        made = self._hift.decode(x=frames[..., start:heard], s=source[None, None])[0]
        again = known - 1 if spoken.tail is not None else known
        made = made[(again - start) * SAMPLES_PER_FRAME : (upto - start) * SAMPLES_PER_FRAME]
        if spoken.tail is not None:
            fade = torch.linspace(0.0, 1.0, SAMPLES_PER_FRAME, device=made.device)
            head = made[:SAMPLES_PER_FRAME]
            made = torch.cat([spoken.tail.lerp(head, fade), made[SAMPLES_PER_FRAME:]])
        if last:
            return made, Spoken(upto, turns[upto - known])
        kept = source[: (upto - start) * SAMPLES_PER_FRAME]
        return made[:-SAMPLES_PER_FRAME], Spoken(
            upto,
            turns[upto - known],
            kept[-(CONTEXT + 1) * SAMPLES_PER_FRAME :].clone(),
            made[-SAMPLES_PER_FRAME:].clone(),
        )

    def _source(
        self, pitch: Tensor, start: int, phase: float, seed: int
    ) -> tuple[Tensor, list[float]]:
        """What excites the network, and where the phase is at the beginning of each frame.

        Args:
            pitch: In Hz, of shape (n_frames,).
            start: The first frame's place in the sentence.
            phase: In turns, before it.

        Returns:
            Samples of shape (480 n_frames,), and n_frames + 1 phases in turns.
        """
        module = self._hift.m_source
        sines = module.l_sin_gen
        n_harmonics = sines.harmonic_num + 1
        like = {"device": pitch.device, "dtype": pitch.dtype}
        per_sample = pitch / sines.sampling_rate
        # Added up in float64, or it is off after some seconds; not every device has that.
        advance = pitch.cpu().double() * (SAMPLES_PER_FRAME / sines.sampling_rate)
        turns = [phase, *((phase + advance.cumsum(0)) % 1).tolist()]
        begin = torch.tensor(turns[:-1], **like)
        within = torch.arange(1, SAMPLES_PER_FRAME + 1, **like)
        fundamental = (begin[:, None] + per_sample[:, None] * within) % 1
        harmonics = torch.arange(1, n_harmonics + 1, **like)
        angles = 2 * torch.pi * (fundamental[..., None] * harmonics % 1)
        waves = sines.sine_amp * torch.sin(angles + phases(seed, n_harmonics).to(**like))
        stop = start + len(pitch)
        drawn = noise(seed, Use.SOURCE, start, stop, (SAMPLES_PER_FRAME, n_harmonics)).to(**like)
        voiced = (pitch > sines.voiced_threshold)[:, None, None]
        # Without a pitch there is noise alone, about as loud as the sines are.
        waves = torch.where(voiced, waves + sines.noise_std * drawn, sines.sine_amp / 3 * drawn)
        return module.l_tanh(module.l_linear(waves)).flatten(), turns
