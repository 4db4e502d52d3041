"""A talk with engines that follow a script, and with a sound card that is played."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, ClassVar

import anyio
import pytest
from typing_extensions import Self

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console
from typer.testing import CliRunner

from realtime_stts import AudioData, ConversationEngine, EngineError, TurnPolicy
from realtime_stts.cli import _talk
from realtime_stts.cli._app import app
from realtime_stts.cli._keep import FILES
from realtime_stts.cli._screen import Screen
from realtime_stts.cli._talk import Talk
from realtime_stts.cli._tape import Tape
from realtime_stts.conversation import engine
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import AudioDeviceError
from realtime_stts.testing import (
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    chunked,
    no_leaks,
    speech,
)


def sounds(*seconds: float) -> AudioData:
    """Silence, speech, silence and so on, each so many seconds."""
    return AudioData.concat(
        speech(length) if n % 2 else AudioData.silence(length, 16_000)
        for n, length in enumerate(seconds)
    )


class Loudspeaker:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.played: list[AudioData] = []
        self.dropped_at: list[int] = []  # after how many chunks

    def write(self, audio: AudioData) -> None:
        self.played.append(audio)

    def flush(self) -> None:
        self.dropped_at.append(len(self.played))

    @property
    def seconds(self) -> float:
        return sum(audio.duration_seconds for audio in self.played)


class Held:
    """A talk of ``said`` on virtual time, and what came of it."""

    def __init__(self) -> None:
        self.speaker = Loudspeaker()
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=True, width=100, color_system=None)
        self.screen = Screen(console)

    async def hold(
        self,
        said: AudioData,
        *texts: str | Exception,
        keys: AsyncGenerator[None] | None = None,
        policy: TurnPolicy | None = None,
        tape: Tape | None = None,
        answers: tuple[str, ...] = ("This is a rather long answer to you.", "And another one."),
    ) -> Self:
        bot = ConversationEngine(
            stt=ScriptedSTTEngine(texts),
            tts=ScriptedTTSEngine(),
            responder=ScriptedResponseGenerator(answers),
            pause_detector=EnergyPauseDetector(),
            policy=policy,
        )
        with self.screen:
            self.talk = Talk(bot.session(), self.speaker, self.screen, tape)
            await self.talk.hold(chunked(said, paced=True), keys)
        return self

    @property
    def printed(self) -> str:
        return self.file.getvalue()

    def summary(self, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        self.talk.summarise()
        return capsys.readouterr().out


@pytest.mark.anyio
class TestTalk:
    async def test_what_the_microphone_hears_is_answered_by_the_loudspeaker(self) -> None:
        held = await Held().hold(sounds(0.5, 1.0, 2.0), "hello there")
        assert " 1  caller  hello there" in held.printed
        assert "bot     This is a rather long answer to you." in held.printed
        assert "first sound after " in held.printed
        assert held.speaker.seconds > 1.0
        assert held.speaker.dropped_at == []

    async def test_it_ends_when_the_microphone_does_and_the_answer_has_been_heard(self) -> None:
        async with no_leaks():
            held = await Held().hold(sounds(0.5, 1.0), "hello there")
        assert held.speaker.seconds > 1.0

    async def test_who_speaks_over_the_answer_silences_the_loudspeaker(self) -> None:
        held = await Held().hold(sounds(0.5, 1.0, 1.5, 1.5, 2.0), "tell me", "stop it")
        assert "interrupted; heard of it: This is" in held.printed
        # Held at first, and given up once there were words.
        n_first = held.speaker.dropped_at[0]
        assert held.speaker.dropped_at == [n_first, n_first]
        assert 0 < n_first < len(held.speaker.played)

    async def test_a_noise_over_the_answer_only_holds_it(self) -> None:
        held = await Held().hold(sounds(0.5, 1.0, 1.5, 0.6, 4.0), "tell me", "")
        assert "the bot holds on and listens" in held.printed
        assert "interrupted" not in held.printed
        assert len(held.speaker.dropped_at) == 1
        whole = await Held().hold(sounds(0.5, 1.0, 4.0), "tell me")
        assert held.speaker.seconds >= whole.speaker.seconds

    async def test_the_level_and_the_partial_words_are_seen_meanwhile(self) -> None:
        printed = (await Held().hold(sounds(0.5, 1.0, 1.0), "hello there")).printed
        assert "caller  hello …" in printed
        assert printed.count("dBFS") == pytest.approx(2.5 / 0.08, abs=20)  # every 0.08 s
        assert "█" in printed

    async def test_a_key_begins_a_turn_and_ends_it(self) -> None:
        async def keys() -> AsyncGenerator[None]:
            for wait in (2.0, 2.0):
                await anyio.sleep(wait)
                yield
            await anyio.sleep_forever()

        async with no_leaks():
            held = await Held().hold(
                sounds(0.5, 1.0, 1.0, 1.0, 4.0),
                "hello there",
                keys=keys(),
                policy=TurnPolicy(manual=True),
            )
        assert "your turn: Enter ends it" in held.printed
        assert held.printed.count("caller  hello there\n") == 1
        assert " = 0 end of turn + " in held.printed

    async def test_the_summary_counts_the_turns_by_how_they_ended(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        held = await Held().hold(
            sounds(0.5, 1.0, 1.5, 1.5, 4.0, 1.0, 1.0),
            "tell me",
            "stop it",
            EngineError("x", "gone"),
        )
        summary = held.summary(capsys)
        assert "median" in summary
        assert "3 turns in 10 s: 1 interrupted, 1 answered, 1 failed\n" in summary
        assert " 3  failed  x: gone" in held.printed

    async def test_of_a_talk_without_a_turn_there_is_little_to_say(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        held = await Held().hold(sounds(1.0))
        assert held.summary(capsys) == "0 turns in 1 s\n"

    async def test_a_tape_keeps_both_voices_and_the_events(self) -> None:
        tape = Tape()
        held = await Held().hold(sounds(0.5, 1.0, 4.0), "hello there", tape=tape)
        kept = tape.recording
        assert kept.caller.data == sounds(0.5, 1.0, 4.0).data
        assert (kept.bot.samples != 0).sum() / kept.bot.sample_rate == pytest.approx(
            held.speaker.seconds, rel=0.3
        )
        assert [turn.heard for turn in kept.turns] == ["hello there"]

    async def test_a_microphone_that_fails_ends_it(self) -> None:
        async def unplugged() -> AsyncGenerator[AudioData]:
            yield AudioData.silence(0.02, 16_000)
            raise AudioDeviceError("it went away")

        held = Held()
        with pytest.raises(ExceptionGroup) as caught, held.screen:
            await self.talk(held).hold(unplugged())
        assert "it went away" in repr(caught.value)

    @staticmethod
    def talk(held: Held) -> Talk:
        silent = ConversationEngine(
            stt=ScriptedSTTEngine([]),
            tts=ScriptedTTSEngine(),
            pause_detector=EnergyPauseDetector(),
        )
        return Talk(silent.session(), held.speaker, held.screen)


# -- the command ---------------------------------------------------------------------------


class Device:
    """What the command opens; a test may change what its devices do."""

    opened: ClassVar[list[tuple[str, Any]]] = []
    fails: ClassVar[AudioDeviceError | None] = None
    dropped = overflows = underruns = 0

    def __init__(self, *, device: int | str | None = None) -> None:
        self.device = device
        self.name = f"the {type(self).__name__.lower()} 'played'"

    async def __aenter__(self) -> Self:
        if self.fails is not None:
            raise self.fails
        self.opened.append((type(self).__name__, self.device))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.opened.remove((type(self).__name__, self.device))


class Microphone(Device):
    ends: ClassVar[BaseException | int | None] = None  # or the signal that comes then

    async def __aiter__(self) -> AsyncGenerator[AudioData]:
        async for audio in chunked(sounds(0.3, 0.6, 0.7)):
            yield audio
        if isinstance(self.ends, BaseException):
            raise self.ends
        if isinstance(self.ends, int):
            await anyio.sleep(0.5)
            signal.raise_signal(self.ends)
            await anyio.sleep_forever()


class Speaker(Device, Loudspeaker):
    def __init__(self, *, device: int | str | None = None) -> None:
        Device.__init__(self, device=device)
        Loudspeaker.__init__(self)


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """The sound card and the engines; a test may put others in their place."""
        card: Any = ModuleType("realtime_stts.integrations.microphone")
        card.Microphone, card.Speaker, card.devices = Microphone, Speaker, tuple
        monkeypatch.setitem(sys.modules, card.__name__, card)
        monkeypatch.setattr(Device, "opened", [])
        engines: dict[str, Any] = {
            "stt": ScriptedSTTEngine(["hi"], latency=0.0),
            "tts": ScriptedTTSEngine(latency=0.0),
            "card": card,
        }
        # The better one does not take a hum for speech.
        monkeypatch.setattr(engine, "_default_detector", EnergyPauseDetector)
        monkeypatch.setattr(_talk, "load_stt", lambda spec: engines["stt"])
        monkeypatch.setattr(_talk, "load_tts", lambda spec: engines["tts"])
        return engines

    @staticmethod
    def run(*args: str, input: str | None = None) -> tuple[int, str, str]:
        runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
        result = runner.invoke(app, ["talk", *args], input=input)
        return result.exit_code, result.stdout, result.stderr

    def test_a_talk_that_the_microphone_ends(self) -> None:
        code, out, err = self.run("--mode", "echo")
        assert (code, err) == (0, "")
        assert out.startswith(
            "Talk to a bot that hears with pocketsphinx and speaks with espeak, through the "
            "microphone 'played' and the speaker 'played'. Ctrl-C ends the talk.\n"
            "Put on headphones if you can: "
        )
        assert "PocketSphinx is a recogniser of the 2000s" in out
        assert " 1  caller  hi\n    bot     You said: hi\n" in out
        assert "1 turn in 2 s: 1 answered" in out
        assert Device.opened == []

    def test_ctrl_c_ends_it_with_the_summary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Microphone, "ends", signal.SIGINT)
        code, out, err = self.run("--mode", "echo")
        assert (code, err) == (0, "")
        assert "turn in 2 s" in out or "turns in 2 s" in out
        assert Device.opened == []

    def test_ctrl_c_before_anybody_could_talk_ends_it_too(self, machine: dict[str, Any]) -> None:
        class Interrupted(ScriptedSTTEngine):
            async def warmup(self) -> None:
                signal.raise_signal(signal.SIGINT)
                await anyio.sleep_forever()

        machine["stt"] = Interrupted([])
        code, out, err = self.run()
        assert (code, out) == (130, "")
        assert err == "stopped before the end; nothing was written\n"

    def test_the_devices_are_chosen_by_number_or_by_name(self, machine: dict[str, Any]) -> None:
        opened: list[tuple[str, Any]] = []

        class Noted(ScriptedSTTEngine):
            async def transcribe(self, *args: Any) -> Any:
                raise AssertionError

            async def stream(self, *args: Any) -> Any:
                opened.extend(Device.opened)
                async for result in super().stream(*args):
                    yield result

        machine["stt"] = Noted(["hi"], latency=0.0)
        self.run("--device", "3", "--output-device", "usb headset", "--mode", "echo")
        assert sorted(opened) == [("Microphone", 3), ("Speaker", "usb headset")]

    def test_with_push_to_talk_no_headphones_are_asked_for(self) -> None:
        code, out, _ = self.run("--push-to-talk", "--stt", "whisper", input="")
        assert code == 0
        assert "Enter begins your turn, and Enter ends it.\n" in out
        assert "headphones" not in out
        assert "PocketSphinx" not in out

    def test_its_files_are_kept_where_asked_for(self, tmp_path: Path) -> None:
        folder = tmp_path / "talk"
        code, out, _ = self.run("--mode", "echo", "--output-dir", str(folder))
        assert code == 0
        assert {path.name for path in folder.iterdir()} == {*FILES}
        assert f"kept:\n  {folder / 'conversation.wav'}  (stereo: caller left" in out

    def test_a_folder_that_cannot_be_made_is_known_before_anybody_has_talked(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        code, out, err = self.run("--output-dir", str(tmp_path / "file"))
        assert (code, out, err) == (1, "", f"error: {tmp_path / 'file'}: File exists\n")

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (
                AudioDeviceError("this machine has no microphone", []),
                (
                    "this machine has no microphone; found: no sound device at all; plug one "
                    "in, or try realtime-stts demo, which needs none"
                ),
            ),
            (
                AudioDeviceError("No input device matching 'x'", ["1 USB (ALSA)"]),
                (
                    "No input device matching 'x'; found: 1 USB (ALSA); choose one by "
                    "--device or --output-device, or try realtime-stts demo, which needs none"
                ),
            ),
        ],
    )
    def test_without_a_device_one_line_says_what_to_do(
        self, fault: AudioDeviceError, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Device, "fails", fault)
        assert self.run() == (1, "", f"error: {message}\n")

    def test_unplugged_it_ends_with_the_summary_and_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Microphone, "ends", AudioDeviceError("the microphone is gone"))
        code, out, err = self.run()
        assert (code, err) == (1, "error: the microphone is gone\n")
        assert "turns in 2 s" in out or "turn in 2 s" in out

    def test_sound_that_was_lost_is_mentioned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Microphone, "dropped", 7)
        monkeypatch.setattr(Speaker, "underruns", 2)
        _, out, _ = self.run("--mode", "echo")
        assert out.endswith(
            "this machine could not always keep up; late blocks of the microphone dropped: 7, "
            "gaps in the bot's sound: 2\n"
        )

    def test_the_devices_are_listed(self, machine: dict[str, Any]) -> None:
        pytest.importorskip("realtime_stts.integrations._portaudio", exc_type=ImportError)
        from realtime_stts.integrations._portaudio import AudioDevice

        machine["card"].devices = lambda: (
            AudioDevice(0, "[HDMI] Screen", "ALSA", 0, 8, 44_100, False, False),
            AudioDevice(1, "USB Headset", "ALSA", 1, 2, 48_000, True, True),
        )
        code, out, err = self.run("--list-devices")
        assert (code, err) == (0, "")
        rows = [line.split() for line in out.splitlines()]
        assert ["0", "[HDMI]", "Screen", "ALSA", "-", "8", "44100"] in rows
        assert ["1", "USB", "Headset", "ALSA", "1", "2", "48000", "in,", "out"] in rows

    def test_without_devices_the_list_says_so(self) -> None:
        assert self.run("--list-devices") == (0, "this machine has no sound device\n", "")


def test_without_the_extra_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("microphone", "_portaudio"):
        monkeypatch.delitem(sys.modules, f"realtime_stts.integrations.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert TestTheCommand.run() == (
        2,
        "",
        (
            "error: The sound card needs a package that is not installed: "
            'pip install "realtime-stts[microphone]"\n'
        ),
    )
