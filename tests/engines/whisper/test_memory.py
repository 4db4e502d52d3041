"""Whisper where memory runs out: what fits is heard, the rest is told, and the engine goes on.

A second process takes its own address space away while a batch is under way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("whisper")

from realtime_stts.audio import AudioData

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux keeps to a limit of the address space"
)

PROGRAM = """
import json, resource, sys
from pathlib import Path

import anyio
import torch
from realtime_stts.audio import AudioData
from realtime_stts.engines.whisper import WhisperSTTEngine
from realtime_stts.errors import EngineMemoryError

torch.set_num_threads(1)
clip = AudioData.from_file(sys.argv[2])
stt = WhisperSTTEngine(sys.argv[1], "cpu", temperature=0.0)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
run, spare = stt._run, None


def run_short_of_memory(entries):
    # Here, where every thread has been started and the calls are together.
    if spare is not None and len(entries) == 5:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + spare, unlimited[1]))
    return run(entries)


stt._batcher._run = run_short_of_memory


async def hear(outcomes):
    try:
        outcomes.append((await stt.transcribe(clip)).text)
    except EngineMemoryError as exc:
        outcomes.append(f"no memory: {exc}")


async def main():
    global spare
    await hear([])
    told = []
    for megabytes in (6, 12, 13, 14, 15, 16, 17, 18, 90):
        spare = megabytes * 1_000_000
        outcomes = []
        async with anyio.create_task_group() as tasks:
            with stt._worker.exclusive():
                for _ in range(5):
                    tasks.start_soon(hear, outcomes)
                while stt.statistics.n_waiting < 5:
                    await anyio.sleep(0.001)
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
        spare = None
        afterwards = []
        await hear(afterwards)
        told.append({"outcomes": outcomes, "afterwards": afterwards})
    await stt.unload()
    print(json.dumps({"told": told, "n_retries": stt.statistics.n_retries}))


anyio.run(main)
"""


def test_what_does_not_fit_in_half_is_told_and_the_rest_is_heard(
    tiny_words: Path, say: Callable[..., AudioData], tmp_path: Path
) -> None:
    clip = say("good bye").to_file(tmp_path / "clip.wav")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_words), str(clip)],
        # What is freed goes back to the system at once, so that it is really missing.
        env=os.environ
        | {
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "0",
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    outcomes = [each["outcomes"] for each in answer["told"]]
    n_heard = [each.count("good bye.") for each in outcomes]
    # Five do not fit, nor do three, and nor do two; then two do; at last there is enough.
    assert n_heard[0] == 0
    assert 2 in n_heard
    assert n_heard[-1] == 5
    told = [text for each in outcomes for text in each if text != "good bye."]
    assert {text.partition(" with ")[0] for text in told} == {
        "no memory: whisper: out of memory twice, at last"
    }
    assert len(told) == sum(5 - n for n in n_heard)
    assert answer["n_retries"] >= 2 * sum(n < 5 for n in n_heard)
    assert all(each["afterwards"] == ["good bye."] for each in answer["told"])
