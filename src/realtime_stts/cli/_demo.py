"""The demo: one real conversation, shown as it happens and left behind as files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from ..conversation import ConversationEngine, TemplateResponseGenerator
from ..engines import load_pause_detector, load_stt, load_tts
from ..testing import virtual_time
from ._call import Call, Phrase
from ._caller import CALLER_VOICE, PART, Line, rehearse, replay
from ._console import err, out, tell
from ._download import fetch
from ._keep import FILES, FREE_SPEECH, keep, legend
from ._recording import Recording
from ._screen import Screen, latency_table, same_words

__all__ = ["PART", "Line", "run_demo"]

_FAST = "fast: nobody waits, and little of the computing is in the times"


def run_demo(
    recording: Path | None,
    lines: Sequence[Line],
    output_dir: Path,
    *,
    stt: str,
    tts: str,
    fast: bool = False,
) -> bool:
    """Hold the conversation and write its files; return whether no turn failed.

    Args:
        recording: A person's voice; None lets eSpeak say the lines.
        lines: What eSpeak says, then.
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
        lines = ()
    output_dir.mkdir(parents=True, exist_ok=True)  # or fail before anybody has talked
    anyio.run(_fetch, stt, tts)  # on the real clock: a download is waited for
    options = virtual_time()[1] if fast else {}
    converse = partial(_converse, recorded, lines, stt, tts, fast)
    call = anyio.run(converse, backend_options=options)
    keep(call, output_dir, legend(_short(stt), _short(tts), *(["without waiting"] if fast else [])))
    _summarise(call, [line.text for line in lines if line.words], output_dir)
    return all(turn.error is None for turn in call.turns)


async def _fetch(stt: str, tts: str) -> None:
    await fetch(load_stt(stt), stt)
    await fetch(load_tts(tts), tts)


async def _converse(
    recorded: Phrase | None, lines: Sequence[Line], stt: str, tts: str, fast: bool
) -> Recording:
    texts = [line.text for line in lines if line.words]
    # PocketSphinx understands little of eSpeak, unless it knows what may be said.
    hints = {"phrases": texts} if texts and _is_pocketsphinx(stt) else {}
    async with AsyncExitStack() as engines:
        with err.status("loading the engines"):
            detector = load_pause_detector("silero")
            ears = await engines.enter_async_context(load_stt(stt, **hints))
            voice = await engines.enter_async_context(load_tts(tts))
            await ears.warmup()
            await voice.warmup()
            if recorded is None:
                async with load_tts("espeak") as caller:
                    phrases = await rehearse(caller, lines)
            else:
                phrases = [recorded]
        engine = ConversationEngine(
            stt=ears,
            tts=voice,
            responder=TemplateResponseGenerator(),
            pause_detector=detector,
        )
        _introduce(recorded, lines, stt, tts, fast)
        with Screen(out) as screen:
            return await Call(engine.session(), screen.show).hold(phrases)


def _introduce(
    recorded: Phrase | None, lines: Sequence[Line], stt: str, tts: str, fast: bool
) -> None:
    if recorded is None:
        n_phrases = sum(line.words for line in lines)
        n_over = sum(line.over is not None for line in lines)
        caller = f"A caller (espeak, {CALLER_VOICE['voice_id']}) says {_count(n_phrases, 'phrase')}"
        note = "PocketSphinx listens for these phrases and no others."
    else:
        n_over = 0
        caller = f"A recording of {recorded.audio.duration_seconds:.0f} s is played"
        note = FREE_SPEECH
    tell(f"{caller} to a bot that hears with {stt} and speaks with {tts}.")
    if n_over:
        tell(f"{_count(n_over, 'time')} the caller speaks while the bot does.")
    if _is_pocketsphinx(stt):
        tell(note)
    if fast:
        tell(_FAST)
    out.print()


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _short(spec: str) -> str:
    """An engine's name and its model's, without the folders of that."""
    name, colon, model = spec.partition(":")
    return f"{name}{colon}{Path(model).name}"


def _is_pocketsphinx(stt: str) -> bool:
    return stt.partition(":")[0] == "pocketsphinx"


def _summarise(call: Recording, texts: Sequence[str], output_dir: Path) -> None:
    metrics = [turn.metrics for turn in call.turns if turn.metrics and turn.reply_start is not None]
    if metrics:
        out.print(latency_table(metrics))
    if texts:
        heard: dict[int, list[str]] = {}  # a pause may have made two turns of one phrase
        said: dict[int, str] = {}
        for turn in call.turns:
            if turn.phrase is not None and turn.said:
                said[turn.phrase] = turn.said
                heard.setdefault(turn.phrase, []).append(turn.heard)
        n_right = sum(same_words(said[n], " ".join(words)) for n, words in heard.items())
        tell(f"heard {n_right} of {_count(len(texts), 'phrase')} right")
    tell(f"{call.duration:.1f} s of conversation:")
    for name, content in FILES.items():
        tell(f"  {output_dir / name}  ({content})")
