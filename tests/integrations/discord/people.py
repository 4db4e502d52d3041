"""People in a voice channel, and the client that plays to them, without any Discord."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import discord
import numpy as np

from realtime_stts import AudioData
from realtime_stts.integrations.discord import SpeechSource, VoiceBridge
from realtime_stts.testing import speak_tones

FRAME = 0.02  # s in a packet
RATE = 48_000


def stereo(audio: AudioData) -> bytes:
    """48 kHz stereo, as Discord has it."""
    samples = np.frombuffer(audio.mono().resampled(RATE).converted().data, "<i2")
    return np.repeat(samples, 2).tobytes()


def frames(audio: AudioData) -> list[bytes]:
    """Packets of 20 ms, the last filled with silence."""
    pcm = stereo(audio)
    return [pcm[i : i + 3840].ljust(3840, b"\0") for i in range(0, len(pcm), 3840)]


def through_opus(audio: AudioData) -> list[bytes]:
    """The same after libopus has coded it as a client of Discord does, and decoded it."""
    encoder: Any = discord.opus.Encoder(application="voip")
    decoder: Any = discord.opus.Decoder()
    return [
        decoder.decode(encoder.encode(frame, discord.opus.Encoder.SAMPLES_PER_FRAME), fec=False)
        for frame in frames(audio)
    ]


async def talk(bridge: VoiceBridge, user_id: int, text: str, voice: int = 0) -> None:
    """Say it, a packet each 20 ms, through Opus; and then nothing, as Discord does."""
    for frame in through_opus(speak_tones(text, RATE, voice=voice)):
        await anyio.sleep(FRAME)
        bridge.write(user_id, frame)


class Client:
    """A voice client whose player is a task: it asks for a frame each 20 ms, also virtual ones."""

    def __init__(self) -> None:
        self.source: SpeechSource | None = None
        self.played: list[bytes] = []
        self.is_connected = True

    def play(self, source: SpeechSource, **options: Any) -> None:
        if not self.is_connected:
            raise discord.ClientException("Not connected to voice.")
        self.source = source

    def stop(self) -> None:
        assert self.source is not None
        self.source.cleanup()
        self.source = None

    async def run(self) -> None:
        began, n = anyio.current_time(), 0
        while True:
            n += 1
            await anyio.sleep_until(began + n * FRAME)
            if self.source is not None:
                frame = self.source.read()
                if frame:
                    self.played.append(frame)
                else:
                    self.stop()

    def heard(self) -> AudioData:
        """All that was played, in one channel."""
        return AudioData(b"".join(self.played), RATE, 2).mono()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for it to be so."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - of any kind
            await anyio.sleep(0.005)
