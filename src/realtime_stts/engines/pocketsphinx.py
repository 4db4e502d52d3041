"""Speech to text with PocketSphinx: nothing to download, no GPU, answers while it listens.

The package (https://github.com/cmusphinx/pocketsphinx) brings an American English model of
the 2000s. Of free speech it gets many words wrong. Told what may be said, as phrases, a
grammar or keyphrases, it is quick and reliable.

Two things decide how well it hears. Its features are relative to the mean of the recording,
which the decoder by itself begins to know after five seconds; here the first second of
sound is kept until it is all there, and its mean taken before it is decoded. And a grammar
needs wide beams, and no second pass over the lattice: that one gives sentences which the
grammar does not have.

The decoder computes with Python's interpreter lock held, so it is given ten milliseconds
of audio at a time; then other threads have their turn, and a withdrawn call ends.
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from functools import partial
from math import exp, log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import numpy as np
from anyio import Semaphore
from anyio.lowlevel import RunVar

from ..audio import AudioData, StreamResampler
from ..errors import EngineError, MissingExtraError
from ..protocols import TranscriptionResult, TranscriptionSegment, TranscriptionWord
from ._lifecycle import LocalEngine
from ._worker import Job, Worker

try:
    import pocketsphinx
except ImportError as exc:
    raise MissingExtraError("PocketSphinxSTTEngine", "local") from exc

__all__ = ["PocketSphinxSTTEngine"]

T = TypeVar("T")

_ACOUSTIC_MODEL: Final = pocketsphinx.get_model_path("en-us/en-us")
_DICTIONARY: Final = pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")

_SAMPLE_RATE: Final = 16_000  # Hz
_FRAME: Final = 2 * _SAMPLE_RATE // 100  # bytes of 10 ms, the model's frame
_STEP: Final = 20 * _FRAME  # bytes decoded before others have their turn

_LOUD: Final = 64  # a frame's root mean square where sound begins, -54 dB of full scale
_LEAD: Final = 30 * _FRAME  # bytes kept of the silence before it
_HEAD: Final = 100 * _FRAME  # bytes of sound whose mean is taken
_SHORTEST: Final = 10 * _FRAME  # bytes of sound that can be a word

# 14 phrases in 5 eSpeak voices at two rates, with and without noise and silence around them:
# of 672 utterances these settings get all right, and the library's own 607, in 0.02 s for each
# second. Free speech takes 0.35 s for each: a second pass over it would hold the interpreter's
# lock for as long again, and gain nothing.
_RESTRICTED: Final = {"lm": None, "bestpath": False, "beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}
_FREE: Final = {"dict": _DICTIONARY, "fwdflat": False, "maxhmmpf": 10_000, "maxwpf": 20}

# A grammar's sentence is nearly always found, if need be in other speech. What tells is by how
# much the likeliest sounds beat it, in nats a frame. At these figures a word, and a sentence,
# counts as likely wrong as right: of the utterances above they cost 8, and of 227 of other
# speech they let 34 pass.
_DOUBTFUL_WORD: Final = 9.0
_DOUBTFUL_SENTENCE: Final = 6.0
_SCORE_SCALE: Final = 1 << 10  # the decoder gives scores shifted by 10 bits

_KEYPHRASE_THRESHOLD: Final = 1e-20


class _Listener:
    """One decoder and the utterance it hears; every method blocks and needs the worker."""

    def __init__(
        self,
        decoder: Any,
        mean: Callable[[bytes], str],
        read: Callable[[Any, bool, int], TranscriptionResult],
    ) -> None:
        self._decoder = decoder
        self._mean = mean
        self._read = read
        self._decoding = False
        self.begin()

    def begin(self) -> None:
        """Listen to a new utterance, whatever became of the last one."""
        if self._decoding:
            self._decoder.end_utt()
        self._decoder.reinit_feat()  # else the last utterance's mean is felt in the next
        self._decoding = False
        self._resampler = StreamResampler(_SAMPLE_RATE)
        self._pending = bytearray()  # what is not decoded yet
        self._n_searched = 0  # bytes of it without sound
        self._onset: int | None = None  # where in it sound begins
        self._skipped = 0  # frames of silence that were dropped
        self._text = ""

    def hear(self, audio: AudioData | None, job: Job) -> TranscriptionResult | None:
        """Take ``audio``, if any, and decode a step; return the hypothesis if it is new."""
        if audio is not None:
            self._take(self._resampler.push(audio.decoded()))
        if not self.behind:
            return None
        self._decode(min(len(self._pending), _STEP) // _FRAME * _FRAME, job)
        result = self._result(True)
        if result.text == self._text:
            return None
        self._text = result.text
        return result

    @property
    def behind(self) -> bool:
        """Whether there is something to decode now."""
        if self._decoding:
            return len(self._pending) >= _FRAME
        return self._onset is not None and len(self._pending) >= self._onset + _HEAD

    def end(self, job: Job) -> TranscriptionResult:
        """There is no more audio: decode what is left."""
        self._take(self._resampler.flush())
        if not self._decoding and (
            self._onset is None or len(self._pending) < self._onset + _SHORTEST
        ):
            return TranscriptionResult("", "en", [])
        self._decode(len(self._pending), job)
        self._decoder.end_utt()
        self._decoding = False
        return self._result(False)

    def _take(self, audio: AudioData) -> None:
        self._pending += audio.data
        if self._onset is not None:
            return
        end = len(self._pending) // _FRAME * _FRAME
        searched = bytes(self._pending[self._n_searched : end])
        frames = np.frombuffer(searched, "<i2").reshape(-1, _FRAME // 2)
        loud = np.flatnonzero(np.square(frames, dtype=np.float32).mean(axis=1) >= _LOUD**2)
        if loud.size:
            end = self._n_searched + int(loud[0]) * _FRAME
        dropped = max(0, end - _LEAD)
        del self._pending[:dropped]
        self._skipped += dropped // _FRAME
        self._n_searched = end - dropped
        if loud.size:
            self._onset = self._n_searched

    def _decode(self, n_bytes: int, job: Job) -> None:
        """Decode so much of what is pending."""
        decoder = self._decoder
        if not self._decoding:
            onset = self._onset or 0
            decoder.set_cmn(self._mean(bytes(self._pending[onset : onset + _HEAD])))
            self._decoding = True
            decoder.start_utt()
        for at in range(0, n_bytes, _FRAME):
            job.check()
            decoder.process_raw(bytes(self._pending[at : min(at + _FRAME, n_bytes)]))
        del self._pending[:n_bytes]

    def _result(self, partial: bool) -> TranscriptionResult:
        # Without a hypothesis, the segments are those of an earlier one.
        segments = self._decoder.seg() if self._decoder.hyp() else None
        return self._read(segments or (), partial, self._skipped)


class _Gauge:
    """A decoder of a single sound, which takes the mean of some audio in no time."""

    def __init__(self) -> None:
        self._decoder = _decoder(dict=None, lm=None)
        self._decoder.add_word("a", "AH", False)
        self._decoder.add_jsgf_string("a", "#JSGF V1.0; grammar a; public <a> = a;")
        self._decoder.activate_search("a")

    def mean(self, audio: bytes) -> str:
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(audio, full_utt=True)
        decoder.end_utt()
        return str(decoder.get_cmn())


class _Listeners:
    """The model: listeners, made as they are needed and kept for the next ones."""

    def __init__(self, make: Callable[[], _Listener]) -> None:
        self._make = make
        self._idle = [make()]

    def take(self) -> _Listener:
        """One that nobody uses; blocks while it is made."""
        listener = self._idle.pop() if self._idle else self._make()
        listener.begin()
        return listener

    def give_back(self, listener: _Listener) -> None:
        """It may be in use for a moment still, by a thread that has the worker's lock."""
        self._idle.append(listener)


class PocketSphinxSTTEngine(LocalEngine[_Listeners]):
    """Speech to text with PocketSphinx, in American English.

    Text is in lower case without punctuation. The first partial result comes after one
    second of sound. Other speech than ``phrases`` or ``grammar`` allow gives a text of "",
    most of the time.

    In free speech a word's confidence is its posterior, which is known at the end, and a
    result's the mean of its words', by their length. With ``phrases`` or ``grammar`` both
    come from how well the sound fits. Keyphrases have none, and no words but their segments.

    Args:
        model: ``en-us``, the only one in the package.
        phrases: What may be said, one of these at a time. Case and punctuation do not
            matter; numbers are spelled out.
        grammar: What may be said, as a JSGF grammar
            (https://www.w3.org/TR/jsgf/), its words in lower case.
        keyphrases: What to find in any speech: each result names those heard so far, one
            segment each. A mapping gives each its threshold; the default is 1e-20, and a
            smaller one, such as 1e-40, finds more, wrongly too.
        replicas: Utterances that are heard at the same time; others wait. Each takes 95 MB
            of memory, or 6 MB with ``phrases``, ``grammar`` or ``keyphrases``.

    Raises:
        ValueError: There is no such model; more than one restriction is given, or an empty
            one; a word is not in the dictionary; a threshold is not in (0, 1]; ``replicas``
            is less than 1. A grammar's syntax is looked at when it is loaded.
    """

    name = "pocketsphinx"

    def __init__(
        self,
        model: str = "en-us",
        *,
        phrases: Iterable[str] | None = None,
        grammar: str | None = None,
        keyphrases: Iterable[str] | Mapping[str, float] | None = None,
        replicas: int = 2,
    ) -> None:
        super().__init__(Worker(self.name))
        if model != "en-us":
            raise ValueError(f"the model is en-us, the only one that comes along, not {model!r}")
        if sum(given is not None for given in (phrases, grammar, keyphrases)) > 1:
            raise ValueError("phrases, grammar and keyphrases exclude each other")
        if replicas < 1:
            raise ValueError(f"replicas is at least 1, not {replicas}")
        self._grammar = grammar
        self._keyphrases: dict[str, float] = {}
        words: set[str] = set()
        if phrases is not None:
            normal = _normalised("phrases", phrases)
            self._grammar = f"#JSGF V1.0; grammar phrases; public <any> = {' | '.join(normal)};"
            words = {word for phrase in normal for word in phrase.split()}
        elif grammar is not None:
            words = _words_of_jsgf(grammar)
        elif keyphrases is not None:
            normal = _normalised("keyphrases", keyphrases)
            thresholds = keyphrases if isinstance(keyphrases, Mapping) else {}
            given = [thresholds.get(phrase, _KEYPHRASE_THRESHOLD) for phrase in keyphrases]
            if not all(0 < threshold <= 1 for threshold in given):
                raise ValueError(f"a keyphrase's threshold is over 0 and at most 1, not {given}")
            self._keyphrases = dict(zip(normal, given, strict=True))
            words = {word for phrase in normal for word in phrase.split()}
        self._pronunciations = _pronunciations(words) if words else []
        self._replicas = replicas
        self._slots = RunVar[Semaphore]("pocketsphinx_slots")

    async def transcribe(
        self, audio: AudioData, language: str | None = None
    ) -> TranscriptionResult:
        """Transcribe a clip: what `stream` gives at last, however the clip is cut.

        Raises:
            ValueError: ``language`` is not English.
        """

        async def clip() -> AsyncGenerator[AudioData]:
            yield audio

        async with aclosing(clip()) as source, aclosing(self.stream(source, language)) as results:
            return [result async for result in results][-1]

    async def stream(
        self, audio: AsyncIterable[AudioData], language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        """Transcribe chunks as they arrive.

        Raises:
            ValueError: ``language`` is not English.
        """
        if language and language != "auto" and re.split("[-_]", language.lower())[0] != "en":
            raise ValueError(f"PocketSphinx hears English here, not {language!r}")
        slots = self._semaphore()
        await slots.acquire()
        try:
            listeners, listener = await self._run(self._begin)
            try:
                async for chunk in audio:
                    rest: AudioData | None = chunk
                    while rest is not None or listener.behind:
                        taken, rest = rest, None
                        hypothesis = await self._run(partial(listener.hear, taken))
                        if hypothesis is not None:
                            yield hypothesis
                yield await self._run(listener.end)
            finally:
                listeners.give_back(listener)
        finally:
            slots.release()

    async def is_available(self) -> bool:
        return Path(_ACOUSTIC_MODEL).is_dir()  # noqa: ASYNC240 - one look, on this disk

    def _load(self) -> _Listeners:
        mean = _Gauge().mean
        return _Listeners(lambda: self._listener(mean))

    def _warm_up(self, model: _Listeners) -> None:
        listeners = [model.take() for _ in range(self._replicas)]
        tone = np.sin(np.arange(_SAMPLE_RATE // 5, dtype=np.float32))
        for listener in listeners:
            listener.hear(AudioData.from_samples(tone, _SAMPLE_RATE), Job())
            listener.end(Job())
            model.give_back(listener)

    def _listener(self, mean: Callable[[bytes], str]) -> _Listener:
        if not self._pronunciations:
            return _Listener(_decoder(**_FREE), mean, _read_speech)
        decoder = _decoder(dict=None, **_RESTRICTED)
        # A dictionary of the words needed is made in 10 ms; the whole one is read in 200.
        for word, phones in self._pronunciations:
            decoder.add_word(word, phones, False)
        if self._keyphrases:
            with TemporaryDirectory() as folder:
                file = Path(folder, "keyphrases")
                file.write_text(
                    "".join(f"{phrase} /{at:g}/\n" for phrase, at in self._keyphrases.items())
                )
                decoder.add_kws("restricted", str(file))
        else:
            decoder.add_jsgf_string("restricted", self._grammar)
        decoder.activate_search("restricted")
        return _Listener(decoder, mean, _read_keyphrases if self._keyphrases else _read_sentence)

    def _begin(self, job: Job) -> tuple[_Listeners, _Listener]:
        listeners = self._model()
        job.check()  # loading took a while
        return listeners, listeners.take()

    async def _run(self, step: Callable[[Job], T]) -> T:
        def translated(job: Job) -> T:
            try:
                return step(job)
            except RuntimeError as exc:  # all that the decoder raises
                raise EngineError(self.name, f"the decoder failed: {exc}") from exc

        return await self._worker.run(translated)

    def _semaphore(self) -> Semaphore:
        slots = self._slots.get(None)
        if slots is None:
            slots = Semaphore(self._replicas)
            self._slots.set(slots)
        return slots


def _decoder(**options: Any) -> Any:
    return pocketsphinx.Decoder(hmm=_ACOUSTIC_MODEL, loglevel="FATAL", **options)


# -- what a decoder's segments say -------------------------------------------------------


def _read_speech(segments: Iterable[Any], partial: bool, skipped: int) -> TranscriptionResult:
    """Free speech: its posteriors are known at the end."""
    words = [
        # The sum over the lattice is rounded, and 1.004 at times.
        _word(segment, skipped, None if partial else min(1.0, segment.prob))
        for segment in _spoken(segments)
    ]
    length = sum(word.end - word.start for word in words)
    confidence = None
    if words and not partial:
        weighed = ((word.confidence or 0.0) * (word.end - word.start) for word in words)
        confidence = min(1.0, sum(weighed) / length)
    return _utterance(words, confidence, partial)


def _read_sentence(segments: Iterable[Any], partial: bool, skipped: int) -> TranscriptionResult:
    """A grammar's sentence, or nothing if it is not likely; so far, its words if they are."""
    words: list[TranscriptionWord] = []
    nats, bridged, n_frames = 0.0, 0.0, 0
    doubtful = False
    for segment in segments:
        score = log(max(segment.ascore, 1e-300)) * _SCORE_SCALE
        if _is_filler(segment):
            # Silence between words costs nothing; sound that was taken for it counts against
            # them.
            bridged += score if words else 0.0
            continue
        word = _word(segment, skipped, _logistic(score / _n_frames(segment) + _DOUBTFUL_WORD))
        doubtful = doubtful or _is_doubtful(word.confidence)
        if partial and doubtful:
            break
        words.append(word)
        nats, bridged = nats + bridged + score, 0.0
        n_frames += _n_frames(segment)
    confidence = _logistic(nats / n_frames + _DOUBTFUL_SENTENCE) if words else None
    if _is_doubtful(confidence) or (doubtful and not partial):
        words, confidence = [], None
    return _utterance(words, confidence, partial)


def _read_keyphrases(segments: Iterable[Any], partial: bool, skipped: int) -> TranscriptionResult:
    """Every keyphrase found; they are found independently, and may overlap."""
    found: list[TranscriptionSegment] = []
    for segment in _spoken(segments):
        phrase = _word(segment, skipped, None)
        start = max(phrase.start, found[-1].end if found else 0.0)
        found.append(TranscriptionSegment(phrase.text, start, max(phrase.end, start)))
    text = " ".join(phrase.text for phrase in found)
    return TranscriptionResult(text, "en", found, partial=partial)


def _utterance(
    words: list[TranscriptionWord], confidence: float | None, partial: bool
) -> TranscriptionResult:
    if not words:
        return TranscriptionResult("", "en", [], partial=partial)
    text = " ".join(word.text for word in words)
    segment = TranscriptionSegment(text, words[0].start, words[-1].end, confidence)
    return TranscriptionResult(text, "en", [segment], confidence, partial, words)


def _is_filler(segment: Any) -> bool:
    """Whether it is silence, noise, or a joint of the grammar."""
    return segment.word[:1] in "<[(+"


def _spoken(segments: Iterable[Any]) -> Iterator[Any]:
    return (segment for segment in segments if not _is_filler(segment))


def _word(segment: Any, skipped: int, confidence: float | None) -> TranscriptionWord:
    text = re.sub(r"\(\d+\)$", "", segment.word.strip())  # "and(2)" is another way to say it
    start, end = skipped + segment.start_frame, skipped + segment.end_frame + 1
    return TranscriptionWord(text, start / 100, end / 100, confidence)


def _n_frames(segment: Any) -> int:
    return int(segment.end_frame - segment.start_frame + 1)


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


def _is_doubtful(confidence: float | None) -> bool:
    return confidence is None or confidence < 0.5


# -- what may be said --------------------------------------------------------------------


def _normalised(option: str, phrases: Iterable[str]) -> list[str]:
    """The phrases in the dictionary's spelling: lower case, and no sign but the apostrophe."""
    if isinstance(phrases, str):
        raise ValueError(f"{option} is a list of texts, not one text")  # noqa: TRY004 - as documented
    normal = [
        " ".join(re.sub(r"[^\w']|_", " ", phrase.lower().replace("’", "'")).split())  # noqa: RUF001
        for phrase in phrases
    ]
    if not normal or "" in normal:
        raise ValueError(f"{option} holds at least one text, and each has a word")
    return normal


def _words_of_jsgf(grammar: str) -> set[str]:
    """The words that a grammar can hear."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", grammar, flags=re.DOTALL)
    text = re.sub(r"#JSGF[^;]*;|\b(grammar|import)\s[^;]*;", " ", text)
    text = re.sub(r"<[^>]*>|\{[^}]*\}|/[^/]*/", " ", text)  # rules, tags and weights
    words = {*re.findall(r"[^\s=;|*+()\[\]\"]+", text)} - {"public"}
    if not words:
        raise ValueError("the grammar has no words")
    return words


def _pronunciations(words: set[str]) -> list[tuple[str, str]]:
    """Every way to say each word, as the decoder takes them: ``("and(2)", "AE N D")``.

    Raises:
        ValueError: Some are not in the dictionary.
    """
    found: list[tuple[str, str]] = []
    missing = set(words)
    with Path(_DICTIONARY).open(encoding="utf-8") as dictionary:
        for line in dictionary:
            entry, _, phones = line.rstrip().partition(" ")
            word = entry.partition("(")[0]
            if word in words:
                found.append((entry, phones))
                missing.discard(word)
    if missing:
        raise ValueError(
            f"not in PocketSphinx's dictionary: {', '.join(sorted(missing))}; "
            "it holds English words in lower case, and numbers spelled out"
        )
    return found
