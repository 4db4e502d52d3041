"""Speech tokens into sound while more tokens come, a step at a time, over one loaded S3Gen.

There are two ways:

* ``window``: the model as it was shipped, in which all hears all. Each window has the voice's
  prompt, the second of the sentence before it, and the new tokens; where two meet, the one is
  faded over into the other. A sentence in one window is what upstream renders. Every window
  pays for the prompt again, so they grow.
* ``cached``: attention is held to chunks of one second, as in CosyVoice 2. Then nothing that
  comes later changes what was rendered, only new frames are computed, and the sound is the
  same in however many pieces it is made. All that was heard is kept until the sentence ends,
  which takes much memory: see `Renderer.kept_bytes`. Whether the shipped weights sound as
  good that way, only ears can tell.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._flow import FRAMES_PER_TOKEN, N_MELS, Flow, Steps
from ._mel import Cached, Prompt, Windowed, remember
from ._noise import Use, noise
from ._vocoder import Spoken, Vocoder

if TYPE_CHECKING:
    from chatterbox.models.s3gen import S3Gen

__all__ = [
    "FEWEST_TOKENS",
    "TOKENS_PER_SECOND",
    "Mode",
    "Prompt",
    "Renderer",
    "Rendering",
    "render_whole",
]

Mode = Literal["window", "cached"]
T = TypeVar("T")

FEWEST_TOKENS: Final = 8  # of a first window; of fewer hardly any frame is final

TOKENS_PER_SECOND: Final = 25
_N_STEPS: Final = {False: 10, True: 2}  # upstream's, of a flow and of one of means
_PROMPT_SEED: Final = 0  # every sentence's, so that what is computed of a prompt serves all


class Renderer:
    """A loaded S3Gen, read only: nothing is left on the model, and many renderings share it.

    Args:
        s3gen: In evaluation mode.
        meanflow: Whether its flow is the distilled one of the turbo model.
        steps: Of the flow, if not upstream's 10, or 2 with ``meanflow``.

    Raises:
        ValueError: The model is not as said, or ``steps`` is not positive.
    """

    def __init__(self, s3gen: S3Gen, *, meanflow: bool, steps: int | None = None) -> None:
        if s3gen.training:
            raise ValueError("S3Gen must be in evaluation mode")
        if bool(s3gen.flow.decoder.estimator.meanflow) != meanflow:
            raise ValueError(f"the flow of this S3Gen is not one with meanflow={meanflow}")
        self.flow: Final = Flow(s3gen.flow, meanflow=meanflow)
        self.vocoder: Final = Vocoder(s3gen.mel2wav)
        self.fade: Final[Tensor] = s3gen.trim_fade
        self.n_tokens: Final = int(s3gen.flow.vocab_size)
        self.n_steps: Final = _N_STEPS[meanflow] if steps is None else _positive("steps", steps)
        self._like: Tensor = s3gen.flow.encoder_proj.weight
        with torch.inference_mode():
            self._steps = self.flow.steps(self.n_steps)

    def steps(self, n: int | None = None) -> Steps:
        if n is None or n == self.n_steps:
            return self._steps
        with torch.inference_mode():
            return self.flow.steps(_positive("n_steps", n))

    def kept_bytes(self, seconds: float, n_steps: int | None = None) -> int:
        """What ``cached`` keeps of so many seconds, of a reference or of a sentence.

        With S3Gen's own sizes, 230 MB of each second, and 23 MB with ``meanflow``.
        """
        of_token = self.flow.n_bytes_per_token(n_steps or self.n_steps)
        return int(seconds * TOKENS_PER_SECOND * of_token)

    def prompt(self, gen: Mapping[str, Any], seconds: float | None = None) -> Prompt:
        """A voice's prompt.

        Args:
            gen: What upstream's ``embed_ref`` returns; tensors or arrays.
            seconds: How much of the reference is used; the cost of a window falls with it. Its
                end is kept, because the sentence goes on from there.

        Raises:
            ValueError: There is no reference, or ``seconds`` is not positive.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"seconds must be positive, not {seconds}")
        with torch.inference_mode():
            like = self._like
            tokens = torch.as_tensor(gen["prompt_token"]).to(like.device).long().reshape(1, -1)
            mel = torch.as_tensor(gen["prompt_feat"]).to(like).reshape(1, -1, N_MELS)
            embedding = torch.as_tensor(gen["embedding"]).to(like).reshape(1, -1)
            # They can differ by a token or a frame; upstream cuts the tokens.
            end = min(tokens.shape[1], mel.shape[1] // FRAMES_PER_TOKEN)
            if end == 0:
                raise ValueError("the reference of the voice has no tokens, or no mel")
            n = end if seconds is None else min(end, max(1, round(seconds * TOKENS_PER_SECOND)))
            n_frames = end * FRAMES_PER_TOKEN
            drawn = noise(_PROMPT_SEED, Use.PROMPT, 0, n_frames, (N_MELS,)).to(like)
            speaker = self.flow.speaker(embedding)
            return Prompt(tokens[:, :end], mel[:, :n_frames], speaker, drawn[None]).tail(n)

    def remember(self, prompt: Prompt, n_steps: int | None = None) -> Generator[None, None, Prompt]:
        """Compute once what ``cached`` needs of a prompt in every sentence.

        That is all but the last 3 tokens, beyond which the encoder looks, and whole chunks of
        25; so up to a second of its beginning is dropped.

        Returns:
            The prompt, which then is as large as `kept_bytes` says. One that is shorter than a
            chunk and 3 tokens is returned as it is.
        """
        prompt = yield from _apart(remember(self.flow, prompt, self.steps(n_steps)))
        return prompt


class Rendering:
    """One sentence. To end it early, drop it; nothing of it is anywhere else.

    Args:
        prompt: In ``cached`` mode, one that `Renderer.remember` made saves its time.
        seed: Not negative; with it, equal tokens give equal sound.
        first_tokens: How many tokens the first chunk waits for, at least `FEWEST_TOKENS`;
            None for all there will be. Of n, a window gives the sound of 2 n - 11 frames of
            20 ms; ``cached`` waits for the end of a chunk and 3 tokens.
        chunk_tokens: By how many more the second chunk goes on; windows double them, up to
            four times as many, and ``cached`` takes whole chunks of 25.
        n_steps: Of the flow, if not the renderer's.
        fade_in: Whether the first 40 ms are silent and faded in, as upstream's are, against
            what spills over from the reference.

    Raises:
        ValueError: An argument is out of range, or the prompt was remembered for another
            number of steps.
    """

    def __init__(
        self,
        renderer: Renderer,
        prompt: Prompt,
        *,
        mode: Mode = "window",
        seed: int = 0,
        first_tokens: int | None = 20,
        chunk_tokens: int = 25,
        n_steps: int | None = None,
        fade_in: bool = True,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, but is {seed}")
        if first_tokens is not None and first_tokens < FEWEST_TOKENS:
            raise ValueError(f"first_tokens must be at least {FEWEST_TOKENS}, not {first_tokens}")
        _positive("chunk_tokens", chunk_tokens)
        steps = renderer.steps(n_steps)
        self._renderer = renderer
        self._seed = seed
        self._fade_in = fade_in
        self._tokens: list[int] = []
        self._last = False
        self._over = False
        self._sounds: list[NDArray[np.float32]] = []
        self._n_sounds = 0  # samples
        self._spoken = Spoken()
        self._mel: Windowed | Cached
        if mode == "window":
            self._mel = Windowed(renderer.flow, prompt, steps, seed, prompt.mel[:, :0])
        elif mode == "cached":
            if prompt.past and len(prompt.past.steps) != len(steps.lengths):
                raise ValueError("the prompt was remembered for another number of steps")
            self._mel = Cached.begin(renderer.flow, prompt, steps, seed)
        else:
            raise ValueError(f"mode must be 'window' or 'cached', not {mode!r}")
        self._ends = iter([sys.maxsize])
        if first_tokens is not None:
            self._ends = self._mel.ends(first_tokens, chunk_tokens)
        self._end = next(self._ends)

    @property
    def needed(self) -> int | None:
        """How many tokens the next chunk waits for, all counted; None: there is none."""
        if self._over:
            return None
        needed = self._end + self._mel.look_ahead
        return min(needed, len(self._tokens)) if self._last else needed

    def feed(self, tokens: Sequence[int], last: bool) -> None:
        """Take more tokens.

        Args:
            last: These are the last.

        Raises:
            ValueError: A token is not one of speech, or the last were there already.
        """
        if self._last and (tokens or not last):
            raise ValueError("the last tokens were there already")
        n = self._renderer.n_tokens
        for token in tokens:
            if not 0 <= token < n:
                raise ValueError(f"{token} is not a speech token: they are 0 to {n - 1}")
        self._tokens += tokens
        self._last = last
        self._over = self._over or (last and not self._tokens)

    def next_chunk(self) -> Iterator[None]:
        """Render the next chunk, a step at a time; one that is left half way has not begun.

        Raises:
            ValueError: The tokens it needs are not there.
        """
        if self.needed is None or len(self._tokens) < self.needed:
            raise ValueError(f"there are {len(self._tokens)} tokens, {self.needed} are needed")
        return _apart(self._steps())

    def take(self) -> NDArray[np.float32]:
        """The sound that was rendered since it was last taken: shape (n,), 24 kHz."""
        sound = np.concatenate([np.empty(0, np.float32), *self._sounds])
        self._sounds.clear()
        return sound

    def _steps(self) -> Generator[None, None, None]:
        # As if the end were not known before it is reached, or the sound would depend on when.
        last = len(self._tokens) < self._end + self._mel.look_ahead
        end = len(self._tokens) if last else self._end
        mel = yield from self._mel.advance(self._tokens, end, last=last)
        yield
        sound, spoken = self._renderer.vocoder.speak(
            mel.mel, mel.n_final, self._spoken, self._seed, last=last
        )
        fade = self._renderer.fade[self._n_sounds : self._n_sounds + len(sound)]
        if self._fade_in and len(fade):
            sound[: len(fade)] *= fade
        self._sounds.append(sound.float().cpu().numpy())
        self._n_sounds += len(sound)
        self._mel, self._spoken = mel, spoken
        self._over = last
        if not last:
            self._end = next(self._ends)


def render_whole(
    renderer: Renderer,
    prompt: Prompt,
    tokens: Sequence[int],
    *,
    mode: Mode = "window",
    seed: int = 0,
    n_steps: int | None = None,
    fade_in: bool = True,
) -> NDArray[np.float32]:
    """The sound of all of a sentence's tokens, as `Rendering` gives it at once."""
    rendering = Rendering(
        renderer,
        prompt,
        mode=mode,
        seed=seed,
        first_tokens=None,
        n_steps=n_steps,
        fade_in=fade_in,
    )
    rendering.feed(tokens, last=True)
    while rendering.needed is not None:
        for _ in rendering.next_chunk():
            pass
    return rendering.take()


def _apart(steps: Generator[None, None, T]) -> Generator[None, None, T]:
    """Take steps in inference mode, and be out of it between them: the mode is the thread's."""
    while True:
        with torch.inference_mode():
            try:
                next(steps)
            except StopIteration as end:
                done: T = end.value
                return done
        yield


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be positive, not {value}")
    return value
