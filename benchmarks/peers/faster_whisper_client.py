"""Rounds of faster-whisper, which runs in a process and an environment of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from types import TracebackType
from typing import Any

import numpy as np
import torch
from whisper.tokenizer import get_tokenizer

__all__ = ["PYTHON", "FasterWhisper", "export"]

_ROOT = Path(__file__).parents[2]
_MODELS = _ROOT / "out" / "bench" / "faster_whisper"
PYTHON = _ROOT / ".venv-faster-whisper" / "bin" / "python"
"""The interpreter that ``make .venv-faster-whisper/.ready`` provides."""

_WINDOW = 480_000  # samples: 30 s at 16 kHz
_PATIENCE = 10.0  # s, for a process that was told to end
_SETTLING = 0.05  # s between rounds: OpenMP's threads wait for more work at full speed first


class FasterWhisper:
    """faster-whisper on a checkpoint of openai-whisper's format, from ``with`` to its end.

    The checkpoint is converted once for all types, and kept under ``out/bench/``.

    Args:
        env_python: The interpreter of an environment with faster-whisper.
        checkpoint: A file with ``dims`` and ``model_state_dict``.
        compute_type: ``float32`` or ``int8``.
        threads: Those of its inference.

    Raises:
        RuntimeError: The process ended, or a round did not do what was asked; it says on
            stderr what happened.
    """

    def __init__(
        self, env_python: Path, checkpoint: Path, compute_type: str = "float32", threads: int = 2
    ) -> None:
        self._python, self._checkpoint = env_python, checkpoint
        self._compute_type, self._threads = compute_type, threads

    def __enter__(self) -> FasterWhisper:
        self._scratch = TemporaryDirectory(prefix="faster-whisper-")
        folder = _MODELS / sha256(self._checkpoint.read_bytes()).hexdigest()[:16]
        command: list[str | Path] = [
            *(self._python, "-m", "benchmarks.peers.faster_whisper_speed", folder),
            *("--compute-type", self._compute_type, "--threads", str(self._threads)),
        ]
        if not folder.is_dir():
            exported = Path(self._scratch.name) / "weights.npz"
            export(self._checkpoint, exported)
            command += ["--convert", exported]
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(self._threads),
                "HF_HUB_OFFLINE": "1",  # nothing is to be downloaded
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            self._answer()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def encode(self, clip: np.ndarray) -> float:
        """Seconds that the encoder alone takes over its full window.

        Args:
            clip: float32 at 16 kHz, shape (n,), of 30 s at most; so for the others.
        """
        return float(self._round(clip, case="encode")["seconds"])

    def transcribe(
        self, clip: np.ndarray, n_tokens: int, *, beam: int = 1, batch: int = 1
    ) -> float:
        """Seconds from the clip to text of exactly so many tokens.

        Args:
            n_tokens: From 4 to 224; they are forced, and counted.
            batch: How many times the same clip, together.
        """
        answer = self._round(clip, case="transcribe", tokens=n_tokens, beam=beam, batch=batch)
        return float(answer["seconds"])

    def tokens(self, clip: np.ndarray, n_tokens: int, *, beam: int = 1) -> list[int]:
        """The tokens of the clip, for an equality gate.

        It is filled up to 30 s with silence here. Left to itself faster-whisper fills up the
        features with zeros, which are no silence, and openai-whisper hears something else.
        Its tokens are the same if ``suppress_tokens`` holds all from the end of the text on,
        ``suppress_blank`` is False and ``without_timestamps`` True.
        """
        window = np.pad(clip, (0, _WINDOW - clip.size))
        answer = self._round(window, case="transcribe", tokens=n_tokens, beam=beam, batch=1)
        (tokens,) = answer["tokens"]
        return list(tokens)

    def _round(self, clip: np.ndarray, **question: object) -> dict[str, Any]:
        file = Path(self._scratch.name) / "clip.npy"
        np.save(file, clip.astype(np.float32, copy=False))
        assert self._process.stdin
        sleep(_SETTLING)
        with suppress(BrokenPipeError):  # it has ended, as the lack of an answer will say
            self._process.stdin.write(json.dumps({"clip": str(file), **question}) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        sleep(_SETTLING)
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of faster-whisper ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"faster-whisper: {answer['error']}")
        return answer

    def _end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._scratch.cleanup()


def export(checkpoint: Path, to: Path) -> None:
    """Write what `faster_whisper_speed.convert` reads, which has no torch.

    Args:
        checkpoint: A file with ``dims`` and ``model_state_dict``.
        to: A file ``.npz``.
    """
    loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    n_vocab = loaded["dims"]["n_vocab"]
    multilingual = n_vocab >= 51865
    n_languages = n_vocab - 51765 - multilingual  # as `Whisper.num_languages`
    encoding = get_tokenizer(multilingual, num_languages=n_languages).encoding
    tokens = [encoding.decode_single_token_bytes(token) for token in range(n_vocab)]
    header = {
        "dims": loaded["dims"],
        "n_text": encoding.eot_token,
        "tokens": [base64.b64encode(token).decode() for token in tokens],
    }
    arrays = {name: tensor.float().numpy() for name, tensor in loaded["model_state_dict"].items()}
    np.savez(to, header=np.array(json.dumps(header)), **arrays)
