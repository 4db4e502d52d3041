"""The demo: one real conversation, shown as it happens and left behind as files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from ..conversation import ConversationEngine, TemplateResponseGenerator, TurnPolicy
from ..engines import load_pause_detector, load_stt, load_tts
from ..testing import virtual_time
from ._call import Call, Phrase
from ._caller import CALLER_VOICE, PHRASES, rehearse, replay
from ._console import err, out
from ._recording import Recording, Turn, event_fields
from ._screen import Screen, latency_table, same_words
from ._timeline import draw_timeline

__all__ = ["FILES", "PHRASES", "run_demo"]

FILES = {
    "conversation.wav": "stereo: caller left, bot right",
    "caller.wav": "the caller alone",
    "reply.wav": "the bot alone",
    "timeline.png": "the picture: who spoke when, and every wait",
    "events.jsonl": "everything the session told its host",
}

_FAST = "fast: nobody waits, and little of the computing is in the times"


def run_demo(
    recording: Path | None,
    texts: Sequence[str],
    output_dir: Path,
    *,
    stt: str,
    tts: str,
    fast: bool = False,
) -> bool:
    """Hold the conversation and write its files; return whether no turn failed.

    Args:
        recording: A person's voice; None lets eSpeak say the texts.
        texts: What eSpeak says, then.
        output_dir: Where the files go. They appear together, once all is done.
        stt: The name of the engine that listens.
        tts: And of the one that answers.
        fast: Hold the very same call on virtual time, without waiting.

    Raises:
        RealtimeSTTSError: An engine or the recording cannot be used.
        OSError: A file cannot be read or written.
    """
    recorded = None if recording is None else replay(recording)
    if recorded is not None:
        texts = ()
    with _staged(output_dir) as stage:
        options = virtual_time()[1] if fast else {}
        converse = partial(_converse, recorded, texts, stt, tts, fast)
        call = anyio.run(converse, backend_options=options)
        _write(call, stage, _subtitle(stt, tts, fast=fast))
    _summarise(call, texts, output_dir)
    return all(turn.error is None for turn in call.turns)


async def _converse(
    recorded: Phrase | None, texts: Sequence[str], stt: str, tts: str, fast: bool
) -> Recording:
    policy = TurnPolicy()
    # PocketSphinx understands little of eSpeak, unless it knows what may be said.
    hints = {"phrases": [*texts]} if texts and _is_pocketsphinx(stt) else {}
    async with AsyncExitStack() as engines:
        with err.status("loading the engines"):
            detector = load_pause_detector("silero")
            ears = await engines.enter_async_context(load_stt(stt, **hints))
            voice = await engines.enter_async_context(load_tts(tts))
            await ears.warmup()
            await voice.warmup()
            if recorded is None:
                async with load_tts("espeak") as caller:
                    phrases = await rehearse(caller, texts)
            else:
                phrases = [recorded]
        engine = ConversationEngine(
            stt=ears,
            tts=voice,
            responder=TemplateResponseGenerator(),
            pause_detector=detector,
            policy=policy,
        )
        _introduce(recorded, texts, stt, tts, fast)
        with Screen(out) as screen:
            return await Call(engine.session(), policy, screen.show).hold(phrases)


def _introduce(
    recorded: Phrase | None, texts: Sequence[str], stt: str, tts: str, fast: bool
) -> None:
    if recorded is None:
        caller = (
            f"A caller (espeak, {CALLER_VOICE['voice_id']}) says {_count(len(texts), 'phrase')}"
        )
        note = "PocketSphinx listens for these phrases and no others."
    else:
        caller = f"A recording of {recorded.audio.duration_seconds:.0f} s is played"
        note = (
            "PocketSphinx is a recogniser of the 2000s with a small model: of free speech "
            "expect some words right and many wrong."
        )
    _tell(f"{caller} to a bot that hears with {stt} and speaks with {tts}.")
    if _is_pocketsphinx(stt):
        _tell(note)
    if fast:
        _tell(_FAST)
    out.print()


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _is_pocketsphinx(stt: str) -> bool:
    return stt.partition(":")[0] == "pocketsphinx"


def _tell(text: str) -> None:
    out.print(text, markup=False, soft_wrap=not out.is_terminal)


def _subtitle(stt: str, tts: str, *, fast: bool) -> str:
    parts = [
        f"{stt} hears, {tts} speaks",
        "shaded: speech as silero detects it; the wait is counted from where it ends",
    ]
    return "   ·   ".join([*parts, _FAST] if fast else parts)


def _write(call: Recording, stage: Path, subtitle: str) -> None:
    with err.status("drawing the timeline"):
        call.caller.to_file(stage / "caller.wav")
        call.bot.to_file(stage / "reply.wav")
        call.stereo().to_file(stage / "conversation.wav")
        lines = [
            json.dumps(
                {"t": round(moment.t, 4), "type": type(moment.event).__name__}
                | event_fields(moment.event),
                ensure_ascii=False,
            )
            for moment in call.moments
        ]
        (stage / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (stage / "timeline.png").write_bytes(draw_timeline(call, subtitle))


def _summarise(call: Recording, texts: Sequence[str], output_dir: Path) -> None:
    metrics = [turn.metrics for turn in call.turns if turn.metrics and turn.reply_start is not None]
    if metrics:
        out.print(latency_table(metrics))
    if texts:
        heard: dict[int, list[str]] = {}  # a pause may have made two turns of one phrase
        for turn in call.turns:
            if turn.phrase is not None:
                heard.setdefault(turn.phrase, []).append(turn.heard)
        n_right = sum(same_words(texts[n], " ".join(words)) for n, words in heard.items())
        _tell(f"heard {n_right} of {len(texts)} phrases right")
    n_late = sum(_waited(turn) > 0.1 for turn in call.turns)
    if n_late:
        answers = "1 answer was" if n_late == 1 else f"{n_late} answers were"
        _tell(
            f"{answers} heard later than made: the bot was still speaking, or this machine "
            "could not keep up; the timeline shows the whole wait"
        )
    _tell(f"{call.duration:.1f} s of conversation:")
    for name, content in FILES.items():
        _tell(f"  {output_dir / name}  ({content})")


def _waited(turn: Turn) -> float:
    """Seconds from an answer's first sound until it was played."""
    if turn.latency is None or turn.metrics is None or turn.metrics.time_to_first_audio is None:
        return 0.0
    return turn.latency - turn.metrics.time_to_first_audio


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder for the files of ``folder``, which they reach together or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".unfinished-") as stage:
        yield Path(stage)
        for file in Path(stage).iterdir():
            file.replace(folder / file.name)
