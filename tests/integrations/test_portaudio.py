"""Finding and opening a device, on machines that have one, none, or an odd one."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any, ClassVar

import pytest

pytest.importorskip("realtime_stts.integrations._portaudio", exc_type=ImportError)

import sounddevice

from realtime_stts import RealtimeSTTSError
from realtime_stts.errors import AudioDeviceError
from realtime_stts.integrations import _portaudio
from realtime_stts.integrations._portaudio import (
    AudioDevice,
    Callbacks,
    OpenDevice,
    devices,
    open_device,
)

HEADSET = AudioDevice(1, "USB Headset", "ALSA", 1, 2, 48_000, True, True)
SCREEN = AudioDevice(0, "HDMI Screen", "ALSA", 0, 8, 44_100, False, False)
WEBCAM = AudioDevice(2, "USB Webcam", "ALSA", 2, 0, 32_000, False, False)


class Stream:
    """A stream of sounddevice, as far as opening one goes."""

    opened: ClassVar[list[Stream]] = []
    refuses_to_start = False

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.latency = 0.06
        self.state = "open"
        self.opened.append(self)

    def start(self) -> None:
        if self.refuses_to_start:
            raise sounddevice.PortAudioError("Device unavailable", -9985)
        self.state = "running"

    def close(self) -> None:
        self.state = "closed"


class Machine:
    """What sounddevice says on a machine with these devices; the same errors, too."""

    PortAudioError = sounddevice.PortAudioError
    InputStream = OutputStream = Stream

    def __init__(self, *installed: AudioDevice, rates: tuple[int, ...] = ()) -> None:
        self._installed = installed
        self._rates = rates  # that they take besides their own

    def query_hostapis(self) -> tuple[dict[str, Any], ...]:
        return ({"name": "ALSA"},)

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return tuple(map(self._info, self._installed))
        if device is None:
            defaults = [d for d in self._installed if getattr(d, f"default_{kind}")]
            if not defaults:
                raise self.PortAudioError("Error querying device -1")
            return self._info(*defaults)
        if isinstance(device, int):
            if device >= len(self._installed):
                raise self.PortAudioError(f"Error querying device {device}")
            return self._info(self._installed[device])
        found = [d for d in self._installed if device.lower() in d.name.lower()]
        if len(found) != 1:
            listed = "".join(f"\n[{d.index}] {d.name}, {d.host}" for d in found)
            many = f"Multiple {kind} devices found for {device!r}:{listed}"
            raise ValueError(many if found else f"No {kind} device matching {device!r}")
        return self._info(*found)

    def check_input_settings(self, *, device: int, samplerate: int, **_: Any) -> None:
        if samplerate not in (self._installed[device].sample_rate, *self._rates):
            raise self.PortAudioError("Invalid sample rate", -9997)

    check_output_settings = check_input_settings

    def _info(self, device: AudioDevice) -> dict[str, Any]:
        return {
            "index": self._installed.index(device),
            "name": device.name,
            "hostapi": 0,
            "max_input_channels": device.input_channels,
            "max_output_channels": device.output_channels,
            "default_samplerate": float(device.sample_rate),
        }


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the machine have these devices."""

    def have(*installed: AudioDevice, rates: tuple[int, ...] = ()) -> None:
        monkeypatch.setattr(_portaudio, "sounddevice", Machine(*installed, rates=rates))

    monkeypatch.setattr(Stream, "opened", [])
    have(SCREEN, HEADSET, WEBCAM)
    return have


def on_block(*_: Any) -> None: ...


def on_end() -> None: ...


def callbacks(rate: int) -> Callbacks:
    return on_block, on_end


class Prepared:
    """Remembers the rate it was told."""

    rate: int | None = None

    def __call__(self, rate: int) -> Callbacks:
        assert Stream.opened == []  # told before the card can call
        self.rate = rate
        return on_block, on_end


def opened(kind: _portaudio.Kind, device: int | str | None = None, rate: int = 16_000) -> Stream:
    open_device(kind, device, rate, 0.02, Prepared())
    (stream,) = Stream.opened
    return stream


@pytest.mark.usefixtures("install")
class TestDevices:
    def test_they_are_listed_in_portaudios_order(self) -> None:
        assert devices() == (SCREEN, HEADSET, WEBCAM)

    def test_without_a_card_the_list_is_empty(self, install: Any) -> None:
        install()
        assert devices() == ()

    def test_without_a_default_none_is_marked(self, install: Any) -> None:
        alone = replace(SCREEN, default_output=False)
        install(alone)
        assert devices() == (alone,)

    def test_a_device_reads_as_its_index_name_and_host(self) -> None:
        assert str(HEADSET) == "1 USB Headset (ALSA)"
        assert [device.has("input") for device in devices()] == [False, True, True]
        assert [device.has("output") for device in devices()] == [True, True, False]


@pytest.mark.usefixtures("install")
class TestOpening:
    def test_the_default_is_opened_and_started_in_blocks_of_that_length(self) -> None:
        prepared = Prepared()
        device = open_device("input", None, 48_000, 0.02, prepared)
        (stream,) = Stream.opened
        assert (device.name, device.sample_rate, device.latency) == (
            "the microphone 'USB Headset'", 48_000, 0.06,
        )  # fmt: skip
        assert prepared.rate == 48_000
        assert stream.state == "running"
        assert stream.settings == {
            "device": 1,
            "channels": 1,
            "dtype": "int16",
            "samplerate": 48_000,
            "blocksize": 960,
            "latency": 0.04,
            "callback": on_block,
            "finished_callback": on_end,
        }

    def test_a_device_is_chosen_by_index_or_by_words_of_its_name(self) -> None:
        assert open_device("output", 0, 44_100, 0.02, Prepared()).name == (
            "the loudspeaker 'HDMI Screen'"
        )
        Stream.opened.clear()
        assert opened("input", "webcam").settings["device"] == 2

    def test_a_loudspeaker_is_opened_with_both_of_its_channels_and_no_more(self) -> None:
        assert opened("output", 0).settings["channels"] == 2

    def test_a_microphone_is_opened_with_its_first_channel(self) -> None:
        assert opened("input", 2).settings["channels"] == 1

    def test_a_rate_it_takes_is_used(self, install: Any) -> None:
        install(HEADSET, rates=(16_000,))
        assert opened("input", rate=16_000).settings["samplerate"] == 16_000

    @pytest.mark.parametrize("kind", ["input", "output"])
    def test_instead_of_one_it_does_not_take_its_own_is_used(self, kind: _portaudio.Kind) -> None:
        stream = opened(kind, 1, rate=16_000)
        assert (stream.settings["samplerate"], stream.settings["blocksize"]) == (48_000, 960)

    def test_closing_ends_it(self) -> None:
        device = open_device("input", None, 48_000, 0.02, Prepared())
        assert isinstance(device, OpenDevice)
        device.close()
        assert Stream.opened[0].state == "closed"

    def test_a_driver_that_hangs_in_closing_keeps_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unplugged, closed = threading.Event(), threading.Event()

        def hang(stream: Stream) -> None:
            unplugged.wait()
            closed.set()

        first, second = (open_device("input", None, 48_000, 0.02, callbacks) for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(_portaudio, "_CLOSING", 0.01)
            patch.setattr(Stream, "close", hang)
            first.close()
        assert not closed.is_set()
        second.close()
        assert Stream.opened[1].state == "closed"
        unplugged.set()
        assert closed.wait(10)

    def test_one_that_does_not_start_is_closed_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Stream, "refuses_to_start", True)
        with pytest.raises(AudioDeviceError) as caught:
            open_device("output", "hdmi", 44_100, 0.02, Prepared())
        assert str(caught.value) == (
            "the loudspeaker 'HDMI Screen' cannot be opened: Device unavailable [PaErrorCode -9985]"
        )
        assert [stream.state for stream in Stream.opened] == ["closed"]


@pytest.mark.usefixtures("install")
class TestMistakes:
    """Each is an `AudioDeviceError` that names what there is instead."""

    @pytest.mark.parametrize(
        ("kind", "device", "message"),
        [
            (
                "input",
                "bluetooth",
                (
                    "No input device matching 'bluetooth'; "
                    "found: 1 USB Headset (ALSA), 2 USB Webcam (ALSA)"
                ),
            ),
            (
                "input",
                "usb",
                (
                    "Multiple input devices found for 'usb'; "
                    "found: 1 USB Headset (ALSA), 2 USB Webcam (ALSA)"
                ),
            ),
            (
                "output",
                9,
                (
                    "this machine has no loudspeaker 9; "
                    "found: 0 HDMI Screen (ALSA), 1 USB Headset (ALSA), 2 USB Webcam (ALSA)"
                ),
            ),
        ],
    )
    def test_no_such_device(self, kind: _portaudio.Kind, device: int | str, message: str) -> None:
        with pytest.raises(AudioDeviceError) as caught:
            opened(kind, device)
        assert str(caught.value) == message

    def test_no_microphone_at_all(self, install: Any) -> None:
        install(SCREEN)
        with pytest.raises(AudioDeviceError) as caught:
            opened("input")
        assert str(caught.value) == "this machine has no microphone; found: 0 HDMI Screen (ALSA)"

    def test_no_sound_card_at_all(self, install: Any) -> None:
        install()
        with pytest.raises(RealtimeSTTSError) as caught:
            opened("output")
        assert str(caught.value) == (
            "this machine has no loudspeaker; found: no sound device at all"
        )


# What the package does where the system lacks the library.
NO_LIBRARY = """
from importlib.abc import MetaPathFinder
class NoLibrary(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
sys.meta_path.insert(0, NoLibrary())
"""


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("sys.modules['sounddevice'] = None", 'pip install "realtime-stts[microphone]"'),
        (
            NO_LIBRARY,
            "apt-get install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)",
        ),
    ],
    ids=["without the package", "without the library"],
)
def test_what_is_missing_is_named_with_its_remedy(package: str, remedy: str) -> None:
    code = (
        f"import sys\n{package}\n"
        "from realtime_stts import MissingExtraError\n"
        "try:\n    import realtime_stts.integrations.microphone\n"
        "except MissingExtraError as exc:\n    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (f"The sound card needs a package that is not installed: {remedy}\n")
