"""The command line as it explains itself: each command's own ``--help``."""

from __future__ import annotations

import re
from functools import lru_cache

from typer.testing import CliRunner

from realtime_stts.cli._app import app

__all__ = ["Command", "commands", "commands_page"]

_COLUMNS = 92  # of the help; as wide as code is in the site
_TOP = re.compile(r"^╭─ (?P<title>.+?) ─+╮$")
_COMMAND = re.compile(r"^  (?P<name>[a-z][a-z-]*)(?: {2,}|$)")


class Command:
    """One command.

    Args:
        words: What is typed after ``realtime-stts``.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.help = _help(words)

    @property
    def name(self) -> str:
        return " ".join(["realtime-stts", *self.words])

    @property
    def options(self) -> set[str]:
        """Every option, short and long."""
        found = re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)(?![\w-])", self._part("Options"))
        return {*found, "-h", "--help"}

    @property
    def subcommands(self) -> list[str]:
        lines = self._part("Commands").splitlines()
        return [match["name"] for line in lines if (match := _COMMAND.match(line))]

    def _part(self, title: str) -> str:
        _, _, after = self.help.partition(f"\n{title}:\n")
        return after.partition("\n\n")[0]


@lru_cache(maxsize=1)
def commands() -> dict[str, Command]:
    """Every command by its name, from ``realtime-stts`` itself on."""
    found: dict[str, Command] = {}
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        command = Command(waiting.pop(0))
        found[command.name] = command
        waiting += [(*command.words, name) for name in command.subcommands]
    return dict(sorted(found.items()))


def commands_page() -> str:
    """A section for each."""
    return "\n\n".join(
        f"## {command.name}\n\n```text\n{command.help}\n```" for command in commands().values()
    )


def _help(words: tuple[str, ...]) -> str:
    """What ``--help`` prints, without frames."""
    surroundings = {"COLUMNS": str(_COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    run = CliRunner().invoke(app, [*words, "--help"], env=surroundings, prog_name="realtime-stts")
    if run.exit_code != 0:
        raise RuntimeError(f"realtime-stts {' '.join(words)} --help: {run.output}")
    lines = []
    for line in run.output.splitlines():
        top = _TOP.match(line.strip())
        if top:
            lines += [f"{top['title']}:"]
        elif line.startswith("╰"):
            lines += [""]
        elif line.startswith("│"):
            lines += [f" {line[1:-1]}"]
        else:
            lines += [line.strip()]
    text = "\n".join(line.rstrip() for line in lines).strip()
    return re.sub(r"\n{3,}", "\n\n", text)
