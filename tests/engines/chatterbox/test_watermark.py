"""Perth's mark is in a stream as it is in a clip, and Perth finds it there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("chatterbox")

import perth
import torch

from realtime_stts import AudioData, EngineLoadError, MissingExtraError
from realtime_stts.engines.chatterbox._watermark import Marker, Marking

RATE = 24_000
TEXT = (
    "The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore, and "
    "nobody knows why. It was a bright cold day in April, and the clocks were striking thirteen."
)


@pytest.fixture(scope="module")
def marker() -> Marker:
    torch.set_num_threads(1)
    return Marker(RATE)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Ten seconds of eSpeak."""
    pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
    from realtime_stts.engines.espeak import ESpeakTTSEngine

    async def spoken() -> np.ndarray:
        async with ESpeakTTSEngine() as engine:
            audio = (await engine.synthesize(TEXT, {})).audio_data
        return audio.converted("pcm_f32le").resampled(RATE).samples[: 10 * RATE, 0]

    with ThreadPoolExecutor() as pool:
        samples = pool.submit(asyncio.run, spoken()).result()
    assert samples.size == 10 * RATE
    return samples


def chunks(samples: np.ndarray, n: int) -> Iterator[np.ndarray]:
    return (samples[start : start + n] for start in range(0, samples.size, n))


def streamed(marking: Marking, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate([*map(marking.feed, parts), marking.finish()])


def perths(marker: Marker, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A clip as Perth marks it whole, and what Perth takes it to and back from without a mark."""
    mark = perth.PerthImplicitWatermarker(run_name=None, perth_net=marker._perth.perth_net)
    net = mark.perth_net
    marked = mark.apply_watermark(samples.copy(), RATE)
    wave = torch.from_numpy(_moved(samples, RATE, net.hp.sample_rate))
    again = net.ap.magphase_to_signal(*net.ap.signal_to_magphase(wave)).numpy()
    return marked, _moved(again, net.hp.sample_rate, RATE)


def _moved(samples: np.ndarray, here: int, there: int) -> np.ndarray:
    import librosa

    return librosa.resample(samples, orig_sr=here, target_sr=there)


class TestTheMark:
    @pytest.mark.parametrize("seconds", [1, 2, 5, 10])
    @pytest.mark.parametrize("n_chunk", [2_400, 24_000])
    def test_is_found_in_a_stream_as_in_a_clip(
        self, marker: Marker, speech: np.ndarray, seconds: int, n_chunk: int
    ) -> None:
        clip = speech[: seconds * RATE]
        whole, _ = perths(marker, clip)
        stream = streamed(marker.stream(), *chunks(clip, n_chunk))
        assert marker.confidence(clip) < 0.1
        assert marker.confidence(stream) == pytest.approx(marker.confidence(whole), abs=0.01)
        assert marker.confidence(stream) > 0.99

    def test_is_found_in_every_second_of_a_stream(self, marker: Marker, speech: np.ndarray) -> None:
        stream = streamed(marker.stream(), *chunks(speech, 4_800))
        for start in range(0, 9):
            assert marker.confidence(stream[start * RATE : (start + 1) * RATE]) > 0.95

    def test_survives_what_a_host_does_with_it(self, marker: Marker, speech: np.ndarray) -> None:
        marked = AudioData.from_samples(marker.mark(speech[: 3 * RATE]), RATE)
        for sent in (marked, AudioData.from_file(marked.encode("opus")).mono()):
            heard = sent.resampled(RATE).converted("pcm_f32le").samples[:, 0]
            assert marker.confidence(heard) > 0.9

    def test_is_the_one_that_perth_puts_there(self, marker: Marker, speech: np.ndarray) -> None:
        """Apart from the ends, which Perth's resampling blurs."""
        clip = speech[: 3 * RATE]
        marked, unmarked = perths(marker, clip)
        n = min(marked.size, clip.size)
        theirs = (marked - unmarked)[:n]
        ours = (streamed(marker.stream(), *chunks(clip, 9_000)) - clip)[:n]
        inner = slice(RATE // 10, -RATE // 10)
        assert np.abs(theirs - ours)[inner].max() < 1e-4
        assert np.abs(theirs[inner]).max() > 0.02

    def test_is_put_below_two_kilohertz_and_the_rest_left_as_it_is(
        self, marker: Marker, speech: np.ndarray
    ) -> None:
        mark = marker.mark(speech) - speech
        spectrum = np.abs(np.fft.rfft(mark)) ** 2
        above = round(2_100 * mark.size / RATE)
        assert spectrum[above:].sum() < 1e-4 * spectrum.sum()

    def test_is_as_soft_as_perths(self, marker: Marker, speech: np.ndarray) -> None:
        marked, unmarked = perths(marker, speech)
        theirs, ours = marked - unmarked, marker.mark(speech) - speech
        assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.01)
        assert 10 * np.log10(np.var(speech) / np.var(ours)) > 15.0

    def test_is_not_put_into_silence(self, marker: Marker, speech: np.ndarray) -> None:
        pause = np.zeros(RATE, np.float32)
        marked = marker.mark(np.concatenate([pause, speech[:RATE], pause]))
        assert not marked[: RATE - marker.width].any()
        assert not marked[2 * RATE + marker.width :].any()
        assert marker.confidence(marked) > 0.99


class TestAStream:
    def test_is_no_louder_at_its_seams(self, marker: Marker, speech: np.ndarray) -> None:
        whole = marker.mark(speech)
        for n_chunk in (480, 2_400, 11_111):
            stream = streamed(marker.stream(), *chunks(speech[: 3 * RATE], n_chunk))
            inner = stream.size - RATE // 2
            assert np.abs(stream - whole[: stream.size])[:inner].max() < 1e-6

    def test_holds_back_214_ms_at_most(self, marker: Marker, speech: np.ndarray) -> None:
        assert marker.hold_back == pytest.approx(0.214, abs=0.0005)
        marking, n_in, n_out = marker.stream(), 0, 0
        for chunk in chunks(speech[:RATE], 100):
            n_in, n_out = n_in + chunk.size, n_out + marking.feed(chunk).size
            assert n_in - n_out <= marker.hold_back * RATE

    @pytest.mark.parametrize("n", [0, 1, 100, 768, 769, 1_000, 5_135])
    def test_may_be_short(self, marker: Marker, speech: np.ndarray, n: int) -> None:
        out = streamed(marker.stream(), speech[RATE : RATE + n])
        assert out.size == n
        assert np.isfinite(out).all()

    @settings(max_examples=30)
    @given(st.integers(0, 20_000), st.lists(st.integers(0, 20_000), max_size=6))
    def test_is_the_same_however_it_is_cut(
        self, marker: Marker, speech: np.ndarray, n: int, cuts: list[int]
    ) -> None:
        clip = speech[RATE : RATE + n]
        stream = streamed(marker.stream(), *np.split(clip, sorted(cut % (n + 1) for cut in cuts)))
        assert stream.dtype == np.float32
        assert stream.size == n
        np.testing.assert_allclose(stream, marker.mark(clip), atol=1e-6)

    def test_shares_nothing_with_another(self, marker: Marker, speech: np.ndarray) -> None:
        first, second = speech[: 2 * RATE], speech[4 * RATE : 6 * RATE]
        markings = marker.stream(), marker.stream()
        out: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for pair in zip(chunks(first, 5_000), chunks(second, 5_000), strict=True):
            for each, marking, chunk in zip(out, markings, pair, strict=True):
                each.append(marking.feed(chunk))
        for each, marking, clip in zip(out, markings, (first, second), strict=True):
            np.testing.assert_allclose(
                np.concatenate([*each, marking.finish()]), marker.mark(clip), atol=1e-6
            )


class TestAMarker:
    def test_says_nothing(self, capfd: pytest.CaptureFixture[str], speech: np.ndarray) -> None:
        Marker(RATE).mark(speech[:RATE])
        assert capfd.readouterr() == ("", "")

    def test_of_silence_is_not_confident(self, marker: Marker) -> None:
        assert marker.confidence(np.zeros(RATE, np.float32)) == 0.0

    def test_needs_some_sound_to_look_at(self, marker: Marker) -> None:
        with pytest.raises(ValueError, match="looked for in more than 768 samples"):
            marker.confidence(np.zeros(768, np.float32))

    def test_is_of_a_rate_that_perths_frames_fit(self) -> None:
        with pytest.raises(ValueError, match="22050 Hz cannot be marked"):
            Marker(22_050)

    def test_says_what_to_install_beside_a_setuptools_that_is_too_new(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Perth hides that it could not import what is gone from there."""
        monkeypatch.setattr(perth, "PerthImplicitWatermarker", None)
        with pytest.raises(MissingExtraError, match=r'watermark .*: pip install "setuptools<81"'):
            Marker(RATE)

    def test_that_does_not_mark_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from perth.perth_net.perth_net_implicit.model.perth_net import PerthNet

        loaded = PerthNet.load_state_dict

        def blank(net: PerthNet, weights: dict[str, torch.Tensor]) -> None:
            loaded(net, weights)
            for weight in net.encoder.parameters():
                weight.data.zero_()

        monkeypatch.setattr(PerthNet, "load_state_dict", blank)
        with pytest.raises(EngineLoadError, match="not found where it is put"):
            Marker(RATE)

    def test_whose_weights_are_gone_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from perth.perth_net.perth_net_implicit.checkpoint_manager import CheckpointManager

        monkeypatch.setattr(CheckpointManager, "load_latest", lambda self: None)
        with pytest.raises(EngineLoadError, match="network cannot be read"):
            Marker(RATE)
