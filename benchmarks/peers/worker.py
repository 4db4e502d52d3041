"""A framework in a process and an environment of its own, which takes rounds of jobs.

    python -m benchmarks.peers.worker pipecat

It says ``{"ready": true, "version": "1.14.0"}`` and answers each line with one: see `jobs`
and the sides that hear for what they are asked.

    {"job": "turns", "n": 4} -> {"seconds": [0.61, ...], "equal": true}

What a framework raised is answered with ``{"error": "..."}``.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

__all__ = ["SIDES"]

SIDES = {
    "nothing": ("nothing_side", "numpy"),
    "ours": ("ours_side", "realtime-stts"),
    "pipecat": ("pipecat_side", "pipecat-ai"),
    "livekit": ("livekit_side", "livekit-agents"),
    "fastrtc": ("fastrtc_side", "fastrtc"),
    "ours-ears": ("ours_ears", "realtime-stts"),
    "realtimestt": ("realtimestt_ears", "RealtimeSTT"),
}
"""The module of each side, and the distribution whose version counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("side", choices=SIDES)
    module, distribution = SIDES[parser.parse_args().side]

    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    with ExitStack() as until_the_end:
        answer = importlib.import_module(f"{__package__}.{module}").answer
        say({"ready": True, "version": version(distribution)})
        for line in sys.stdin:
            question = json.loads(line)
            gc.collect()
            try:
                say(answer(until_the_end, **question))
            except Exception as exc:  # noqa: BLE001 - whatever it is, is the answer
                say({"error": f"{type(exc).__name__}: {exc}"})
    answers.close()
    os._exit(0)  # threads that a framework leaves behind keep nobody waiting


if __name__ == "__main__":
    main()
