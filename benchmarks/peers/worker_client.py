"""Rounds of a framework, which runs in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

__all__ = ["ENVIRONMENTS", "Environment", "Peer", "PeerError"]

_ROOT = Path(__file__).parents[2]
_PATIENCE = 15.0  # s, for a process that was told to end
_LAST = 300  # characters of what it said on stderr


@dataclass(frozen=True, slots=True)
class Environment:
    """Where packages are: a folder that ``make FOLDER/.ready`` provides."""

    folder: str

    @property
    def python(self) -> Path:
        return _ROOT / self.folder / "bin" / "python"

    @property
    def lacks(self) -> str | None:
        """Why nothing can run in it; None if something can."""
        if not (_ROOT / self.folder / ".ready").exists():
            return f"no environment: `make {self.folder}/.ready` failed or was not run"
        return None


_BESIDE = Environment(".venv-bench")
ENVIRONMENTS: Mapping[str, Environment] = {
    "nothing": _BESIDE,
    "ours": _BESIDE,
    "pipecat": _BESIDE,
    "livekit": _BESIDE,
    "fastrtc": Environment(".venv-fastrtc"),
    "ours-ears": Environment(".venv-models"),
    "realtimestt": Environment(".venv-realtimestt"),
}


class PeerError(RuntimeError):
    """A side that did not do what it was asked; says what happened."""


class Peer:
    """A side in its own process, from ``with`` to its end.

    Raises:
        PeerError: It cannot be started here, it ended, or a round failed.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self.version = ""

    def __enter__(self) -> Peer:
        environment = ENVIRONMENTS[self.side]
        if lacks := environment.lacks:
            raise PeerError(lacks)
        self._errors = TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [environment.python, "-m", "benchmarks.peers.worker", self.side],
            cwd=_ROOT,
            # Nothing is to be downloaded, nor told to anybody.
            env={**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self.version = str(self._answer()["version"])
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

    def ask(self, **question: object) -> dict[str, Any]:
        """The answer to one round; see `worker`."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, as the lack of an answer will say
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise PeerError(f"its process ended with {code}: {self._said()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _said(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:_LAST] if lines else "it said nothing"

    def _end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"{self.side} did not end and is killed", file=sys.stderr)
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
