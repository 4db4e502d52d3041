"""A newcomer's way, gone with the built wheel in an empty directory, and timed.

    python -m tools.newcomer out/dist

Nothing is there but python3: no checkout, no cache, no settings. What is typed and what is saved as
a file is what the tutorial and the page on engines show; the wheel comes from the directory given,
and all that it needs from the package index. The times are the machine's alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
ENGINE = ROOT / "docs" / "how-to" / "write-an-engine.md"
LIMIT = 600.0  # s for one step; an installation over a slow line is the longest


@dataclass(frozen=True, slots=True)
class Step:
    """What a newcomer gets at its end, and what they do for it."""

    goal: str
    commands: tuple[str, ...]
    file: str = ""
    code: str = ""
    shows: str = ""  # a part of what it prints


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step took."""

    goal: str
    commands: int
    lines: int  # of a program that is saved
    seconds: float


def main() -> int:
    """Go the way; 1 if a step fails or does not show what it should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dist", type=Path, help="where the wheel is")
    given = parser.parse_args()
    if not list(given.dist.glob("realtime_stts-*.whl")):
        parser.error(f"there is no wheel in {given.dist}: make dist builds one")
    taken = []
    with tempfile.TemporaryDirectory(prefix="newcomer-") as home:
        for step in steps():
            print(f"\n== {step.goal}", flush=True)
            try:
                taken.append(go(step, Path(home), given.dist.resolve()))
            except subprocess.CalledProcessError as exc:
                print(f"failed with {exc.returncode}", file=sys.stderr)
                return 1
            except LookupError as exc:
                print(f"failed: {exc}", file=sys.stderr)
                return 1
    print(f"\n{table(taken)}")
    report = {"python": sys.version.split()[0], "steps": [asdict(each) for each in taken]}
    given.dist.joinpath("newcomer.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


def steps() -> list[Step]:
    """What the pages tell a newcomer to do."""
    install = typed(TUTORIAL, "## 1.")
    transcript, conversation = program(TUTORIAL, "## 2."), program(TUTORIAL, "## 3.")
    engine = program(ENGINE, "## A model that blocks")
    run = "python {}".format
    return [
        Step("installed", install, shows="pocketsphinx"),
        Step("the first transcript", (run("hear.py"),), "hear.py", transcript, "what time is it"),
        Step("the first conversation", (run("talk.py"),), "talk.py", conversation, "answered:"),
        Step(
            "an engine of one's own passes its suite",
            (run("beeps.py"),),
            "beeps.py",
            engine,
            "passed",
        ),
    ]


def typed(page: Path, heading: str) -> tuple[str, ...]:
    """The commands of a section's console."""
    return tuple(re.findall(r"^\$ (.*)$", _block(page, heading, "console"), re.MULTILINE))


def program(page: Path, heading: str) -> str:
    """The first program of a section."""
    return _block(page, heading, "python")


def _block(page: Path, heading: str, language: str) -> str:
    section = page.read_text(encoding="utf-8").partition(f"\n{heading}")[2].partition("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    if found is None:
        raise LookupError(f"{page.name} has no {language} block under {heading!r}")
    return found[1]


def go(step: Step, home: Path, dist: Path) -> Taken:
    """Do it in a shell of its own that knows of nothing but ``home``."""
    if step.file:
        home.joinpath(step.file).write_text(step.code, encoding="utf-8")
    entered = [] if step.file == "" else [". .venv/bin/activate"]
    script = "\n".join(
        ["set -e", *entered, *(f"echo '$ {each}'\n{each}" for each in step.commands)]
    )
    environment = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PIP_FIND_LINKS": str(dist),
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    began = time.perf_counter()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    seconds = time.perf_counter() - began
    print(done.stdout, end="", flush=True)
    done.check_returncode()
    if step.shows not in done.stdout:
        raise LookupError(f"it does not say {step.shows!r}")
    return Taken(step.goal, len(step.commands), step.code.count("\n"), round(seconds, 1))


def table(taken: list[Taken]) -> str:
    """Markdown, with the sum."""
    rows = ["| | commands | lines saved | seconds | so far |", "|---|--:|--:|--:|--:|"]
    total = 0.0
    for each in taken:
        total += each.seconds
        rows.append(
            f"| {each.goal} | {each.commands} | {each.lines} | {each.seconds:.1f} | {total:.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
