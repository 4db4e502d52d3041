"""A microphone and a loudspeaker on an event loop, with a card that a test drives by hand.

The card is driven from threads of its own, as a real one is; ``test_microphone_device.py``
has the same on real devices.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import to_thread
from numpy.typing import NDArray

pytest.importorskip("realtime_stts.integrations.microphone", exc_type=ImportError)

from realtime_stts import AudioData, AudioFormatError, OverloadedError
from realtime_stts.errors import AudioDeviceError
from realtime_stts.integrations import microphone as module
from realtime_stts.integrations._portaudio import Callbacks, OpenDevice
from realtime_stts.integrations.microphone import Microphone, Speaker, microphone
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio


@dataclass
class Card:
    """One device; what it is asked for is what it does, unless it has a rate of its own."""

    sample_rate: int | None = None
    fails: AudioDeviceError | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    n_open: int = 0
    callbacks: Callbacks | None = None

    def open(self, kind: str, device: Any, rate: int, block: float, prepare: Any) -> OpenDevice:
        self.asked.append((kind, device, rate, block))
        if self.fails is not None:
            raise self.fails
        rate = self.sample_rate or rate
        self.callbacks = prepare(rate)
        self.n_open += 1
        return OpenDevice(f"the {kind} card", rate, 0.06, self)

    def close(self) -> None:
        self.n_open -= 1
        self.unplug()  # a card reports its end, whatever it is that ended it

    def unplug(self) -> None:
        assert self.callbacks is not None
        self.callbacks[1]()

    async def call(self, block: NDArray[np.int16], **status: bool) -> NDArray[np.int16]:
        """One block, in a thread."""
        assert self.callbacks is not None
        flags = SimpleNamespace(**{"input_overflow": False, "output_underflow": False} | status)
        await to_thread.run_sync(self.callbacks[0], block, len(block), None, flags)
        return block

    async def hears(self, *values: int, n_frames: int = 320) -> None:
        for value in values:
            await self.call(np.full((n_frames, 1), value, np.int16))

    async def plays(self, n_blocks: int = 1, channels: int = 2) -> NDArray[np.int16]:
        return np.concatenate(
            [await self.call(np.full((960, channels), -1, np.int16)) for _ in range(n_blocks)]
        )


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setattr(module, "open_device", card.open)
    return card


def value(audio: AudioData) -> int:
    """The one value all of its samples have."""
    samples = np.frombuffer(audio.data, "<i2")
    assert (samples == samples[0]).all()
    return int(samples[0])


class TestMicrophone:
    async def test_it_opens_the_device_and_closes_it_again(self, card: Card) -> None:
        device = Microphone(device="headset", sample_rate=24_000, block=0.04)
        assert (card.n_open, device.name) == (0, "")
        async with device:
            assert (card.n_open, device.name) == (1, "the input card")
        assert card.n_open == 0
        assert card.asked == [("input", "headset", 24_000, 0.04)]

    async def test_blocks_come_as_16_bit_mono_in_order(self, card: Card) -> None:
        async with Microphone() as blocks:
            await card.hears(1, 2, 3)
            heard = [await anext(blocks) for _ in range(3)]
        assert [value(audio) for audio in heard] == [1, 2, 3]
        assert {(a.sample_rate, a.channels, a.format, a.n_frames) for a in heard} == {
            (16_000, 1, "pcm", 320)
        }

    async def test_a_block_is_a_copy_of_what_the_card_lends(self, card: Card) -> None:
        async with Microphone() as blocks:
            lent = np.full((320, 1), 7, np.int16)
            await card.call(lent)
            lent[:] = 0
            assert value(await anext(blocks)) == 7

    async def test_a_reader_waits_for_sound(self, card: Card) -> None:
        heard: list[int] = []

        async def read(blocks: Microphone) -> None:
            while len(heard) < 5:
                heard.append(value(await anext(blocks)))

        async with Microphone() as blocks, anyio.create_task_group() as tasks:
            tasks.start_soon(read, blocks)
            for n in range(5):
                await anyio.wait_all_tasks_blocked()
                assert len(heard) == n
                await card.hears(n)
                while len(heard) == n:
                    await to_thread.run_sync(lambda: None)
        assert heard == [0, 1, 2, 3, 4]

    async def test_a_late_reader_loses_the_oldest_second_but_no_time(self, card: Card) -> None:
        async with Microphone() as blocks:
            await card.hears(*range(1, 61))
            heard = [await anext(blocks) for _ in range(51)]
            assert blocks.dropped == 10
        assert (value(heard[0]), heard[0].duration_seconds) == (0, 10 * 0.02)
        assert [value(audio) for audio in heard[1:]] == [*range(11, 61)]

    async def test_the_devices_own_losses_are_counted(self, card: Card) -> None:
        async with Microphone() as blocks:
            await card.call(np.zeros((320, 1), np.int16), input_overflow=True)
            await card.hears(0)
            assert (blocks.overflows, blocks.dropped) == (1, 0)

    async def test_a_device_of_another_rate_is_resampled(self, card: Card) -> None:
        card.sample_rate = 48_000
        time = np.arange(48_000) / 48_000
        sound = np.rint(10_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
        async with Microphone() as blocks:
            for piece in np.split(sound, 50):
                await card.call(piece[:, None])
            card.unplug()
            chunks: list[AudioData] = []
            with suppress(AudioDeviceError):
                while True:
                    chunks.append(await anext(blocks))
        assert all(chunk.data for chunk in chunks)
        heard = AudioData.concat(chunks)
        assert heard.sample_rate == 16_000
        assert heard.duration_seconds > 0.9
        expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(12_000) / 16_000)
        assert np.abs(np.frombuffer(heard.data, "<i2")[:12_000] - expected)[200:].max() < 100

    async def test_cancelling_a_read_loses_no_sound(self, card: Card) -> None:
        async with no_leaks(), Microphone() as blocks:
            for n in range(3):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(blocks.__anext__)
                    await anyio.wait_all_tasks_blocked()
                    tasks.cancel_scope.cancel()
                await card.hears(n)
                assert value(await anext(blocks)) == n

    async def test_cancelling_its_task_closes_the_device(self, card: Card) -> None:
        async def listen() -> None:
            async with Microphone() as blocks:
                async for _ in blocks:
                    tasks.cancel_scope.cancel()

        async with no_leaks():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                while not card.n_open:
                    await to_thread.run_sync(lambda: None)
                await card.hears(1)
            assert card.n_open == 0

    async def test_two_cannot_read_at_a_time(self, card: Card) -> None:
        async with anyio.create_task_group() as tasks, Microphone() as blocks:
            tasks.start_soon(blocks.__anext__)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await anext(blocks)
            tasks.cancel_scope.cancel()

    async def test_leaving_ends_a_read_in_another_task(self, card: Card) -> None:
        heard: list[AudioData] = []

        async def read(blocks: Microphone) -> None:
            heard.extend([audio async for audio in blocks])

        async with no_leaks(), anyio.create_task_group() as tasks, Microphone() as blocks:
            tasks.start_soon(read, blocks)
            await anyio.wait_all_tasks_blocked()
        assert heard == []

    async def test_unplugged_it_says_so_after_the_last_sound(self, card: Card) -> None:
        async with Microphone() as blocks:
            await card.hears(5)
            card.unplug()
            assert value(await anext(blocks)) == 5
            with pytest.raises(AudioDeviceError, match="the input card gives no more sound"):
                await anext(blocks)
        assert card.n_open == 0

    async def test_a_card_that_only_falls_silent_is_taken_for_unplugged(
        self, card: Card, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_PATIENCE", 0.01)
        async with no_leaks(), Microphone() as blocks:
            with pytest.raises(AudioDeviceError, match="was it unplugged"):
                await anext(blocks)

    async def test_a_device_that_cannot_be_opened(self, card: Card) -> None:
        card.fails = AudioDeviceError("no such thing", [])
        with pytest.raises(AudioDeviceError, match="no such thing"):
            async with Microphone():
                pass

    async def test_it_is_read_only_while_it_is_open(self) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await anext(Microphone())

    @pytest.mark.parametrize("block", [0.0, 0.004, 1.1, -1.0, float("nan"), float("inf")])
    async def test_a_block_of_odd_length_is_refused(self, block: float) -> None:
        for kind in (Microphone, Speaker):
            with pytest.raises(ValueError, match=r"0\.005 to 1 seconds"):
                kind(block=block)

    async def test_a_rate_that_no_audio_has_is_refused(self) -> None:
        for kind in (Microphone, Speaker):
            with pytest.raises(AudioFormatError):
                kind(sample_rate=1)


class TestTheGenerator:
    async def test_it_opens_with_the_first_block_and_closes_with_the_generator(
        self, card: Card
    ) -> None:
        async with no_leaks():
            async with aclosing(microphone(device=3, sample_rate=8_000, block=0.03)) as blocks:
                assert card.asked == []
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.speak_when_open, card)
                    assert value(await anext(blocks)) == 9
                assert card.n_open == 1
            assert card.n_open == 0
        assert card.asked == [("input", 3, 8_000, 0.03)]

    async def test_cancelled_while_it_waits_it_closes_the_device(self, card: Card) -> None:
        async with no_leaks():
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    async for _ in microphone():
                        tasks.cancel_scope.cancel()

                tasks.start_soon(listen)
                await self.speak_when_open(card)
            assert card.n_open == 0

    @staticmethod
    async def speak_when_open(card: Card) -> None:
        while not card.n_open:
            await to_thread.run_sync(lambda: None)
        await card.hears(9, n_frames=240)


def clip(seconds: float, value: int = 1000, rate: int = 48_000) -> AudioData:
    return AudioData(np.full(round(seconds * rate), value, "<i2").tobytes(), rate)


class TestSpeaker:
    async def test_it_opens_the_device_and_closes_it_again(self, card: Card) -> None:
        async with Speaker(device="headset", sample_rate=44_100, block=0.01) as speaker:
            assert (card.n_open, speaker.name) == (1, "the output card")
            assert speaker.latency == 0.06
        assert (card.n_open, speaker.name) == (0, "")
        assert card.asked == [("output", "headset", 44_100, 0.01)]

    async def test_every_channel_plays_what_was_written_and_then_silence(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(0.02, 1))
            speaker.write(clip(0.02, 2))
            assert (speaker.buffered, speaker.played) == (0.04, 0.0)
            heard = await card.plays(4)
            assert (speaker.buffered, speaker.played, speaker.underruns) == (0.0, 0.04, 0)
        assert (heard[:960] == 1).all()
        assert (heard[960:1920] == 2).all()
        assert not heard[2880:].any()

    async def test_a_device_of_another_rate_gets_its_own(self, card: Card) -> None:
        card.sample_rate = 44_100
        async with Speaker() as speaker:
            for _ in range(10):
                speaker.write(clip(0.1, rate=22_050))
            await card.plays(60, channels=1)
            assert speaker.played == pytest.approx(1.0, abs=0.001)

    async def test_flushed_it_is_silent_within_a_block(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(1.0))
            await card.plays(2)
            speaker.flush()
            assert (speaker.buffered, speaker.played) == (0.0, 0.04)
            heard = await card.plays(2)
            assert not heard[240:].any()  # after 5 ms of fading out
            speaker.write(clip(0.02, 3))
            assert (await card.plays() == 3).all()

    async def test_more_than_a_minute_is_refused(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(59.0, rate=8_000))
            with pytest.raises(OverloadedError):
                speaker.write(clip(2.0, rate=8_000))

    async def test_the_devices_own_underruns_are_counted(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(0.02))
            await card.call(np.zeros((960, 2), np.int16), output_underflow=True)
            assert speaker.underruns == 1

    async def test_drain_returns_when_all_has_been_heard(self, card: Card) -> None:
        async with Speaker() as speaker, anyio.create_task_group() as tasks:
            speaker.write(clip(0.5, rate=22_050))
            tasks.start_soon(self.keep_playing, card)
            began = anyio.current_time()
            await speaker.drain()
            # On the card's clock, which ticks with the loop's, and after its latency.
            assert 0.5 + 0.06 <= anyio.current_time() - began < 0.7
            assert speaker.played == pytest.approx(0.5, abs=0.001)
            tasks.cancel_scope.cancel()

    async def test_with_nothing_to_play_it_returns_when_the_last_sound_is_heard(
        self, card: Card
    ) -> None:
        async with Speaker() as speaker:
            began = anyio.current_time()
            await speaker.drain()
            assert anyio.current_time() - began == pytest.approx(0.06)

    async def test_drain_gives_up_on_a_card_that_takes_nothing(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(0.5))
            with pytest.raises(AudioDeviceError, match="the output card takes no more sound"):
                await speaker.drain()

    async def test_unplugged_it_says_so(self, card: Card) -> None:
        async with Speaker() as speaker:
            speaker.write(clip(0.1))
            card.unplug()
            with pytest.raises(AudioDeviceError, match="was it unplugged"):
                speaker.write(clip(0.1))
            with pytest.raises(AudioDeviceError, match="was it unplugged"):
                await speaker.drain()

    async def test_unplugged_while_it_drains_it_says_so(self, card: Card) -> None:
        async with Speaker() as speaker, anyio.create_task_group() as tasks:
            speaker.write(clip(30.0, rate=8_000))

            async def unplug() -> None:
                await anyio.sleep(0.5)
                card.unplug()

            tasks.start_soon(unplug)
            began = anyio.current_time()
            with pytest.raises(AudioDeviceError, match="was it unplugged"):
                await speaker.drain()
            assert anyio.current_time() - began < 5

    async def test_closed_it_takes_nothing(self, card: Card) -> None:
        speaker = Speaker()
        async with speaker:
            pass
        with pytest.raises(anyio.ClosedResourceError):
            speaker.write(clip(0.1))
        with pytest.raises(anyio.ClosedResourceError):
            await speaker.drain()
        assert speaker.latency == 0.0

    async def test_a_device_that_cannot_be_opened(self, card: Card) -> None:
        card.fails = AudioDeviceError("no such thing", [])
        with pytest.raises(AudioDeviceError, match="no such thing"):
            async with Speaker():
                pass

    @staticmethod
    async def keep_playing(card: Card) -> None:
        while True:
            await anyio.sleep(0.02)
            await card.plays()
