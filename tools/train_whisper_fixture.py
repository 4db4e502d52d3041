"""Train the Whisper checkpoint of the tests on eSpeak's speech, which it makes itself.

Two layers of encoder and of decoder, 128 wide, with the multilingual tokenizer: it knows
25 English words and 11 German ones, the times of phrases, prompts, silence, and words that
the end of the sound cuts off. It takes some 25 minutes on two cores:

    python -m tools.train_whisper_fixture

What makes so small a model learn so much so soon: clips are cut to their length, but for a
few that fill the window of 30 seconds; the loss is over the tokens it uses; the rows of the
time tokens begin as the sinusoids which the encoder gives its positions, and a time is
right if it is nearly so.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from realtime_stts.engines.espeak import ESpeakTTSEngine
from tools.whisper_fixture import STORED, expand, store

RATE = 16_000
DIMS = ModelDimensions(80, 1500, 128, 4, 2, 51865, 448, 128, 4, 2)

WORDS = {
    "en": "hello there how is the weather today tell me a joke what time it thank you very "
    "much good bye yes no please stop now".split(),
    "de": "hallo guten morgen danke bitte ja nein wie spät ist es".split(),
}
PHRASES = {
    "en": [
        "hello there", "how is the weather today", "tell me a joke", "what time is it",
        "thank you very much", "good bye", "please stop now", "yes please", "no thank you",
        "what is the time now", "how is it there", "tell me the time please",
    ],
    "de": ["guten morgen", "wie spät ist es", "danke", "ja bitte", "nein danke", "hallo"],
}  # fmt: skip
ACCENTS = {"en": ["en-us", "en-gb", "en-gb-x-rp"], "de": ["de"]}
VOICES = (
    "f1 f2 f3 f5 m1 m2 m4 m5 m6 m7 m8 alex alicia andrea annie denis diogo gene henrique hugo "
    "jacky lee marco mario michael reed adam anika antonio aunty belinda benjamin boris caleb "
    "david ed edward grandma grandpa gustave ian iven john linda max michel miguel norbert "
    "pablo paul pedro quincy robert sandro shelby steph travis victor zac"
).split()
HELD_OUT = "f4 m3 andy mike2 marcelo rob klatt2 steph2".split()  # never heard in training


@dataclass(frozen=True)
class Spoken:
    """A phrase and its sound."""

    text: str
    language: str
    samples: np.ndarray  # 16 kHz float32, without silence around
    ends: tuple[float, ...] = ()  # s; where each word ends, if it is known


# -- the speech --------------------------------------------------------------------------


class Speaker:
    """eSpeak, at 16 kHz and without the silence around."""

    def __init__(self) -> None:
        self._tts = ESpeakTTSEngine()

    async def say(self, text: str, language: str, chance: random.Random, voices: Sequence[str]):
        voice = f"{chance.choice(ACCENTS[language])}+{chance.choice(voices)}"
        return await self.say_as(text, language, voice, chance)

    async def say_as(self, text: str, language: str, voice: str, chance: random.Random) -> Spoken:
        config = {
            "voice_id": voice,
            "rate": chance.randint(120, 220),
            "pitch": chance.randint(30, 70),
        }
        audio = (await self._tts.synthesize(text, config)).audio_data.resampled(RATE)
        return Spoken(text, language, trimmed(audio.samples[:, 0]))


def trimmed(samples: np.ndarray) -> np.ndarray:
    """The samples without the silence around them."""
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples


def random_phrase(language: str, chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(PHRASES[language])
    return " ".join(chance.choices(WORDS[language], k=chance.randint(1, 6)))


async def record(n: int, seed: int, voices: Sequence[str]) -> list[Spoken]:
    """Phrases by many voices; a third of them word by word, whose ends are known."""
    chance, speaker = random.Random(seed), Speaker()
    phrases = []
    for i in range(n):
        language = "de" if chance.random() < 0.2 else "en"
        text = random_phrase(language, chance)
        if i % 3:
            phrases.append(await speaker.say(text, language, chance, voices))
            continue
        voice = f"{chance.choice(ACCENTS[language])}+{chance.choice(voices)}"
        pieces, ends, at = [], [], 0
        for word in text.split():
            said = await speaker.say_as(word, language, voice, chance)
            pause = np.zeros(chance.randint(0, RATE // 8), np.float32)
            at += said.samples.size
            ends.append(at / RATE)
            at += pause.size
            pieces += [said.samples, pause]
        samples = np.concatenate(pieces[:-1])
        phrases.append(Spoken(text, language, samples, tuple(ends)))
    return phrases


# -- examples ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    mel: torch.Tensor  # (80, n_frames), even
    tokens: list[int]
    n_context: int  # how many of the first tokens are given, and not learnt


class Maker:
    """Makes examples of the recorded phrases."""

    def __init__(self, phrases: list[Spoken], seed: int) -> None:
        self._chance = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._phrases = {
            language: [phrase for phrase in phrases if phrase.language == language]
            for language in WORDS
        }
        self._tokenizers = {
            language: get_tokenizer(True, num_languages=99, language=language, task="transcribe")
            for language in WORDS
        }

    def make(self, longest: float) -> Example:
        """An example of up to so many seconds; all that fits in 30 if it is 30."""
        chance = self._chance
        language = "de" if chance.random() < 0.2 else "en"
        tokenizer = self._tokenizers[language]
        if chance.random() < 0.05:
            sound = np.zeros(int(RATE * chance.uniform(0.3, longest)), np.float32)
            mel = self._mel(sound, longest, chance.choice([1e-4, 1e-3, 5e-3, 3e-2]))
            return Example(mel, [tokenizer.sot, tokenizer.no_speech, tokenizer.eot], 1)

        pieces: list[np.ndarray] = []
        spoken: list[tuple[str, float, float | None]] = []
        at = 0.0
        cut = False
        wanted = chance.choice([1, 1, 1, 2, 2, 3]) if longest < 30 else chance.randint(1, 9)
        while len(spoken) < wanted and not cut:
            phrase = chance.choice(self._phrases[language])
            gap = chance.uniform(0.0, 0.8) if chance.random() < 0.5 else chance.uniform(0, 0.15)
            if spoken:
                gap = chance.uniform(0.25, 1.2 if longest < 30 else 3.0)
            length = phrase.samples.size / RATE
            if at + gap + length > longest - 0.1:
                break
            pieces.append(np.zeros(int(gap * RATE), np.float32))
            at = sum(piece.size for piece in pieces) / RATE
            if phrase.ends and chance.random() < 0.4:
                phrase, cut = self._cut_off(phrase), True
            pieces.append(phrase.samples)
            end = at + phrase.samples.size / RATE
            if phrase.text or not cut:
                spoken.append((phrase.text, at, None if cut else end))
            at = end
        if not spoken:
            return self.make(longest)
        if not cut:
            pieces.append(np.zeros(int(chance.uniform(0.0, 1.2) * RATE), np.float32))
        sound = np.concatenate(pieces)
        tokens = self._tokens(tokenizer, spoken)
        context = self._context(tokenizer, language)
        mel = self._mel(sound, longest, 10 ** chance.uniform(-4.5, -2.0))
        return Example(mel, context + tokens, len(context) + 1)

    def _cut_off(self, phrase: Spoken) -> Spoken:
        """The phrase up to the middle of a word, and the text before that."""
        words = phrase.text.split()
        n = self._chance.randrange(len(words))
        start = phrase.ends[n - 1] if n else 0.0
        at = start + (phrase.ends[n] - start) * self._chance.uniform(0.0, 0.45)
        return Spoken(
            " ".join(words[:n]), phrase.language, phrase.samples[: max(400, int(at * RATE))]
        )

    def _tokens(
        self, tokenizer: Tokenizer, spoken: list[tuple[str, float, float | None]]
    ) -> list[int]:
        begin = tokenizer.timestamp_begin
        tokens = [*tokenizer.sot_sequence]
        timed = self._chance.random() < 0.7
        if not timed:
            tokens.append(tokenizer.no_timestamps)
        for text, start, end in spoken:
            said = tokenizer.encode(f" {text}{'' if end is None else '.'}") if text else []
            if timed:
                said = [begin + round(start / 0.02), *said]
                if end is not None:
                    said.append(begin + round(end / 0.02))
            tokens += said
        return [*tokens, tokenizer.eot]

    def _context(self, tokenizer: Tokenizer, language: str) -> list[int]:
        if self._chance.random() > 0.25:
            return []
        words = [random_phrase(language, self._chance) for _ in range(self._chance.randint(1, 3))]
        return [tokenizer.sot_prev, *tokenizer.encode(" " + ". ".join(words) + ".")]

    def _mel(self, sound: np.ndarray, longest: float, noise: float) -> torch.Tensor:
        gain = 10 ** self._chance.uniform(-1.0, 0.0)
        noisy = sound * gain + self._noise.standard_normal(sound.size).astype(np.float32) * noise
        mel = log_mel_spectrogram(noisy.astype(np.float32), padding=RATE * 30)
        end = 3000 if longest >= 30 else sound.size // 160 + self._chance.randint(4, 130)
        return mel[:, : min(3000, end // 2 * 2)]


# -- the model ---------------------------------------------------------------------------


def encode(model: Whisper, mel: torch.Tensor) -> torch.Tensor:
    """The encoder, for any length."""
    encoder = model.encoder
    x = F.gelu(encoder.conv1(mel))
    x = F.gelu(encoder.conv2(x)).permute(0, 2, 1)
    x = x + encoder.positional_embedding[: x.shape[1]]
    for block in encoder.blocks:
        x = block(x)
    return encoder.ln_post(x)


def new_model(tokenizer: Tokenizer) -> Whisper:
    model = Whisper(DIMS)
    with torch.no_grad():
        model.decoder.positional_embedding.normal_(0.0, 0.02)
        model.decoder.token_embedding.weight.normal_(0.0, 0.1)
        positions = model.encoder.positional_embedding
        times = torch.cat([positions, positions[-1:]])
        model.decoder.token_embedding.weight[tokenizer.timestamp_begin :] = times * 0.15
    return model


def used_tokens(tokenizer: Tokenizer) -> list[int]:
    texts = [f" {word}{stop}" for words in WORDS.values() for word in words for stop in ("", ".")]
    spoken = {token for text in texts for token in tokenizer.encode(text)}
    special = {tokenizer.to_language_token(language) for language in WORDS}
    special |= {tokenizer.sot, tokenizer.eot, tokenizer.sot_prev, tokenizer.no_speech}
    special |= {tokenizer.transcribe, tokenizer.no_timestamps}
    times = range(tokenizer.timestamp_begin, tokenizer.timestamp_begin + 1501)
    return sorted(spoken | special | {*times})


class Loss:
    """Cross entropy over the used tokens; a time next to the right one is nearly right."""

    def __init__(self, tokenizer: Tokenizer, used: list[int]) -> None:
        self._used = torch.tensor(used)
        self._row = torch.full((DIMS.n_vocab,), -1)
        self._row[self._used] = torch.arange(len(used))
        self._first_time = int(self._row[tokenizer.timestamp_begin])
        bins = torch.arange(1501.0)
        near = torch.exp(-0.5 * ((bins[:, None] - bins[None, :]) / 1.5) ** 2)
        self._near = near / near.sum(dim=1, keepdim=True)

    def __call__(
        self, model: Whisper, mel: torch.Tensor, examples: Sequence[Example]
    ) -> torch.Tensor:
        n = max(len(example.tokens) for example in examples) - 1
        inputs = torch.full((len(examples), n), examples[0].tokens[-1])
        targets = torch.full((len(examples), n), -1)
        for row, example in enumerate(examples):
            tokens = torch.tensor(example.tokens)
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            first = example.n_context - 1
            targets[row, first : len(tokens) - 1] = tokens[first + 1 :]
        decoder = model.decoder
        features = encode(model, mel)
        x = decoder.token_embedding(inputs) + decoder.positional_embedding[:n]
        for block in decoder.blocks:
            x = block(x, features, mask=decoder.mask)
        wanted = targets >= 0
        states = decoder.ln(x)[wanted]
        logits = states @ decoder.token_embedding.weight[self._used].T
        # The rows of the other tokens are stored as zeros: together they weigh this much.
        others = logits.new_full((len(logits), 1), log(DIMS.n_vocab - len(self._used)))
        logits = torch.cat([logits, others], dim=1)
        rows = self._row[targets[wanted]]
        logprobs = logits.log_softmax(dim=-1)
        is_time = rows >= self._first_time
        losses = -logprobs.gather(1, rows[:, None])[:, 0]
        spread = self._near[(rows[is_time] - self._first_time)]
        times = -(spread * logprobs[is_time, self._first_time : -1]).sum(dim=1)
        return (losses[~is_time].sum() + 0.5 * times.sum()) / len(rows)


def batches(maker: Maker, steps: int, chance: random.Random) -> Iterator[list[Example]]:
    for step in range(steps):
        full = step > steps * 0.15 and step % 8 == 0
        if full:
            yield [maker.make(30.0) for _ in range(12)]
        else:
            longest = chance.choice([4.0, 6.0, 6.0, 9.0])
            yield [maker.make(longest) for _ in range(32)]


def collate(examples: Sequence[Example]) -> torch.Tensor:
    """The clips as one batch, each filled up with its own silence."""
    n = max(example.mel.shape[1] for example in examples)
    mel = torch.empty(len(examples), 80, n)
    for row, example in enumerate(examples):
        mel[row] = example.mel.min()
        mel[row, :, : example.mel.shape[1]] = example.mel
    return mel


def train(phrases: list[Spoken], steps: int, seed: int) -> tuple[Whisper, list[int]]:
    torch.manual_seed(seed)
    tokenizer = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
    model, used = new_model(tokenizer), used_tokens(tokenizer)
    loss_of = Loss(tokenizer, used)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.06, final_div_factor=50
    )
    maker = Maker(phrases, seed)
    began, recent = time.monotonic(), 0.0
    for step, examples in enumerate(batches(maker, steps, random.Random(seed)), start=1):
        loss = loss_of(model, collate(examples), examples)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent += (loss.item() - recent) / min(step, 50)
        if step % 25 == 0:
            left = (time.monotonic() - began) / step * (steps - step)
            print(f"step {step}/{steps}  loss {recent:.3f}  {left / 60:.1f} min left", flush=True)
    return model.eval(), used


def checkpoint(model: Whisper) -> dict:
    return {"dims": vars(model.dims), "model_state_dict": model.state_dict()}


# -- what it has learnt ------------------------------------------------------------------


def error_rate(model: Whisper, phrases: Sequence[Spoken]) -> float:
    """The share of words wrong, through `transcribe` at its full window."""
    n_wrong = n_words = 0
    for phrase in phrases:
        sound = np.pad(phrase.samples, (RATE // 10, RATE // 2))
        said = model.transcribe(sound, language=phrase.language, fp16=False, temperature=0.0)
        heard = str(said["text"]).replace(".", "").split()
        n_wrong += edits(phrase.text.split(), heard)
        n_words += len(phrase.text.split())
    return n_wrong / n_words


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    row = [*range(len(heard) + 1)]
    for i, word in enumerate(said):
        above, row = row, [i + 1]
        for j, other in enumerate(heard):
            row.append(min(above[j] + (word != other), above[j + 1] + 1, row[j] + 1))
    return row[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--phrases", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--to", type=Path, default=STORED)
    args = parser.parse_args()
    print(f"recording {args.phrases} phrases", flush=True)
    phrases = asyncio.run(record(args.phrases, args.seed, VOICES))
    model, used = train(phrases, args.steps, args.seed)
    store(checkpoint(model), used, args.to)
    print(f"{args.to}: {args.to.stat().st_size / 1e6:.2f} MB")
    import whisper

    loaded = whisper.load_model(str(expand(args.to.with_suffix(".pt"), args.to)), device="cpu")
    for name, voices in (("voices it knows", VOICES), ("voices it does not", HELD_OUT)):
        heard = asyncio.run(record(60, args.seed + 1, voices))
        print(f"words wrong, {name}: {error_rate(loaded, heard):.1%}", flush=True)
    args.to.with_suffix(".pt").unlink()


if __name__ == "__main__":
    main()
