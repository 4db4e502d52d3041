"""Programs of the docs run as they would by themselves, and are found out when they do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.docs import programs
from tools.docs.programs import Run, runner

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with runner() as run:
        yield run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


def test_it_is_the_main_program_of_an_interpreter_in_an_empty_folder(
    run: Run, folder: Path
) -> None:
    ended = run(
        "import os, sys\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].__dict__ is globals()\n"
        "assert sys.argv == ['-c'] and sys.path[0] == '' and os.listdir() == []\n"
        "assert not any(name.startswith('realtime_stts') for name in sys.modules)\n"
        "assert sys.stdin.read() == ''\n"
        "print('hello')\n",
        folder,
    )
    assert (ended.rc, ended.out, ended.err, ended.left) == (0, "hello\n", "", False)


def test_no_program_sees_what_another_did(run: Run, folder: Path) -> None:
    mark = "import numpy, os; numpy.mark = 1; os.environ['MARK'] = '1'; x = 1"
    assert run(mark, folder).rc == 0
    look = "import numpy, os; assert not hasattr(numpy, 'mark') and 'MARK' not in os.environ"
    assert run(f"{look}; assert 'x' not in globals()", folder).rc == 0


@pytest.mark.parametrize(
    ("code", "rc", "last"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", 3, ""),
        ("import warnings; warnings.warn('old', DeprecationWarning)", 1, "DeprecationWarning: old"),
        ("import asyncio; asyncio.sleep(0)", 0, "was never awaited"),
        ("open('x', 'w')", 0, "ResourceWarning: unclosed file"),
        ("import atexit; atexit.register(print, 'bye')", 0, ""),
        ("import threading as t; t.Thread(target=lambda: 1 / 0).start()", 0, "division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
        ("def", 1, "SyntaxError: invalid syntax"),
    ],
)
def test_what_goes_wrong_is_told_as_python_tells_it(
    code: str, rc: int, last: str, run: Run, folder: Path
) -> None:
    ended = run(code, folder)
    assert ended.rc == rc
    assert last in ended.err
    assert bool(ended.err) == bool(last)


def test_what_is_printed_at_the_end_is_kept(run: Run, folder: Path) -> None:
    assert run("import atexit; atexit.register(print, 'bye')", folder).out == "bye\n"


def test_a_process_that_is_left_behind_is_ended_and_told(run: Run, folder: Path) -> None:
    code = f"import subprocess\nsubprocess.Popen([{sys.executable!r}, '-c', 'input()'], stdin=-1)"
    ended = run(f"import os\n{code}\nos._exit(0)", folder)
    assert ended.left


def test_one_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_LIMIT", 0.3)
    with runner() as run:
        assert run("import threading; threading.Event().wait()", folder).rc is None
        assert programs._started("import threading; threading.Event().wait()", folder).rc is None


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_none_talks_to_another_machine(host: str, run: Run, folder: Path) -> None:
    ended = run(f"import socket; socket.create_connection(({host!r}, 80), timeout=1)", folder)
    assert "talk to this machine alone" in ended.err


def test_they_may_talk_to_this_one(run: Run, folder: Path) -> None:
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    with socket.create_connection(server.getsockname()) as client:\n"
        "        server.accept()[0].close()\n"
    )
    assert run(code, folder).err == ""


def test_where_nothing_is_forked_they_run_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork")
    with runner() as run:
        assert run is programs._started
        ended = run("print('hello'); raise SystemExit(2)", folder)
    assert (ended.rc, ended.out, ended.err) == (2, "hello\n", "")
