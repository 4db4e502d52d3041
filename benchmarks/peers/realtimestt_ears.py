"""RealtimeSTT hearing with faster-whisper, fed as its manual says for sound from elsewhere.

Its recorder is made once, as it loads the model, in a process of its own; beam and
temperature are its default's and ours, greedy, and the detectors are those it comes with.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
from RealtimeSTT import AudioToTextRecorder

from .call import FRAME, RATE, SILENCE
from .faster_whisper_speed import convert

__all__ = ["answer"]

_recorder: AudioToTextRecorder | None = None


def answer(until_the_end: ExitStack, *, job: str, **options: Any) -> dict[str, Any]:
    """``heard`` is a round: seconds from the last sample of the clip to its text."""
    global _recorder
    if job != "heard":
        raise ValueError(f"no such job: {job}")
    if _recorder is None:
        folder = Path(options["folder"])
        if not (folder / "ct2").is_dir():
            convert(folder / "weights.npz", folder / "ct2")
        _recorder = AudioToTextRecorder(
            model=str(folder / "ct2"),
            language="en",
            device="cpu",
            compute_type="float32",
            beam_size=1,
            use_microphone=False,
            spinner=False,
            no_log_file=True,
            post_speech_silence_duration=SILENCE,
            early_transcription_on_silence=200 if options.get("eager") else 0,  # ms
        )
        until_the_end.callback(_recorder.shutdown)
    clip = np.load(options["clip"])
    return _heard(_recorder, clip)


def _heard(recorder: AudioToTextRecorder, clip: np.ndarray) -> dict[str, Any]:
    pcm = (clip * 32_767).astype(np.int16)
    quiet = np.zeros(RATE // 2, np.int16)
    sound = np.concatenate([quiet, pcm])
    last = [0.0]
    over = threading.Event()

    def feed() -> None:
        begin, n, size = monotonic(), 0, round(FRAME * RATE)
        while not over.is_set():
            frame = sound[n * size : (n + 1) * size]
            n += 1
            sleep(max(0.0, begin + n * FRAME - monotonic()))
            if n * size <= sound.size:
                last[0] = begin + n * FRAME
            recorder.feed_audio(np.pad(frame, (0, size - frame.size)).tobytes())

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        text = recorder.text()
        now = monotonic()
    finally:
        over.set()
        feeding.join()
    return {"seconds": [now - last[0]], "text": text}
