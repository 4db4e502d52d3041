"""Runs programs as ``python -W error -c`` would, each in a process of its own, without its start.

    python -W error forkserver.py numpy anyio ...

It imports those packages, once, and for each line of JSON on stdin forks a process that runs one
program. So a program pays for none of them, and has nothing else that another left behind:
nothing of this repository is imported here. A line of stdin is

    {"code": "...", "cwd": "/its/folder", "out": "/its/stdout", "err": "/its/stderr", "limit": 30}

and answered with ``{"rc": 0, "left": false}``: the exit status, minus a signal's number if that
ended it and null if it took longer than ``limit`` seconds, and whether it left a process behind.
A program may talk to this machine and to no other.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import warnings
from importlib import import_module
from ipaddress import ip_address
from types import ModuleType

__all__: list[str] = []

_POLL = 0.005  # s


def _serve() -> str | None:
    """Answer requests until there are no more: None; or, in a child, the program to be."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
            return str(request["code"])
        answer = _awaited(pid, request["limit"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return None


def _awaited(pid: int, limit: float) -> dict[str, object]:
    deadline = time.monotonic() + limit
    rc: int | None = None
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            rc = os.waitstatus_to_exitcode(status)
            break
        time.sleep(_POLL)
    left = False
    try:
        os.killpg(pid, signal.SIGKILL)  # its whole group, of which it may be gone itself
        left = rc is not None
    except ProcessLookupError:
        pass
    if rc is None:
        os.waitpid(pid, 0)
    return {"rc": rc, "left": left}


def _become(request: dict[str, str]) -> None:
    """Be a fresh process in its own folder, with its own group and streams."""
    os.setsid()
    os.chdir(request["cwd"])
    sys.stdout.flush()
    for stream, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    sys.argv = ["-c"]
    sys.path[0] = ""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "discord" in request["code"]:  # discord.py's own, on Python 3.11 and 3.12
        warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    sys.addaudithook(_stay_here)


def _stay_here(event: str, args: tuple[object, ...]) -> None:
    host: object = None
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    if host and not _is_here(host.decode() if isinstance(host, bytes) else str(host)):
        raise PermissionError(f"the docs' programs talk to this machine alone, not to {host}")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


if __name__ == "__main__":
    for name in sys.argv[1:]:
        import_module(name)
    gc.collect()
    gc.freeze()  # a child that collects garbage would copy every page of what it shares
    program = _serve()
    if program is not None:
        # The program is this process's main module from here on, and ends as it does.
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), main.__dict__)
