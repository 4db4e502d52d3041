"""The Enter key on an event loop."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import TextIO

import anyio
import pytest

from realtime_stts.cli._keys import enter_pressed, unechoed
from realtime_stts.testing import no_leaks

pytestmark = pytest.mark.anyio


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """What is written into it comes from stdin."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as stdin, open(writing, "w", encoding="utf-8") as typed:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield typed  # closing it ends the thread that reads


def press(keyboard: TextIO) -> None:
    keyboard.write("\n")
    keyboard.flush()


async def test_each_line_is_a_press_and_the_end_of_stdin_ends_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nsome words\n\n"))
    async with no_leaks(), aclosing(enter_pressed()) as presses:
        assert len([None async for _ in presses]) == 3


async def test_it_waits_for_the_next_press(keyboard: TextIO) -> None:
    n_presses = 0

    async def count() -> None:
        nonlocal n_presses
        async with aclosing(enter_pressed()) as presses:
            async for _ in presses:
                n_presses += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        for n in range(3):
            await anyio.wait_all_tasks_blocked()
            assert n_presses == n
            press(keyboard)
            while n_presses == n:
                await anyio.to_thread.run_sync(lambda: None)
        tasks.cancel_scope.cancel()


async def test_cancelled_while_it_waits_it_leaves_no_thread_behind_that_does(
    keyboard: TextIO,
) -> None:
    async def wait() -> None:
        async with aclosing(enter_pressed()) as presses:
            await anext(presses)

    async with no_leaks():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        keyboard.close()  # the one that reads stays until then


class TestUnechoed:
    @pytest.fixture
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        """A terminal for stdin."""
        pty = pytest.importorskip("pty")
        keys, screen = pty.openpty()
        with open(screen, encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            yield screen
        os.close(keys)

    async def test_keys_are_not_echoed_until_it_is_over(self, terminal: int) -> None:
        termios = pytest.importorskip("termios")

        def echoes() -> bool:
            return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)

        assert echoes()
        with unechoed():
            assert not echoes()
        assert echoes()
        with suppress(KeyError), unechoed():
            raise KeyError
        assert echoes()

    async def test_without_a_terminal_nothing_happens(self, keyboard: TextIO) -> None:
        with unechoed():
            press(keyboard)
        assert sys.stdin.readline() == "\n"

    async def test_nor_on_a_system_without_its_library(
        self, terminal: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "termios", None)
        with unechoed():
            pass
