"""What voices sound like, kept for the next who asks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Previews"]

_MAX_BYTES: Final = 16 << 20  # of all; a sentence is about 150 kB


VoiceT = TypeVar("VoiceT", bound=Hashable)


class Previews(Generic[VoiceT]):
    """What voices sound like: WAV files, of which those used longest ago are forgotten."""

    def __init__(self, is_known: Callable[[VoiceT], bool], max_bytes: int = _MAX_BYTES) -> None:
        self._is_known = is_known  # others have been deleted
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[VoiceT, bytes] = OrderedDict()

    def get(self, voice: VoiceT) -> bytes | None:
        if voice in self._kept:
            self._kept.move_to_end(voice)
        return self._kept.get(voice)

    def keep(self, voice: VoiceT, wav: bytes) -> None:
        self._drop(voice)
        if not self._is_known(voice):
            return
        self._kept[voice] = wav
        self._n_bytes += len(wav)
        while self._n_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def retain(self, voices: Collection[VoiceT]) -> None:
        """Forget all others."""
        for each in self._kept.keys() - {*voices}:
            self._drop(each)

    def _drop(self, voice: VoiceT) -> None:
        self._n_bytes -= len(self._kept.pop(voice, b""))
