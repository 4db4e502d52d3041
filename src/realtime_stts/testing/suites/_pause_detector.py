"""What a pause detector promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ...audio import AudioData
from ...errors import AudioFormatError
from ...protocols import PauseDetector
from .._audio import speech
from ._tools import converted, cut

__all__ = ["PauseDetectorSuite"]

_START, _END = "speech_start", "speech_end"
_LEAD = 1.0  # s of silence before the clip
_TAIL = 3.0  # s of silence after it: more than any detector waits before it decides


class PauseDetectorSuite:
    """A `PauseDetector` keeps its promises.

    Override ``engine``, and `clip` with a recording that the detector takes for speech.

    Attributes:
        tolerance: Seconds by which a time may move when the same sound comes at another
            sample rate.
    """

    pytestmark = pytest.mark.anyio

    tolerance: float = 0.1

    def engine(self) -> PauseDetector:
        """A new detector."""
        raise NotImplementedError(f"{type(self).__name__}.engine returns the detector to test")

    def clip(self) -> AudioData:
        """A second of speech, without silence at its ends."""
        return speech(1.0)

    def _scene(self) -> AudioData:
        """Silence, the clip, silence."""
        clip = self.clip().mono().converted()
        rate = clip.sample_rate
        return AudioData.concat(
            [AudioData.silence(_LEAD, rate), clip, AudioData.silence(_TAIL, rate)]
        )

    async def _listen(
        self, detector: PauseDetector, chunks: Sequence[AudioData]
    ) -> tuple[list[str], list[Any]]:
        """The events of some chunks, by name and, where the detector gives them, timed."""
        names: list[str] = []
        timed: list[Any] = []
        heard = 0.0
        for chunk in chunks:
            result = await detector.process_chunk(chunk)
            heard += chunk.duration_seconds
            assert result["is_speaking"] is detector.is_speaking
            names += result["events"]
            for event in result.get("speech_events", []):
                assert 0 <= event.at <= event.decided <= heard + 1e-3, (
                    f"{event} is not of the {heard:.3f} s heard"
                )
                timed.append(event)
        expected = [(_START, _END)[i % 2] for i in range(len(names))]
        assert names == expected, f"starts and ends do not alternate: {names}"
        assert detector.is_speaking is (len(names) % 2 == 1)
        times = [event.at for event in timed]
        assert times == sorted(times)
        return names, timed

    async def test_is_a_pause_detector(self) -> None:
        detector = self.engine()
        assert isinstance(detector, PauseDetector)
        assert detector.is_speaking is False

    async def test_hears_nothing_in_silence(self) -> None:
        chunks = cut(AudioData.silence(_LEAD, 16_000), [0.02])
        assert await self._listen(self.engine(), chunks) == ([], [])

    async def test_hears_speech_start_and_end(self) -> None:
        names, _ = await self._listen(self.engine(), cut(self._scene(), [0.02]))
        assert names[:1] == [_START], "the speech was not noticed"
        assert names[-1:] == [_END], "the silence after the speech was not noticed"

    async def test_times_every_event_or_none(self) -> None:
        names, timed = await self._listen(self.engine(), cut(self._scene(), [0.02]))
        assert len(timed) in (0, len(names))

    @pytest.mark.parametrize(
        "lengths",
        [
            pytest.param([0.01], id="10 ms"),
            pytest.param([0.25], id="250 ms"),
            pytest.param([3600.0], id="whole"),
            pytest.param([0.001, 0.37, 0.0, 0.02, 0.113], id="uneven"),
        ],
    )
    async def test_hears_the_same_however_it_is_cut(self, lengths: Sequence[float]) -> None:
        scene = self._scene()
        expected = await self._listen(self.engine(), cut(scene, [0.02]))
        assert await self._listen(self.engine(), cut(scene, lengths)) == expected

    @pytest.mark.parametrize(
        ("sample_rate", "channels", "format"),
        [(8_000, 1, "pcm"), (44_100, 2, "pcm_f32le"), (48_000, 2, "pcm_s24le")],
    )
    async def test_hears_the_same_in_any_layout(
        self, sample_rate: int, channels: int, format: str
    ) -> None:
        """Times are seconds of audio, whatever a second consists of."""
        scene = self._scene()
        names, timed = await self._listen(self.engine(), cut(scene, [0.02]))
        other = converted(scene, sample_rate, channels, format)
        names_there, timed_there = await self._listen(self.engine(), cut(other, [0.02]))
        assert names_there == names
        for here, there in zip(timed, timed_there, strict=True):
            assert there.at == pytest.approx(here.at, abs=self.tolerance)

    async def test_forgets_on_reset(self) -> None:
        """Even in the middle of speech, and at another sample rate."""
        scene = self._scene()
        expected = await self._listen(self.engine(), cut(scene, [0.02]))
        detector = self.engine()
        half = _LEAD + self.clip().duration_seconds / 2
        await self._listen(detector, cut(scene.resampled(48_000).sliced(0, half), [0.02]))
        detector.reset()
        assert detector.is_speaking is False
        assert await self._listen(detector, cut(scene, [0.02])) == expected

    async def test_shares_nothing_with_another(self) -> None:
        """Two detectors that listen in turns hear what each hears alone."""
        chunks = cut(self._scene(), [0.02])
        expected, _ = await self._listen(self.engine(), chunks)
        assert expected, "the speech was not noticed"
        pair = (self.engine(), self.engine())
        heard: tuple[list[str], list[str]] = ([], [])
        # The second listens to the same scene, half a second behind.
        for i in range(len(chunks) + 25):
            for detector, names, at in zip(pair, heard, (i, i - 25), strict=True):
                if 0 <= at < len(chunks):
                    names += (await detector.process_chunk(chunks[at]))["events"]
        assert heard == (expected, expected)

    async def test_clones_into_one_that_has_heard_nothing(self) -> None:
        """A conversation takes a clone of the detector it is given for each session."""
        scene = self._scene()
        detector = self.engine()
        clone = getattr(detector, "clone", None)
        if clone is None:
            pytest.skip(f"{type(detector).__name__} has no clone()")
        expected = await self._listen(detector, cut(scene, [0.02]))
        assert await self._listen(clone(), cut(scene, [0.02])) == expected

    async def test_refuses_a_stream_that_changes_its_layout(self) -> None:
        detector = self.engine()
        await detector.process_chunk(AudioData.silence(0.1, 16_000))
        with pytest.raises(AudioFormatError):
            await detector.process_chunk(AudioData.silence(0.1, 48_000, 2))

    async def test_refuses_what_is_not_audio(self) -> None:
        with pytest.raises(AudioFormatError):
            await self.engine().process_chunk(AudioData(b"junk", 16_000, format="wav"))
