"""What is said, given the sounds: greedy, sampled and beam search over batches of rows.

The rules and the order of things are those of openai-whisper's `decode`, so that the tokens
are the same. Three things differ. Rows that are done are handed over at once and leave the
batch. Several temperatures may be searched at once, as rows of one batch. And a greedy search
may be given a draft, tokens that are likely right since the same sound was heard before: one
pass over all of it tells how far they are what the search would have found, which costs
little more than one step (as in speculative decoding, Leviathan, Kalman and Matias 2023,
https://arxiv.org/abs/2211.17192).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import nan

import torch
from torch import Tensor
from whisper.tokenizer import Tokenizer

from ._decoder import Decoder

__all__ = ["Hypothesis", "Rules", "Search", "rules_for", "search"]


@dataclass(frozen=True, slots=True)
class Search:
    """How to search.

    Attributes:
        temperatures: 0 takes the likeliest token; above that, tokens are drawn. Each gives a
            hypothesis of its own.
        beam_size: Hypotheses kept; None for a greedy search. Only at temperature 0, alone.
        best_of: Samples drawn, the likeliest of which is taken. Only above temperature 0.
        patience: Finished hypotheses that end the search, in beam sizes.
        length_penalty: Google's alpha, in [0, 1]; None divides by the length.
        sample_len: Tokens at most.
    """

    temperatures: tuple[float, ...] = (0.0,)
    beam_size: int | None = None
    best_of: int | None = None
    patience: float = 1.0
    length_penalty: float | None = None
    sample_len: int = 224

    @property
    def group(self) -> int:
        """Rows for each sound."""
        return len(self.temperatures) * self.each

    @property
    def each(self) -> int:
        """Rows for each temperature."""
        return self.beam_size or self.best_of or 1


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What was found for one sound."""

    tokens: list[int]  # sampled ones, without the end of text
    sum_logprob: float  # natural logarithm; with the end of text
    no_speech: float  # probability, nan if the model cannot tell

    @property
    def avg_logprob(self) -> float:
        return self.sum_logprob / (len(self.tokens) + 1)


# -- which tokens are allowed ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """Which tokens may follow; made by `rules_for`."""

    never: Tensor  # float32 of shape (n_vocab,), 0 or minus infinity
    not_first: Sequence[int]
    eot: int
    timestamps: bool
    timestamp_begin: int
    no_timestamps: int
    last_initial: int | None  # the latest time that may come first

    def apply(self, logits: Tensor, sampled: Sequence[Sequence[int]]) -> None:
        """Rule out, in place, what may not follow what each row has sampled.

        Args:
            logits: Float32 of shape (n_rows, n_vocab).
        """
        logits += self.never
        first = [row for row, tokens in enumerate(sampled) if not tokens]
        for row in first:
            logits[row, self.not_first] = -torch.inf
        if not self.timestamps:
            return
        logits[:, self.no_timestamps] = -torch.inf
        for row, tokens in enumerate(sampled):
            self._pair(logits[row], tokens)
        # A time is taken where all times together are likelier than any text.
        times = logits[:, self.timestamp_begin :].logsumexp(dim=-1)
        text = logits[:, : self.timestamp_begin].amax(dim=-1)
        is_time = (times > text)[:, None]
        logits[:, : self.timestamp_begin].masked_fill_(is_time, -torch.inf)

    def _pair(self, logits: Tensor, tokens: Sequence[int]) -> None:
        """Times come in pairs, but for the first and the last, and do not go back."""
        begin = self.timestamp_begin
        if not tokens:
            logits[:begin] = -torch.inf
            if self.last_initial is not None:
                logits[self.last_initial + 1 :] = -torch.inf
            return
        after_time = tokens[-1] >= begin
        after_pair = after_time and (len(tokens) < 2 or tokens[-2] >= begin)
        if after_pair:
            logits[begin:] = -torch.inf
        elif after_time:
            logits[: self.eot] = -torch.inf
        times = [token for token in tokens if token >= begin]
        if times:
            # The second of a pair may be the same as the first; a segment has a length.
            earliest = times[-1] + (0 if after_time and not after_pair else 1)
            logits[begin:earliest] = -torch.inf


def rules_for(
    tokenizer: Tokenizer,
    n_vocab: int,
    device: torch.device,
    *,
    suppress: Sequence[int] | None,
    suppress_blank: bool,
    timestamps: bool,
    max_initial_timestamp: float | None,
) -> Rules:
    """The rules of a language and some options.

    Args:
        suppress: Tokens that never come; -1 stands for those of no speech, such as brackets.
        max_initial_timestamp: Seconds.
    """
    tokens = {token for token in suppress or () if token >= 0}
    if suppress and -1 in suppress:
        tokens |= {*tokenizer.non_speech_tokens}
    if suppress is not None and len(suppress) > 0:
        tokens |= {tokenizer.transcribe, tokenizer.translate, tokenizer.sot}
        tokens |= {tokenizer.sot_prev, tokenizer.sot_lm, tokenizer.no_speech}
    never = torch.zeros(n_vocab)
    never[sorted(tokens)] = -torch.inf
    last_initial = None
    if max_initial_timestamp:
        last_initial = tokenizer.timestamp_begin + round(max_initial_timestamp / 0.02)
    return Rules(
        never.to(device),
        [*tokenizer.encode(" "), tokenizer.eot] if suppress_blank else [],
        tokenizer.eot,
        timestamps,
        tokenizer.timestamp_begin,
        tokenizer.no_timestamps,
        last_initial,
    )


# -- the search --------------------------------------------------------------------------


@dataclass(slots=True)
class _Sound:
    """One sound's rows, while they are searched for."""

    number: int
    prompt: list[int]
    no_speech: float
    sampled: list[list[int]]  # by row
    sums: list[float]
    draft: Sequence[int] = ()
    dice: Sequence[torch.Generator] = ()  # by temperature
    told: set[int] = field(default_factory=set)  # the temperatures that are done
    finished: dict[tuple[int, ...], float] = field(default_factory=dict)  # of a beam search


def search(
    decoder: Decoder,
    rules: Rules,
    prompts: Sequence[Sequence[int]],
    how: Search,
    *,
    sot: int,
    no_speech_token: int | None,
    drafts: Sequence[Sequence[int]] = (),
    dice: Sequence[Sequence[torch.Generator]] = (),
    sot_states: Tensor | None = None,
    wanted: Callable[[int], bool] = lambda sound: True,
) -> Iterator[list[tuple[int, int, Hypothesis]]]:
    """Find what follows each prompt.

    Args:
        decoder: With one row for each sound, which holds the beginning of its prompt.
        prompts: Each sound's whole prompt.
        sot: The start-of-transcript token, after which silence is told.
        drafts: What a greedy search at temperature 0 is likely to find, for each sound.
        dice: What chance is drawn from, for each sound and temperature; without, from torch's
            own.
        sot_states: The decoder's states after the start of transcript, of shape (n, n_state),
            where it is already in the decoder.
        wanted: Whether a sound's result is still wanted; asked at each step.

    Yields:
        After each step what is done: a sound, by its place in ``prompts``, at a temperature,
            by its place in ``how``.
    """
    n = len(prompts)
    drafted = how.group == 1 and how.temperatures == (0.0,)
    sounds = [
        _Sound(
            i,
            [*prompts[i]],
            nan,
            [[]],
            [0.0],
            drafts[i] if drafted and drafts else (),
            dice[i] if dice else (),
        )
        for i in range(n)
    ]
    logits = _prefill(decoder, rules, sounds, how, sot, no_speech_token, sot_states)
    decoder.spread(how.group)
    for sound in sounds:
        sound.sampled = [[*tokens] for tokens in sound.sampled for _ in range(how.group)]
        sound.sums = [total for total in sound.sums for _ in range(how.group)]
    if how.group > 1:
        logits = logits.repeat_interleave(how.group, dim=0)
    n_ctx = decoder.n_ctx
    while True:
        rules.apply(logits, [tokens for sound in sounds for tokens in sound.sampled])
        if how.beam_size is None:
            _extend(sounds, logits, rules, how)
        else:
            _extend_beams(decoder, sounds, logits, rules, how)
        yield [
            (sound.number, place, _best(sound, place, rules.eot, how))
            for sound in sounds
            for place in _newly_done(sound, rules.eot, how, n_ctx)
        ]
        left = [
            i
            for i, sound in enumerate(sounds)
            if len(sound.told) < len(how.temperatures) and wanted(sound.number)
        ]
        if not left:
            return
        if len(left) < len(sounds):
            # Dropping copies the keys of all that stay, about what a step reads of them.
            decoder.keep(left)
            sounds = [sounds[i] for i in left]
        last = [tokens[-1:] for sound in sounds for tokens in sound.sampled]
        states = decoder.states(last)
        logits = decoder.logits(states[:, -1])


def _prefill(
    decoder: Decoder,
    rules: Rules,
    sounds: Sequence[_Sound],
    how: Search,
    sot: int,
    no_speech_token: int | None,
    sot_states: Tensor | None,
) -> Tensor:
    """Feed the prompts, and the drafts as far as they are right; the next logits."""
    fed = [*decoder.lengths]
    states = decoder.states(
        [[*s.prompt[start:], *s.draft] for s, start in zip(sounds, fed, strict=True)]
    )
    if sot_states is None:
        sot_states = states[range(len(sounds)), [sound.prompt.index(sot) for sound in sounds]]
    # All in one call: most of its time goes to reading a weight for each token there is.
    wanted: list[Tensor] = [sot_states]
    for row, (sound, start) in enumerate(zip(sounds, fed, strict=True)):
        end = len(sound.prompt) - 1 - start
        wanted.append(states[row, end : end + len(sound.draft) + 1])
    at_sot, *following = decoder.logits(torch.cat(wanted)).split([len(each) for each in wanted])
    if no_speech_token is not None:
        silence = at_sot.softmax(dim=-1)[:, no_speech_token].tolist()
        for sound, probability in zip(sounds, silence, strict=True):
            sound.no_speech = probability
    lengths, logits = [], []
    for sound, own in zip(sounds, following, strict=True):
        # The search itself finds one token at least.
        most = min(how.sample_len - 1, decoder.n_ctx - len(sound.prompt))
        n_right = _accept(sound, rules, own, most) if sound.draft else 0
        logits.append(own[n_right])
        lengths.append(len(sound.prompt) + n_right)
    decoder.cut(lengths)
    return torch.stack(logits)


def _accept(sound: _Sound, rules: Rules, logits: Tensor, most: int) -> int:
    """Take over the draft's tokens, up to the first that the search would not have found."""
    tokens, total = sound.sampled[0], 0.0
    ruled = logits[: len(sound.draft)].clone()
    rules.apply(ruled, [sound.draft[:i] for i in range(len(ruled))])
    found = ruled.argmax(dim=-1).tolist()
    for i, (token, likely) in enumerate(zip(sound.draft[:most], found, strict=False)):
        if token != likely or token == rules.eot:
            break
        total += float(ruled[i, token] - ruled[i].logsumexp(dim=-1))
        tokens.append(token)
    sound.sums[0] = total
    return len(tokens)


def _extend(sounds: Sequence[_Sound], logits: Tensor, rules: Rules, how: Search) -> None:
    """One more token for each row, the likeliest or one drawn."""
    greedy = how.temperatures == (0.0,)
    tokens = logits.argmax(dim=-1) if greedy else _drawn(sounds, logits, how)
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
    found = iter(zip(tokens.tolist(), logprobs.tolist(), strict=True))
    for sound in sounds:
        for row, sampled in enumerate(sound.sampled):
            token, logprob = next(found)
            if sampled and sampled[-1] == rules.eot:
                token, logprob = rules.eot, 0.0
            sampled.append(token)
            sound.sums[row] += logprob


def _drawn(sounds: Sequence[_Sound], logits: Tensor, how: Search) -> Tensor:
    by_temperature = logits.view(len(sounds), len(how.temperatures), how.each, -1)
    temperatures = torch.tensor(how.temperatures, device=logits.device)
    likely = (by_temperature / temperatures[:, None, None]).softmax(dim=-1)
    return torch.cat(
        [
            rows.multinomial(1, generator=dice)[:, 0]
            for sound, own in zip(sounds, likely, strict=True)
            for dice, rows in zip(sound.dice or [None] * len(own), own, strict=True)
        ]
    )


def _extend_beams(
    decoder: Decoder, sounds: Sequence[_Sound], logits: Tensor, rules: Rules, how: Search
) -> None:
    """The best continuations of each sound's rows become its rows."""
    size = how.group
    sums = torch.tensor([total for sound in sounds for total in sound.sums], device=logits.device)
    logprobs, tokens = logits.log_softmax(dim=-1).topk(size + 1)
    scores = (sums[:, None] + logprobs).view(len(sounds), -1).tolist()
    choices = tokens.view(len(sounds), -1).tolist()
    sources: list[int] = []
    for i, sound in enumerate(sounds):
        n = len(scores[i]) if sound.sampled[0] else size + 1  # at first all rows are alike
        ranked = sorted(range(n), key=scores[i].__getitem__, reverse=True)
        sampled: list[list[int]] = []
        sums_kept: list[float] = []
        room = max(1, round(size * how.patience)) - len(sound.finished)
        for at in ranked:
            row = at // (size + 1)
            sequence = [*sound.sampled[row], choices[i][at]]
            if sequence[-1] == rules.eot:
                if room > 0:
                    sound.finished[tuple(sequence)] = scores[i][at]
                    room -= 1
                continue
            sampled.append(sequence)
            sums_kept.append(scores[i][at])
            sources.append(i * size + row)
            if len(sampled) == size:
                break
        sound.sampled, sound.sums = sampled, sums_kept
    decoder.reorder(sources)


def _newly_done(sound: _Sound, eot: int, how: Search, n_ctx: int) -> list[int]:
    """The temperatures, by place, whose rows have just ended."""
    n = len(sound.sampled[0])
    full = n >= how.sample_len or len(sound.prompt) + n > n_ctx
    done = []
    for place in range(len(how.temperatures)):
        if place in sound.told:
            continue
        if how.beam_size is not None:
            ended = len(sound.finished) >= max(1, round(how.beam_size * how.patience))
        else:
            ended = all(tokens[-1] == eot for tokens in sound.sampled[_rows(place, how)])
        if full or ended:
            done.append(place)
    sound.told.update(done)
    return done


def _rows(place: int, how: Search) -> slice:
    """A temperature's, of those of a sound."""
    return slice(place * how.each, (place + 1) * how.each)


def _best(sound: _Sound, place: int, eot: int, how: Search) -> Hypothesis:
    if how.beam_size is None:
        rows = _rows(place, how)
        candidates = [*zip(sound.sampled[rows], sound.sums[rows], strict=True)]
    else:
        finished = dict(sound.finished)
        if len(finished) < how.beam_size:
            # As upstream: of equal sums the later row comes first.
            order = sorted(range(len(sound.sums)), key=sound.sums.__getitem__)
            for row in order[::-1][: how.beam_size - len(finished)]:
                finished[tuple(sound.sampled[row])] = sound.sums[row]
        candidates = [([*tokens], total) for tokens, total in finished.items()]
    spoken = [
        (tokens[: tokens.index(eot)] if eot in tokens else tokens, total)
        for tokens, total in candidates
    ]
    tokens, total = max(spoken, key=lambda each: _score(len(each[0]), each[1], how))
    return Hypothesis(tokens, total, sound.no_speech)


def _score(length: int, sum_logprob: float, how: Search) -> float:
    if how.length_penalty is None:
        return sum_logprob / max(1, length)
    return float(sum_logprob / ((5 + length) / 6) ** how.length_penalty)
