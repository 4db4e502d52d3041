"""Talk with the bot through the sound card, and watch how it listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from rich import box
from rich.table import Table
from rich.text import Text

from ..audio import AudioData
from ..conversation import (
    ConversationEngine,
    EchoResponseGenerator,
    Event,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    Session,
    TemplateResponseGenerator,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
)
from ..engines import load_stt, load_tts
from ..protocols import ResponseGenerator
from ._console import err, out, tell
from ._download import fetch
from ._keep import FILES, FREE_SPEECH, keep, legend
from ._keys import enter_pressed, unechoed
from ._meter import Meter
from ._recording import Moment
from ._screen import Screen, latency_table
from ._tape import Tape

if TYPE_CHECKING:  # its package is an extra of its own
    from ..integrations.microphone import AudioDevice, Microphone, Speaker

__all__ = ["Loudspeaker", "Settings", "Talk", "device_table", "run_talk"]

# s by which the session is ahead of the loudspeaker: that holds back up to 0.04 s for the
# resampler, and takes some 0.04 s at a time.
_LEAD: Final = 0.15
_REFRESH: Final = 0.08  # s between two looks at the meter


_RESPONDERS: Final[dict[str, Callable[[], ResponseGenerator]]] = {
    "template": TemplateResponseGenerator,
    "echo": lambda: EchoResponseGenerator(add_prefix=True),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a talk is held with. A device is its index, or words of its name, or the default."""

    stt: str
    tts: str
    mode: str = "template"  # or "echo": how the answers are made
    microphone: int | str | None = None
    speaker: int | str | None = None
    push_to_talk: bool = False
    output_dir: Path | None = None  # where its files go; None keeps nothing


class Loudspeaker(Protocol):
    """What plays the answers; `integrations.microphone.Speaker` is one."""

    def write(self, audio: AudioData) -> None: ...

    def flush(self) -> None: ...


class Talk:
    """One conversation between whoever the microphone hears and the bot.

    Args:
        session: A fresh one; the talk opens and closes it.
        speaker: Plays the answers.
        screen: Shows all that happens.
        tape: Keeps it, if given.
    """

    def __init__(
        self, session: Session, speaker: Loudspeaker, screen: Screen, tape: Tape | None = None
    ) -> None:
        self._session = session
        self._speaker = speaker
        self._screen = screen
        self._tape = tape
        self._heard = 0.0  # s
        self._ended: list[TurnEnded] = []
        self._n_failed = 0

    async def hold(
        self, microphone: AsyncIterable[AudioData], keys: AsyncGenerator[None] | None = None
    ) -> None:
        """Talk until the microphone ends.

        Args:
            microphone: What the user says.
            keys: Each begins a turn of the user, or ends it (push to talk).
        """
        began = anyio.current_time()
        async with self._session, anyio.create_task_group() as tasks:
            tasks.start_soon(self._session.feed, self._measured(microphone))
            if keys is not None:
                tasks.start_soon(self._obey, keys)
            async for event in self._session:
                self._play(event)
                moment = Moment(anyio.current_time() - began, event)
                self._screen.show(moment)
                if self._tape is not None:
                    self._tape.tell(moment)
            tasks.cancel_scope.cancel()

    def summarise(self) -> None:
        """Print where the time went, and how the turns ended."""
        metrics = [e.metrics for e in self._ended if e.metrics.time_to_first_audio is not None]
        if metrics:
            out.print(latency_table(metrics))
        outcomes = Counter[str](event.outcome for event in self._ended)
        if self._n_failed:
            outcomes["failed"] = self._n_failed
        n_turns = sum(outcomes.values())
        turns = f"{n_turns} turn{'' if n_turns == 1 else 's'} in {self._heard:.0f} s"
        tell(": ".join(filter(None, [turns, ", ".join(f"{n} {o}" for o, n in outcomes.items())])))

    def _play(self, event: Event) -> None:
        match event:
            case ReplyAudio(_, audio):
                self._speaker.write(audio)
            case ReplyPaused() | Interrupted():
                self._speaker.flush()
            case TurnEnded():
                self._ended.append(event)
            case TurnFailed():
                self._n_failed += 1

    async def _measured(self, microphone: AsyncIterable[AudioData]) -> AsyncGenerator[AudioData]:
        meter, shown = Meter(), 0.0
        async for audio in microphone:
            meter.hear(audio)
            self._heard += audio.duration_seconds
            if self._tape is not None:
                self._tape.hear(audio)
            if self._heard - shown >= _REFRESH:
                shown = self._heard
                self._screen.measure(meter.line())
            yield audio

    async def _obey(self, keys: AsyncGenerator[None]) -> None:
        speaking = False
        async with aclosing(keys):
            async for _ in keys:
                speaking = not speaking
                if speaking:
                    await self._session.begin_turn()
                    self._screen.prompt("your turn: Enter ends it")
                else:
                    await self._session.commit_turn()


def run_talk(settings: Settings) -> None:
    """Talk until Ctrl-C, then print how it went.

    Raises:
        RealtimeSTTSError: An engine or a device cannot be used.
        OSError: The files cannot be written.
        KeyboardInterrupt: It was interrupted before anybody could talk.
    """
    folder, tape = settings.output_dir, Tape()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # or fail before anybody has talked
    begun: list[Talk] = []
    try:
        anyio.run(_converse, settings, tape, begun)
    except KeyboardInterrupt:  # which is how a talk ends
        if not begun:
            raise
    finally:
        if folder is not None and begun:
            keep(tape.recording, folder, legend(settings.stt, settings.tts))
            _tell_of_files(folder, tape)


async def _converse(settings: Settings, tape: Tape, begun: list[Talk]) -> None:
    from ..integrations.microphone import Microphone, Speaker  # here, because of its extra

    made = load_stt(settings.stt), load_tts(settings.tts)
    await fetch(made[0], settings.stt)
    await fetch(made[1], settings.tts)
    async with AsyncExitStack() as engines:
        with err.status("loading the engines"):
            # Opened once to see that they can be; and again when all is loaded, because
            # loading keeps the sound card's threads waiting.
            async with Microphone(device=settings.microphone), Speaker(device=settings.speaker):
                pass
            ears = await engines.enter_async_context(made[0])
            voice = await engines.enter_async_context(made[1])
            await ears.warmup()
            await voice.warmup()
        engine = ConversationEngine(
            stt=ears,
            tts=voice,
            responder=_RESPONDERS[settings.mode](),
            policy=TurnPolicy(manual=settings.push_to_talk),
            playout_lead=_LEAD,
        )
        async with (
            Microphone(device=settings.microphone) as microphone,
            Speaker(device=settings.speaker) as speaker,
        ):
            _introduce(settings, microphone.name, speaker.name)
            with unechoed(), Screen(out) as screen:
                kept = None if settings.output_dir is None else tape
                talk = Talk(engine.session(), speaker, screen, kept)
                begun.append(talk)
                try:
                    await talk.hold(microphone, enter_pressed() if settings.push_to_talk else None)
                finally:
                    talk.summarise()
                    _tell_of_losses(microphone, speaker)


def _introduce(settings: Settings, microphone: str, speaker: str) -> None:
    tell(
        f"Talk to a bot that hears with {settings.stt} and speaks with {settings.tts}, "
        f"through {microphone} and {speaker}. Ctrl-C ends the talk."
    )
    if settings.push_to_talk:
        tell("Enter begins your turn, and Enter ends it.")
    else:
        tell(
            "Put on headphones if you can: from loudspeakers the microphone hears the bot, "
            "which knows its own words mostly, but not always."
        )
    if settings.stt.partition(":")[0] == "pocketsphinx":
        tell(FREE_SPEECH)
    out.print()


def _tell_of_losses(microphone: Microphone, speaker: Speaker) -> None:
    losses = {
        "late blocks of the microphone dropped": microphone.dropped,
        "overflows of the microphone": microphone.overflows,
        "gaps in the bot's sound": speaker.underruns,
    }
    lost = ", ".join(f"{name}: {n}" for name, n in losses.items() if n)
    if lost:
        tell(f"this machine could not always keep up; {lost}")


def _tell_of_files(folder: Path, tape: Tape) -> None:
    tell("the first hour is kept:" if tape.is_full else "kept:")
    for name, content in FILES.items():
        tell(f"  {folder / name}  ({content})")


def device_table(devices: Sequence[AudioDevice]) -> Table:
    """The devices there are, and which are used where none is asked for."""
    table = Table(
        "", "device", "host", "in", "out", "Hz", "default", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for device in devices:
        uses = {"in": device.default_input, "out": device.default_output}
        table.add_row(
            str(device.index),
            Text(device.name),
            device.host,
            str(device.input_channels or "-"),
            str(device.output_channels or "-"),
            str(device.sample_rate),
            ", ".join(use for use, default in uses.items() if default),
        )
    return table
