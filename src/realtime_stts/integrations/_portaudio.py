"""PortAudio: which devices there are, and opening one. All of it blocks and needs a thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, Final, Literal

from ..errors import AudioDeviceError, MissingExtraError

try:
    import sounddevice
except ImportError as exc:
    raise MissingExtraError("The sound card", "microphone") from exc
except OSError as exc:  # the package is there, the C library is not
    raise MissingExtraError(
        "The sound card",
        "microphone",
        remedy="apt-get install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)",
    ) from exc

__all__ = ["AudioDevice", "Callbacks", "Kind", "OpenDevice", "devices", "open_device"]

_LATENCY: Final = 0.04  # s asked of the card: two blocks, so that Python may be late with one
_CLOSING: Final = 2.0  # s for a device to close, which takes it some 0.05

# PortAudio is not thread-safe: its calls need a lock, or one thread for all of them
# (https://github.com/PortAudio/portaudio/issues/254).
_LOCK: Final = Lock()

Kind = Literal["input", "output"]
_NAMES: Final[dict[Kind, str]] = {"input": "microphone", "output": "loudspeaker"}

# What the card calls in a thread of its own: with each block, and at the end.
Callbacks = tuple[Callable[[Any, int, Any, Any], None], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """A device as PortAudio sees it; one card may be several, each with its own ``host``."""

    index: int
    name: str
    host: str  # the system's way to it, such as ALSA, Core Audio or MME
    input_channels: int  # 0: no microphone
    output_channels: int  # 0: no loudspeaker
    sample_rate: int  # Hz, its own
    default_input: bool
    default_output: bool

    def __str__(self) -> str:
        return f"{self.index} {self.name} ({self.host})"

    def has(self, kind: Kind) -> bool:
        """Whether it is a microphone, or a loudspeaker."""
        return bool(self.input_channels if kind == "input" else self.output_channels)


@dataclass(frozen=True, slots=True)
class OpenDevice:
    """A device that runs."""

    name: str
    sample_rate: int  # Hz
    latency: float  # s, as the device says
    _stream: Any

    def close(self) -> None:
        """End it; what it had not played yet is dropped.

        A driver whose device was unplugged may never return. Then its thread is left to
        it, and dies with the process.
        """
        with _LOCK:
            closing = Thread(target=self._stream.close, daemon=True)
            closing.start()
            closing.join(_CLOSING)


def devices() -> tuple[AudioDevice, ...]:
    """All devices of this machine, in PortAudio's order."""
    with _LOCK:
        return tuple(_devices())


def open_device(
    kind: Kind,
    device: int | str | None,
    sample_rate: int,
    block: float,
    prepare: Callable[[int], Callbacks],
) -> OpenDevice:
    """Open and start a device.

    Args:
        kind: What is wanted of it.
        device: Its index, or words of its name, in order; None for the system's default.
        sample_rate: Hz that it is asked for; if it does not take it, its own.
        block: Seconds of a block.
        prepare: Told the rate before the first block; returns what the card will call.

    Raises:
        AudioDeviceError: There is no such device, several go by that name, or it cannot be
            opened.
    """
    with _LOCK:
        info = _find(kind, device)
        name = f"the {_NAMES[kind]} {info['name']!r}"
        # Of a microphone the first channel. Loudspeakers get both theirs: with one, some
        # systems play it on the left alone.
        channels = min(info[f"max_{kind}_channels"], 1 if kind == "input" else 2)
        settings = {"device": info["index"], "channels": channels, "dtype": "int16"}
        try:
            rate = sample_rate if _accepts(kind, settings, sample_rate) else _own_rate(info)
            stream = _started(kind, settings, rate, block, prepare(rate))
        except sounddevice.PortAudioError as exc:
            raise AudioDeviceError(f"{name} cannot be opened: {exc}") from exc
        return OpenDevice(name, rate, stream.latency, stream)


def _started(
    kind: Kind, settings: dict[str, Any], rate: int, block: float, callbacks: Callbacks
) -> Any:
    stream_class = sounddevice.InputStream if kind == "input" else sounddevice.OutputStream
    on_block, on_end = callbacks
    stream = stream_class(
        **settings,
        samplerate=rate,
        blocksize=round(block * rate),
        latency=_LATENCY,
        callback=on_block,
        finished_callback=on_end,
    )
    try:
        stream.start()
    except sounddevice.PortAudioError:
        stream.close()
        raise
    return stream


def _accepts(kind: Kind, settings: dict[str, Any], rate: int) -> bool:
    input_, output = sounddevice.check_input_settings, sounddevice.check_output_settings
    try:
        (input_ if kind == "input" else output)(**settings, samplerate=rate)
    except sounddevice.PortAudioError:
        return False
    return True


def _own_rate(info: Any) -> int:
    return int(info["default_samplerate"])


def _find(kind: Kind, device: int | str | None) -> Any:
    """What PortAudio knows about that device."""
    try:
        return sounddevice.query_devices(device, kind)
    except sounddevice.PortAudioError as exc:
        name = _NAMES[kind] if device is None else f"{_NAMES[kind]} {device}"
        raise AudioDeviceError(f"this machine has no {name}", map(str, _devices())) from exc
    except ValueError as exc:  # a name that fits none, or several, which it lists its own way
        problem = str(exc).partition("\n")[0].rstrip(":")
        found = [str(each) for each in _devices() if each.has(kind)]
        raise AudioDeviceError(problem, found) from exc


def _devices() -> list[AudioDevice]:
    known: Any = sounddevice.query_devices()
    hosts: Any = sounddevice.query_hostapis()
    defaults: dict[Kind, int] = {}
    for kind in _NAMES:
        with suppress(sounddevice.PortAudioError):  # there is none
            default: Any = sounddevice.query_devices(kind=kind)
            defaults[kind] = default["index"]
    return [
        AudioDevice(
            index=info["index"],
            name=info["name"],
            host=hosts[info["hostapi"]]["name"],
            input_channels=info["max_input_channels"],
            output_channels=info["max_output_channels"],
            sample_rate=_own_rate(info),
            default_input=info["index"] == defaults.get("input"),
            default_output=info["index"] == defaults.get("output"),
        )
        for info in known
    ]
