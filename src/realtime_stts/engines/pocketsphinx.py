"""Speech to text with PocketSphinx: nothing to download, no GPU, answers while it listens.

The package (https://github.com/cmusphinx/pocketsphinx) brings an American English model of
the 2000s. Of free speech it gets many words wrong. Told what may be said, as phrases, a
grammar or keyphrases, it is quick and hard to fool.

Two things decide how well it hears. Its features are relative to the mean of the recording,
which the decoder by itself begins to know after five seconds; here the first second is
heard before it is decoded, and its mean taken. And a grammar needs wide beams, and no
second pass over the lattice, which gives sentences that the grammar has not.

The decoder computes with Python's interpreter lock held, so it is given ten milliseconds
of audio at a time; then other threads have their turn, and a withdrawn call ends.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from itertools import takewhile
from math import exp, log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

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
_FRAME: Final = 2 * _SAMPLE_RATE // 100  # bytes between the model's frames, 10 ms
_WINDOW: Final = 2 * 410  # bytes of its first one
_HEAD: Final = 2 * _SAMPLE_RATE  # bytes heard before decoding begins, 1 s
_STEP: Final = 20 * _FRAME  # bytes decoded before others have their turn, 0.2 s

# Of 336 utterances of 14 phrases in 6 eSpeak voices, the library's beams get 313 right and
# these 334, in 0.02 s for each second. Free speech is decoded in 0.35 s for each: a second
# pass takes as long again, all of it with the interpreter's lock held, and gains nothing.
_WIDE: Final = {"lm": None, "bestpath": False, "beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}
_FREE: Final = {"dict": _DICTIONARY, "fwdflat": False, "maxhmmpf": 10_000, "maxwpf": 20}

# How much likelier the best model of any sound is than a word's, in nats a frame, where the
# word is as likely wrong as right. On the utterances above, 1 in 300 has a word below it;
# of other speech, 4 in 5.
_DOUBTFUL: Final = 8.5
_SCORE_SCALE: Final = 1 << 10  # the decoder's acoustic scores are shifted by 10 bits

_KEYPHRASE_THRESHOLD: Final = 1e-20


class _Listener:
    """One decoder and the utterance it hears; every method blocks and needs the worker."""

    def __init__(self, decoder: Any, *, restricted: bool, spotting: bool) -> None:
        self._decoder = decoder
        self._restricted, self._spotting = restricted, spotting
        self._initial_mean = decoder.get_cmn(False)
        self._hearing = False

    def begin(self) -> None:
        """Listen to a new utterance, whatever became of the last one."""
        if self._hearing:
            self._decoder.end_utt()
        self._hearing = False
        self._resampler = StreamResampler(_SAMPLE_RATE)
        self._pending = bytearray()
        self._text = ""

    def hear(self, audio: AudioData | None, job: Job) -> TranscriptionResult | None:
        """Take ``audio``, if any, and decode a step; return the hypothesis if it is new."""
        if audio is not None:
            self._pending += self._resampler.push(audio.decoded()).data
        if not self.behind:
            return None
        self._decode(min(len(self._pending), _STEP) // _FRAME * _FRAME, job)
        hypothesis = self._result(partial=True)
        if hypothesis.text == self._text:
            return None
        self._text = hypothesis.text
        return hypothesis

    @property
    def behind(self) -> bool:
        """Whether there is something to decode now."""
        return len(self._pending) >= (_FRAME if self._hearing else _HEAD)

    def end(self, job: Job) -> TranscriptionResult:
        """There is no more audio: decode what is left."""
        self._pending += self._resampler.flush().data
        if not self._hearing and len(self._pending) < _WINDOW:
            return TranscriptionResult("", "en", [])
        self._decode(len(self._pending), job)
        self._decoder.end_utt()
        self._hearing = False
        return self._result(partial=False)

    def _decode(self, n_bytes: int, job: Job) -> None:
        """Decode so much of what is pending."""
        if not self._hearing:
            self._start()
        for at in range(0, n_bytes, _FRAME):
            job.check()
            self._decoder.process_raw(bytes(self._pending[at : min(at + _FRAME, n_bytes)]))
        del self._pending[:n_bytes]

    def _start(self) -> None:
        decoder, head = self._decoder, bytes(self._pending[:_HEAD])
        decoder.set_cmn(self._initial_mean)
        decoder.start_utt()
        decoder.process_raw(head, no_search=True, full_utt=True)
        decoder.end_utt()
        decoder.set_cmn(decoder.get_cmn(True))
        decoder.start_utt()
        self._hearing = True

    def _result(self, *, partial: bool) -> TranscriptionResult:
        # Without a hypothesis, the segments are those of an earlier one.
        segments = self._decoder.seg() if self._decoder.hyp() else ()
        words = self._words(segments or (), partial=partial)
        if self._spotting:
            phrases = [TranscriptionSegment(word.text, word.start, word.end) for word in words]
            text = " ".join(word.text for word in words)
            return TranscriptionResult(text, "en", phrases, partial=partial)
        if self._restricted:
            sure = [*takewhile(_is_likely, words)]
            words = sure if partial or len(sure) == len(words) else []
        if not words:
            return TranscriptionResult("", "en", [], partial=partial)
        text, confidence = " ".join(word.text for word in words), _confidence(words)
        segment = TranscriptionSegment(text, words[0].start, words[-1].end, confidence)
        return TranscriptionResult(text, "en", [segment], confidence, partial, words)

    def _words(self, segments: Iterable[Any], *, partial: bool) -> list[TranscriptionWord]:
        words: list[TranscriptionWord] = []
        for segment in segments:
            text = re.sub(r"\(\d+\)$", "", segment.word.strip())  # "and(2)": another way to say it
            if text[:1] in "<[(+":  # silence, noise, and joints of the grammar
                continue
            # Keyphrases, found independently, may overlap.
            start = max(segment.start_frame / 100, words[-1].end if words else 0.0)
            end = max((segment.end_frame + 1) / 100, start)
            if self._spotting or (partial and not self._restricted):
                confidence = None
            elif self._restricted:
                confidence = _acoustic_confidence(segment)
            else:
                confidence = min(1.0, segment.prob)  # a posterior, 1.004 at times
            words.append(TranscriptionWord(text, start, end, confidence))
        return words


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
    second of audio. What is said outside of ``phrases`` or ``grammar`` gives a text of "".

    A word's confidence comes from the decoder's lattice, or, where the engine is restricted
    and there is no other word to compare with, from how well the sound fits the word. That
    of keyphrases is None. A result's is the mean of its words', by their length.

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
            one; a word is not in the dictionary; ``replicas`` is less than 1. A grammar's
            syntax is looked at when it is loaded.
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
                        hypothesis = await self._run(
                            lambda job, taken=taken: listener.hear(taken, job)
                        )
                        if hypothesis is not None:
                            yield hypothesis
                yield await self._run(listener.end)
            finally:
                listeners.give_back(listener)
        finally:
            slots.release()

    async def is_available(self) -> bool:
        return Path(_ACOUSTIC_MODEL).is_dir()

    def _load(self) -> _Listeners:
        return _Listeners(self._listener)

    def _warm_up(self, model: _Listeners) -> None:
        listeners = [model.take() for _ in range(self._replicas)]
        for listener in listeners:
            listener.hear(AudioData.silence(0.1, _SAMPLE_RATE), Job())
            listener.end(Job())
            model.give_back(listener)

    def _listener(self) -> _Listener:
        restricted = bool(self._pronunciations)
        options = {"dict": None, **_WIDE} if restricted else _FREE
        decoder = pocketsphinx.Decoder(hmm=_ACOUSTIC_MODEL, loglevel="FATAL", **options)
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
        elif restricted:
            decoder.add_jsgf_string("restricted", self._grammar)
        if restricted:
            decoder.activate_search("restricted")
        return _Listener(decoder, restricted=restricted, spotting=bool(self._keyphrases))

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


def _is_likely(word: TranscriptionWord) -> bool:
    return word.confidence is not None and word.confidence >= 0.5


def _acoustic_confidence(segment: Any) -> float:
    n_frames = segment.end_frame - segment.start_frame + 1
    nats = log(max(segment.ascore, 1e-300)) * _SCORE_SCALE / n_frames
    return 1 / (1 + exp(-nats - _DOUBTFUL))


def _confidence(words: list[TranscriptionWord]) -> float | None:
    """The mean of the words' confidences, by their length."""
    weighed = [
        (word.confidence, word.end - word.start) for word in words if word.confidence is not None
    ]
    if not weighed:
        return None
    mean = sum(confidence * length for confidence, length in weighed) / sum(
        length for _, length in weighed
    )
    return min(1.0, mean)


def _normalised(option: str, phrases: Iterable[str]) -> list[str]:
    """The phrases in the dictionary's spelling: lower case, and no sign but the apostrophe."""
    if isinstance(phrases, str):
        raise ValueError(f"{option} is a list of texts, not one text")
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
