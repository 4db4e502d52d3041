"""The program that is counted: ``python -m benchmarks.guard.child WORKLOADS [FIRST STEP]``.

With a file of workloads alone, it prints their names as JSON; that also has Python compile all
that is imported. With two numbers it runs every STEP-th workload from FIRST on, each in forks of
its own, and prints the process and the workload of each fork.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["FORKS", "ROUNDS", "main"]

FORKS: Final = 3  # of each workload
ROUNDS: Final = 3  # that are counted in each
_WARM_UP: Final = 3  # rounds before: caches fill, and the interpreter specialises its code
_PADDING: Final = 977  # more objects in memory than in the fork before

_FOUND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def counted(round_: Callable[[], object]) -> None:
    """Call it from inside `ffi_call`, where callgrind counts.

    `bsearch` of one element calls its comparison once, and has nothing else to do.
    """
    raised: list[BaseException] = []

    def compare(key: object, element: object) -> int:
        try:
            round_()
        except BaseException as exc:  # noqa: BLE001 - C code lets none through
            raised.append(exc)
        return 0

    element = ctypes.create_string_buffer(1)
    one = ctypes.c_size_t(1)
    ctypes.CDLL(None).bsearch(element, element, one, one, _FOUND(compare))
    if raised:
        raise raised[0]


def main(arguments: Sequence[str]) -> int:
    path, *which = arguments
    workloads: dict[str, Callable[[], Callable[[], object]]]
    workloads = runpy.run_path(path)["WORKLOADS"]
    if not which:
        print(json.dumps([*workloads]))
        return 0
    first, step = map(int, which)
    for name in [*workloads][first::step]:
        for number in range(FORKS):
            pid = os.fork()
            if pid == 0:
                os._exit(_fork(workloads[name], number))
            print(pid, name, flush=True)
            _, status = os.waitpid(pid, 0)
            if status:
                print(f"the workload {name!r} failed", file=sys.stderr)
                return 1
    return 0


def _fork(prepare: Callable[[], Callable[[], object]], number: int) -> int:
    padding: list[Any] = [bytes(16 * (i % 30)) for i in range(number * _PADDING)]
    try:
        round_ = prepare()
        for _ in range(_WARM_UP):
            round_()
        gc.collect()
        gc.disable()
        for _ in range(ROUNDS):
            counted(round_)
    except BaseException:  # noqa: BLE001 - whatever it was, the fork ends here
        traceback.print_exc()
        return 1
    del padding
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
