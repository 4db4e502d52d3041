"""What can be measured: the suites by name, and on what the figures of each depend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal

from ._figures import Figure, Job

__all__ = ["SUITES", "Suite", "chosen"]

Part = Literal["stt", "tts", "workload"]


@dataclass(frozen=True, slots=True)
class Suite:
    """A module with ``async def measure(job: Job) -> list[Figure]``, imported when it is run."""

    name: str
    about: str
    depends: frozenset[Part]  # on what its figures depend beside the machine and the code

    @property
    def module(self) -> str:
        return f"{__package__}._{self.name.replace('-', '_')}"

    @property
    def measure(self) -> Callable[[Job], Awaitable[list[Figure]]]:
        found: Callable[[Job], Awaitable[list[Figure]]] = import_module(self.module).measure
        return found


def _suite(name: str, about: str, *depends: Part) -> Suite:
    return Suite(name, about, frozenset(depends))


SUITES: Final = (
    _suite("stt", "speech to text", "stt", "workload"),
    _suite("tts", "text to speech", "tts", "workload"),
    _suite("turn-taking", "when a turn is taken for ended", "workload"),
    _suite("barge-in", "how soon an interrupted bot is silent", "stt", "tts", "workload"),
    _suite("voice-to-voice", "from the caller's voice to the bot's", "stt", "tts", "workload"),
    _suite("sessions", "conversations that one core holds", "stt", "tts", "workload"),
    _suite("middleware", "what layers around an engine cost"),
)


def chosen(names: Iterable[str]) -> tuple[Suite, ...]:
    """The suites of those names, in the order of `SUITES`; all for none.

    Raises:
        ValueError: There is no such suite.
    """
    wanted = {*names}
    known = [suite.name for suite in SUITES]
    if unknown := sorted(wanted.difference(known)):
        raise ValueError(f"there is no suite {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(suite for suite in SUITES if not wanted or suite.name in wanted)
