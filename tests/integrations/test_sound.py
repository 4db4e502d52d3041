"""The bridge between a sound card's thread and everyone else, driven as a card drives it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_stts import AudioData, AudioFormatError, OverloadedError
from realtime_stts.integrations._sound import Capture, Playback

RATE = 48_000  # Hz
BLOCK = 960  # samples, 20 ms
RAMP = 240  # samples, 5 ms


def block(value: int) -> bytes:
    return np.full(4, value, "<i2").tobytes()


def loud(n_samples: int, rate: int = RATE, value: int = 1000) -> AudioData:
    return AudioData(np.full(n_samples, value, "<i2").tobytes(), rate)


def tone(seconds: float, rate: int, channels: int = 1) -> AudioData:
    """440 Hz at half of full scale, the same in every channel."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * 440 * time, dtype=np.float32) / 2
    return AudioData.from_samples(np.tile(wave[:, None], channels), rate)


def taken(playback: Playback, n_blocks: int) -> NDArray[np.int16]:
    return np.concatenate([playback.take(BLOCK) for _ in range(n_blocks)])


def settled(playback: Playback, n_blocks: int = 3) -> Playback:
    """The same after some blocks of silence."""
    assert not taken(playback, n_blocks).any()
    return playback


class TestCapture:
    def test_blocks_come_out_as_they_went_in(self) -> None:
        capture = Capture(3)
        for n in range(3):
            capture.put(block(n))
        assert [capture.take() for _ in range(4)] == [block(0), block(1), block(2), None]
        assert capture.dropped == 0

    def test_when_full_the_oldest_block_is_dropped_and_counted(self) -> None:
        capture = Capture(2)
        for n in range(3):
            capture.put(block(n))
        assert capture.dropped == 1

    def test_silence_of_the_same_length_stands_for_what_was_dropped(self) -> None:
        capture = Capture(2)
        for n in range(1, 4):
            capture.put(block(n))
        assert [capture.take() for _ in range(4)] == [block(0), block(2), block(3), None]

    def test_a_long_gap_comes_in_pieces_no_longer_than_the_queue(self) -> None:
        capture = Capture(4)
        for n in range(1, 15):
            capture.put(block(n))
        assert capture.dropped == 10
        assert [capture.take() for _ in range(3)] == [block(0) * 4, block(0) * 4, block(0) * 2]
        assert capture.take() == block(11)

    @given(
        st.integers(1, 5),
        st.lists(st.booleans(), max_size=40),
    )
    def test_whenever_the_reader_comes_no_time_is_lost(self, size: int, reads: list[bool]) -> None:
        capture, n_put, got = Capture(size), 0, b""
        for read in reads:
            if read:
                got += capture.take() or b""
            else:
                n_put += 1
                capture.put(block(n_put))
        while (piece := capture.take()) is not None:
            got += piece
        heard = np.frombuffer(got, "<i2")[::4]
        assert len(heard) == n_put
        assert np.count_nonzero(heard == 0) == capture.dropped
        sounds = heard.nonzero()[0]
        assert (heard[sounds] == sounds + 1).all()  # each at its own time

    def test_a_reader_in_another_thread_wakes_up_with_each_block_and_at_the_end(self) -> None:
        capture, heard = Capture(50), list[bytes]()

        def read() -> None:
            while True:
                capture.wait()
                piece = capture.take()
                if piece is None:
                    return
                heard.append(piece)

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(40):
            capture.put(block(n))
        capture.end()
        reader.join()
        assert heard == [block(n) for n in range(40)]

    def test_what_came_before_the_end_is_still_there(self) -> None:
        capture = Capture(2)
        assert not capture.ready
        capture.put(block(1))
        capture.end()
        assert capture.ready
        assert [capture.take(), capture.take()] == [block(1), None]
        assert capture.ready


class TestPlayback:
    def test_without_sound_it_plays_silence(self) -> None:
        playback = Playback(RATE, 1.0)
        samples = playback.take(BLOCK)
        assert (samples.dtype, samples.shape) == (np.int16, (BLOCK,))
        assert not samples.any()
        assert (playback.played, playback.buffered, playback.underruns) == (0.0, 0.0, 0)

    def test_it_plays_what_is_written_sample_by_sample(self) -> None:
        playback = Playback(RATE, 1.0)
        sound = np.arange(1, 3 * BLOCK + 1, dtype="<i2")
        playback.write(AudioData(sound.tobytes(), RATE))
        assert playback.buffered == 0.06
        assert (taken(playback, 3) == sound).all()
        assert (playback.played, playback.buffered) == (0.06, 0.0)

    @given(st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.integers(64, 2000))
    def test_however_it_is_cut_it_sounds_the_same(self, chunks: list[int], n_block: int) -> None:
        playback = Playback(RATE, 1.0)
        sound = np.arange(1, sum(chunks) + 1, dtype="<i2")
        for piece in np.split(sound, np.cumsum(chunks)[:-1]):
            playback.write(AudioData(piece.tobytes(), RATE))
        n_blocks = len(sound) // n_block + 2 * BLOCK // n_block + 3
        heard = np.concatenate([playback.take(n_block) for _ in range(n_blocks)])
        first = heard.nonzero()[0][0]
        rest = len(sound) % n_block
        whole = len(sound) - rest
        assert (heard[first : first + whole] == sound[:whole]).all()
        assert playback.played == len(sound) / RATE

    def test_a_rest_of_less_than_a_block_waits_for_more(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(BLOCK // 2))
        assert not playback.take(BLOCK).any()
        playback.write(loud(BLOCK // 2))
        assert (playback.take(BLOCK) == 1000).all()

    def test_and_is_played_when_nothing_has_been_written_for_40_ms(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(BLOCK // 2))
        heard = taken(settled(playback, 2), 1)
        assert (heard[: BLOCK // 2] == 1000).all()
        assert playback.played == 0.01

    @pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_other_rates_and_channel_counts_are_played_whole(
        self, rate: int, channels: int
    ) -> None:
        playback = Playback(RATE, 2.0)
        clip = tone(0.5, rate, channels)
        for n in range(25):
            playback.write(clip.sliced(n / 50, (n + 1) / 50))
        heard = taken(playback, 40) / 32768
        assert playback.played == pytest.approx(0.5, abs=0.001)
        expected = tone(0.5, RATE).samples[:, 0]
        inner = slice(1000, 20_000)  # away from the ends, where resampling rings
        assert np.abs(heard[inner] - expected[inner]).max() < 0.01

    @given(st.integers(200, 400))
    def test_the_end_that_the_resampler_held_back_follows_without_a_gap(self, n_ms: int) -> None:
        playback = Playback(RATE, 2.0)
        playback.write(loud(n_ms * 22_050 // 1000, 22_050))
        heard = taken(playback, 30)
        assert playback.underruns == 0
        assert playback.played == pytest.approx(n_ms / 1000, abs=0.001)
        n_frames = round(playback.played * RATE)
        assert (np.abs(heard[100 : n_frames - 100] - 1000.0) < 20).all()
        assert not heard[n_frames + RAMP :].any()

    def test_another_voice_follows_without_losing_the_end_of_the_first(self) -> None:
        playback = Playback(RATE, 2.0)
        playback.write(tone(0.2, 22_050))
        playback.write(tone(0.2, 16_000, channels=2))
        playback.write(tone(0.2, RATE))
        taken(playback, 40)
        assert playback.played == pytest.approx(0.6, abs=0.001)

    def test_finish_plays_what_the_resampler_holds_back_at_once(self) -> None:
        playback = Playback(RATE, 2.0)
        playback.write(tone(0.2, 22_050))
        assert playback.buffered < 0.2
        playback.finish()
        assert playback.buffered == pytest.approx(0.2, abs=0.001)

    def test_more_than_may_wait_is_refused_whole(self) -> None:
        playback = Playback(RATE, 0.05)
        playback.write(loud(2 * BLOCK))
        with pytest.raises(OverloadedError, match=r"0\.0 s of sound wait .* over the 0\.05 s"):
            playback.write(loud(BLOCK))
        assert playback.buffered == 0.04
        playback.take(BLOCK)
        playback.write(loud(BLOCK))  # there is room again

    def test_what_cannot_be_decoded_changes_nothing(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(BLOCK))
        with pytest.raises(AudioFormatError):
            playback.write(AudioData(b"no such file", RATE, format="flac"))
        assert (playback.take(BLOCK) == 1000).all()

    def test_the_cards_own_underruns_count_where_there_was_sound(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.underrun()
        assert playback.underruns == 0
        playback.write(loud(BLOCK))
        playback.underrun()
        assert playback.underruns == 1


class TestBreakingOff:
    def test_sound_that_goes_on_within_half_a_second_had_broken_off(self) -> None:
        playback = Playback(RATE, 1.0)
        for _ in range(3):
            playback.write(loud(2 * BLOCK))
            taken(playback, 4)
        assert playback.underruns == 2

    def test_sound_that_comes_later_is_new(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(2 * BLOCK))
        taken(playback, 2 + 26)
        playback.write(loud(2 * BLOCK))
        taken(playback, 2)
        assert playback.underruns == 0

    def test_sound_after_a_flush_is_new(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(5 * BLOCK))
        taken(playback, 2)
        playback.flush()
        taken(playback, 2)
        playback.write(loud(BLOCK))
        taken(playback, 1)
        assert playback.underruns == 0

    @pytest.mark.parametrize(
        "end", [Playback.flush, lambda playback: None], ids=["flush", "nothing more comes"]
    )
    def test_it_fades_out_in_5_ms_and_not_with_a_click(
        self, end: Callable[[Playback], None]
    ) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(BLOCK, value=24_000))
        playback.take(BLOCK)
        end(playback)
        heard = playback.take(BLOCK).astype(int)
        assert heard[0] == 24_000
        steps = np.diff(heard)
        assert (steps <= 0).all()
        assert steps.min() >= -24_000 / RAMP - 1
        assert not heard[RAMP:].any()
        assert not playback.take(BLOCK).any()

    def test_a_fade_has_no_more_room_than_the_block(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(loud(BLOCK - 10))
        heard = taken(settled(playback, 2), 1)
        assert heard[-10] == 1000
        assert 0 < heard[-1] < 1000
        assert not playback.take(BLOCK).any()

    def test_flush_drops_what_the_resampler_holds_too(self) -> None:
        playback = Playback(RATE, 1.0)
        playback.write(tone(0.3, 22_050))
        taken(playback, 5)
        played = playback.played
        playback.flush()
        assert playback.buffered == 0.0
        assert not taken(playback, 10)[BLOCK:].any()
        assert playback.played == played


def test_a_card_that_comes_while_somebody_writes_does_not_wait() -> None:
    playback = Playback(RATE, 1.0)
    playback.write(tone(0.1, 22_050))
    taken(playback, 7)  # settled: the next block would ask for the rest
    playback.write(tone(0.002, 22_050))
    taken(playback, 2)
    with playback._writing:
        block = playback.take(BLOCK)
    assert not block[RAMP:].any()
    assert taken(playback, 1).any()


def test_a_writer_and_a_card_in_their_own_threads_lose_nothing() -> None:
    playback = Playback(RATE, 60.0)
    sound = np.arange(1, 30_001, dtype="<i2")
    heard: list[NDArray[np.int16]] = []
    done = threading.Event()

    def card() -> None:
        while not done.is_set() or playback.buffered:
            heard.append(playback.take(64))

    thread = threading.Thread(target=card)
    thread.start()
    for piece in np.split(sound, 300):
        playback.write(AudioData(piece.tobytes(), RATE))
    done.set()
    thread.join()
    assert playback.played == len(sound) / RATE
    # Fades stand where the card was early, and are lower than what was played before.
    heard_so_far = np.maximum.accumulate(np.concatenate(heard))
    assert (np.unique(heard_so_far[heard_so_far.nonzero()]) == sound).all()
