"""A file's sound, read as it is needed: hours of it take no more memory than minutes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from ..audio import AudioData, StreamResampler
from ..errors import AudioLimitError
from ..integrations._http._decoding_formats import pieces
from ._batch_cuts import quietest

__all__ = ["LONGEST", "RATE", "length_of", "parts"]

RATE: Final = 16_000  # Hz; what speech is recognised at
LONGEST: Final = 300.0  # s of a part
_SEARCHED: Final = 0.1  # of a part, at its end, in which it is cut: half a minute

_STEP: Final = 20 * RATE  # samples that are read at once


def parts(
    path: Path, max_seconds: float = inf, longest: float = LONGEST
) -> Generator[AudioData | None]:
    """The sound of a file as mono 16-bit PCM of 16 kHz, in parts; blocks as it is read.

    None comes in between, where there is a chance to do something else: after some seconds
    of sound. Each part but the last ends where it is quietest in the last tenth of
    ``longest``, which is over two seconds and the most that a part has.

    Raises:
        OSError: The file cannot be read.
        AudioError: It holds no audio that can be used, or more than ``max_seconds`` of it.
            Of a file that is cut short, what can be decoded comes.
    """
    resampler = StreamResampler(RATE)
    held = bytearray()
    n_read = n_given = 0
    most = round(longest * RATE)
    with path.open("rb") as file, closing(pieces(file)) as decoded:  # type: ignore[type-var]
        for piece in decoded:
            held += resampler.push(AudioData(piece.pcm, piece.sample_rate, piece.channels)).data
            if (n_given + len(held) // 2) / RATE > max_seconds:
                raise AudioLimitError(f"it is longer than {max_seconds / 3600:g} h")
            while len(held) // 2 > most:
                part = _taken(held, _cut(held, most))
                n_given += len(part.data) // 2
                yield part
            if n_given + len(held) // 2 >= n_read + _STEP:
                n_read = n_given + len(held) // 2
                yield None
    held += resampler.flush().data
    while len(held) // 2 > most:
        yield _taken(held, _cut(held, most))
    if held:
        yield _taken(held, len(held) // 2)


def _cut(held: bytearray, most: int) -> int:
    """How many samples the first part has."""
    searches = round(most * _SEARCHED)
    last = np.frombuffer(held[2 * (most - searches) : 2 * most], "<i2")
    return most - searches + quietest(last, RATE)


def _taken(held: bytearray, n_samples: int) -> AudioData:
    part = AudioData(bytes(held[: 2 * n_samples]), RATE)
    del held[: 2 * n_samples]
    return part


def length_of(path: Path) -> float | None:
    """Seconds of sound in a file, by its header; None if that does not say. Blocks.

    For a progress bar: the header may be wrong, and so may be a file that has one.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            seconds = float(sound.frames / sound.samplerate)
    except (soundfile.SoundFileError, OSError, ValueError, ZeroDivisionError):
        return None
    return seconds if 0.0 < seconds < 1e6 else None
