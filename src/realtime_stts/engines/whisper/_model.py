"""A loaded model, and a batch of windows on its way through it.

Everything is done on one thread, a step at a time. The features of the sounds are computed
once, and serve the language, every temperature, and the times of the words.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.audio import N_FRAMES
from whisper.model import Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer
from whisper.utils import compression_ratio

from .._batcher import Entry
from .._linear import thin_head, thinned
from .._worker import Withdrawn
from ._decoder import Decoder
from ._encoder import FRAMES_PER_POSITION, encode
from ._options import WhisperOptions
from ._reader import Decoded, Window, needs_fallback
from ._search import Hypothesis, Rules, Search, rules_for, search
from ._segments import slice_tokens
from ._words import align, heads_by_layer

__all__ = ["Model", "batch_key", "prepared"]

# On a CPU a batch of whole windows through the encoder takes as long as one after the other,
# and would be that much longer until a withdrawn call lets go; short ones gain a little.
_CPU_POSITIONS: Final = 1536

# A second of speech has some 6 tokens; a cut window that gives many times more is a loop.
_TOKENS_PER_SECOND: Final = 12.0
_SPARE_TOKENS: Final = 24

# In a batch that tries several temperatures: each row has keys of its own to keep.
_FALLBACK_ROWS: Final = 64


def batch_key(window: Window) -> tuple[Any, ...]:
    """What windows of one batch have in common."""
    options = window.options
    return (
        window.mel.shape,
        window.language is None,
        window.detect is None,
        options.task,
        options.temperatures,
        options.beam_size,
        options.best_of,
        options.patience,
        options.length_penalty,
        options.word_timestamps,
        options.timestamps,
        options.max_initial_timestamp,
        None if options.suppress_tokens is None else tuple(options.suppress_tokens),
        options.suppress_blank,
        options.sample_len,
        options.encoder,
    )


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint's model, ready to decode; made by `prepared`."""

    whisper: Whisper
    device: torch.device
    dtype: torch.dtype
    head: Callable[[Tensor], Tensor]
    heads: dict[int, list[int]]  # the alignment heads of each layer
    rules: dict[tuple[Any, ...], Rules]

    @property
    def n_mels(self) -> int:
        return int(self.whisper.dims.n_mels)

    def tokenizer(self, language: str | None, task: str) -> Tokenizer:
        return get_tokenizer(
            self.whisper.is_multilingual,
            num_languages=self.whisper.num_languages,
            language=language,
            task=task,
        )

    def run(self, entries: Sequence[Entry[Window, Decoded]]) -> Iterator[None]:
        """Decode a batch of windows that have a `batch_key` in common, a step at a time."""
        with torch.inference_mode():
            batch = _Batch(self, entries)
            steps = batch.steps()
        while True:
            with torch.inference_mode():  # not across a yield: the mode is the thread's
                try:
                    next(steps)
                except (StopIteration, Withdrawn):
                    return
            yield

    def rules_of(self, tokenizer: Tokenizer, options: WhisperOptions) -> Rules:
        suppress = options.suppress_tokens
        key = (
            None if suppress is None else tuple(suppress),
            options.suppress_blank,
            options.timestamps,
            options.max_initial_timestamp,
        )
        if key not in self.rules:
            if len(self.rules) >= 64:
                self.rules.clear()
            self.rules[key] = rules_for(
                tokenizer,
                self.whisper.dims.n_vocab,
                self.device,
                suppress=suppress,
                suppress_blank=options.suppress_blank,
                timestamps=options.timestamps,
                max_initial_timestamp=options.max_initial_timestamp,
            )
        return self.rules[key]


class _Batch:
    """Windows that are decoded together."""

    def __init__(self, model: Model, entries: Sequence[Entry[Window, Decoded]]) -> None:
        self._model = model
        self._entries = entries
        self._windows = [entry.request for entry in entries]
        self._options = self._windows[0].options
        self._languages = [window.language for window in self._windows]
        self._probabilities: list[float | None] = [None] * len(entries)

    def _own(self, place: int) -> WhisperOptions:
        """A window's options: what it is judged by need not be the others'."""
        return self._windows[place].options

    def _check(self) -> None:
        if all(entry.done for entry in self._entries):
            raise Withdrawn

    def steps(self) -> Iterator[None]:
        places = [*range(len(self._entries))]
        yield from self._decode(places, [window.mel for window in self._windows])

    def _decode(self, places: list[int], mels: Sequence[Tensor]) -> Iterator[None]:
        """Decode those windows, given as so much of their mel."""
        features: list[Tensor] = []
        for part in self._encoded(mels):
            features.append(part)
            yield
        decoder = Decoder(self._model.whisper, torch.cat(features), self._model.head, self._check)
        sot_states = yield from self._tell_languages(places, decoder)
        left = [*range(len(places))]  # the decoder's sounds
        rest = [*self._options.temperatures]
        tried = decoder.fork()
        failed: list[int] = []
        while left:
            n = 1
            if len(rest) < len(self._options.temperatures):
                # As rows of one batch, all the others take little longer than one.
                n = max(1, _FALLBACK_ROWS // (len(left) * (self._options.best_of or 1)))
                tried, sot_states = decoder.select(left), None
            temperatures, rest = rest[:n], rest[n:]
            answers: dict[int, list[Decoded | None]] = {
                at: [None] * len(temperatures) for at in range(len(left))
            }
            doubtful: list[int] = []
            found: list[tuple[int, Decoded]] = []
            searched = [places[i] for i in left]
            for done in self._search(searched, tried, temperatures, sot_states, answers):
                for at, rung, hypothesis in done:
                    if at not in answers:
                        continue
                    sound, place = left[at], searched[at]
                    decoded = self._read(place, hypothesis, temperatures[rung])
                    answers[at][rung] = decoded
                    if self._is_cut_short(mels[sound], place, decoded):
                        failed.append(sound)
                    elif chosen := self._chosen(answers[at], place, last=not rest):
                        found.append((sound, chosen))
                    elif None in answers[at]:
                        continue
                    else:
                        doubtful.append(sound)
                    del answers[at]
                # A row's times are read once the others need not wait for it.
                if not self._options.word_timestamps:
                    self._deliver(places, found)
                    found = []
                yield
            if found:
                yield from self._time(places, decoder, found)
            left = [i for i in doubtful if not self._entries[places[i]].done]
        again = [places[i] for i in failed if not self._entries[places[i]].done]
        if again:
            del decoder, features
            yield from self._decode(again, [self._windows[place].whole() for place in again])

    def _encoded(self, mels: Sequence[Tensor]) -> Iterator[Tensor]:
        model = self._model
        size = len(mels)
        if model.device.type == "cpu":
            size = max(1, _CPU_POSITIONS * FRAMES_PER_POSITION // mels[0].shape[-1])
        for start in range(0, len(mels), size):
            self._check()
            mel = torch.stack([*mels[start : start + size]]).to(model.device, model.dtype)
            yield encode(model.whisper, mel, self._check)

    def _tell_languages(
        self, places: Sequence[int], decoder: Decoder
    ) -> Generator[None, None, Tensor | None]:
        """Find the languages that are not known.

        Returns:
            The states after the start of transcript, where the decoder goes on from them.
        """
        whisper = self._model.whisper
        if self._languages[places[0]] is not None:
            return None
        if not whisper.is_multilingual:
            for place in places:
                self._languages[place] = "en"
            return None
        teller = decoder
        if self._windows[places[0]].detect is not None:
            mels = [self._windows[place].detect for place in places]
            parts = [*self._encoded([mel for mel in mels if mel is not None])]
            teller = Decoder(whisper, torch.cat(parts), self._model.head, self._check)
        tokenizer = self._model.tokenizer(None, self._options.task)
        states = teller.states([[tokenizer.sot]] * len(places))
        yield
        rows = whisper.decoder.token_embedding.weight[[*tokenizer.all_language_tokens]]
        codes = tokenizer.all_language_codes
        known = F.linear(states[:, 0], rows).float().softmax(dim=-1)
        likeliest = known.max(dim=-1)
        for place, index, probability in zip(
            places, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True
        ):
            self._languages[place], self._probabilities[place] = codes[index], probability
        if teller is decoder and not any(self._windows[place].prompt for place in places):
            return states[:, 0]
        decoder.begin()
        return None

    def _search(
        self,
        places: Sequence[int],
        decoder: Decoder,
        temperatures: Sequence[float],
        sot_states: Tensor | None,
        wanted: Container[int],
    ) -> Iterator[list[tuple[int, int, Hypothesis]]]:
        options, model = self._options, self._model
        tokenizers = [model.tokenizer(self._languages[place], options.task) for place in places]
        greedy = temperatures[0] == 0.0
        how = Search(
            tuple(temperatures),
            options.beam_size if greedy else None,
            None if greedy else options.best_of,
            options.patience,
            options.length_penalty,
            options.sample_len or model.whisper.dims.n_text_ctx // 2,
        )
        return search(
            decoder,
            model.rules_of(tokenizers[0], options),
            [
                _prompt(tokenizer, self._windows[place], options.timestamps)
                for place, tokenizer in zip(places, tokenizers, strict=True)
            ],
            how,
            sot=tokenizers[0].sot,
            no_speech_token=tokenizers[0].no_speech,
            drafts=[self._windows[place].draft for place in places],
            dice=[self._dice(place, temperatures) for place in places],
            sot_states=sot_states,
            wanted=lambda i: i in wanted and not self._entries[places[i]].done,
        )

    def _dice(self, place: int, temperatures: Sequence[float]) -> list[torch.Generator]:
        """What a window with a seed is drawn from, for each temperature."""
        seed = self._own(place).seed
        if seed is None:
            return []
        first = self._options.temperatures.index(temperatures[0])
        return [
            torch.Generator(self._model.device).manual_seed(seed + first + i)
            for i in range(len(temperatures))
        ]

    def _read(self, place: int, found: Hypothesis, temperature: float) -> Decoded:
        language = self._languages[place] or "en"
        tokenizer = self._model.tokenizer(language, self._options.task)
        tokens = (*self._windows[place].prefix, *found.tokens)
        text = str(tokenizer.decode(tokens)).strip()
        return Decoded(
            tokens,
            text,
            found.avg_logprob,
            found.no_speech,
            temperature,
            compression_ratio(text),
            language,
            self._probabilities[place],
        )

    def _chosen(
        self, answers: Sequence[Decoded | None], place: int, *, last: bool
    ) -> Decoded | None:
        """The answer of the lowest temperature that looks right; None if that is not known."""
        for decoded in answers:
            if decoded is None:
                return None
            if not needs_fallback(decoded, self._own(place)):
                return decoded
        return answers[-1] if last else None

    def _is_cut_short(self, mel: Tensor, place: int, decoded: Decoded) -> bool:
        """Whether a window without all of its silence went wrong, and the whole may not."""
        if mel.shape[-1] >= N_FRAMES:
            return False
        seconds = self._windows[place].n_frames / 100
        most = min(seconds * _TOKENS_PER_SECOND + _SPARE_TOKENS, 200)
        return len(decoded.tokens) > most or needs_fallback(decoded, self._own(place))

    def _time(
        self, places: Sequence[int], decoder: Decoder, found: list[tuple[int, Decoded]]
    ) -> Iterator[None]:
        """Hand over what was found, with the times of the words."""
        spoken = []
        for sound, decoded in found:
            place = places[sound]
            if self._entries[place].done or decoded.is_silence(self._own(place)):
                self._deliver(places, [(sound, decoded)])
                continue
            spoken.append((sound, decoded))
        if not spoken:
            return
        tokenizers = [self._model.tokenizer(d.language, self._options.task) for _, d in spoken]
        texts = []
        for (sound, decoded), tokenizer in zip(spoken, tokenizers, strict=True):
            n_frames = self._windows[places[sound]].n_frames
            slices = slice_tokens(decoded.tokens, tokenizer.timestamp_begin, n_frames)
            said = [token for piece in slices.pieces for token in piece.tokens]
            texts.append([token for token in said if token < tokenizer.eot])
        yield
        aligned = align(
            decoder.select([sound for sound, _ in spoken]),
            self._model.heads,
            tokenizers,
            texts,
            [self._windows[places[sound]].n_frames for sound, _ in spoken],
        )
        for (sound, decoded), words in zip(spoken, aligned, strict=True):
            self._deliver(places, [(sound, replace(decoded, words=tuple(words)))])

    def _deliver(self, places: Sequence[int], found: Sequence[tuple[int, Decoded]]) -> None:
        for sound, decoded in found:
            entry = self._entries[places[sound]]
            if not entry.done:
                entry.deliver(decoded)


def _prompt(tokenizer: Tokenizer, window: Window, timestamps: bool) -> list[int]:
    begin = [*tokenizer.sot_sequence]
    if not timestamps:
        begin.append(tokenizer.no_timestamps)
    before = [tokenizer.sot_prev, *window.prompt] if window.prompt else []
    return [*before, *begin, *window.prefix]


# -- getting a model ready ---------------------------------------------------------------


def prepared(whisper: Whisper, device: torch.device, dtype: torch.dtype, *, int8: bool) -> Model:
    """The model with its weights in the type it computes in.

    openai-whisper keeps float32 and converts every weight at every call. Its norms compute
    in float32 whatever comes, and its positions are added in it: those stay.

    Args:
        int8: Hold the weights of linear layers in 8 bits, and quantise what they are given
            as it comes (torch's dynamic quantisation). For a CPU; float32 otherwise.
    """
    whisper = whisper.to(device).eval().requires_grad_(False)
    heads = heads_by_layer(whisper.alignment_heads)
    if dtype != torch.float32:
        for module in whisper.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Embedding)):
                module.to(dtype)
    embedding = whisper.decoder.token_embedding.weight
    head: Callable[[Tensor], Tensor] = partial(F.linear, weight=embedding)
    if int8:
        head = _quantized(embedding)
        _quantize(whisper)
    elif device.type == "cpu" and dtype == torch.float32:
        head = partial(thin_head, embedding)
        thinned(whisper.decoder)
    return Model(whisper, device, dtype, head, heads, {})


def _quantize(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, _quantized(child.weight, child.bias))
        else:
            _quantize(child)


def _quantized(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    plain.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach(), requires_grad=False)
    wrapped = nn.Sequential(plain)
    quantized = torch.ao.quantization.quantize_dynamic(wrapped, {nn.Linear}, dtype=torch.qint8)
    return quantized[0]
