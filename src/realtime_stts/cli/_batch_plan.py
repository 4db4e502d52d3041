"""PURE: which files are to be transcribed, what their texts are called, and what is done already.

What was done is read from a manifest: a line of JSON for each event, appended and never
changed. A line that was cut short, or is of somebody else, is as if it were not there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

__all__ = [
    "FORMATS",
    "Event",
    "Job",
    "Plan",
    "Record",
    "Source",
    "Wanted",
    "output_name",
    "planned",
    "record_line",
    "records_of",
]

FORMATS: Final = ("txt", "json", "srt", "vtt")

# "begun" is written before outputs appear, so that they are known for ours, and whole only
# once "done" follows.
Event = Literal["begun", "done", "failed"]
_EVENTS: Final = ("begun", "done", "failed")


@dataclass(frozen=True, slots=True)
class Source:
    """A file with sound, as it was found."""

    path: Path  # absolute
    name: str  # its place in the tree of outputs, with "/" between folders
    size: int  # bytes
    mtime_ns: int  # of the last change

    @property
    def identity(self) -> tuple[str, int, int]:
        """What stays the same if the folder that it is in moves."""
        return self.name, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of each file."""

    engine: str
    language: str | None
    formats: tuple[str, ...]  # of `FORMATS`


@dataclass(frozen=True, slots=True)
class Job:
    """A file to transcribe."""

    source: Source
    stem: str  # of its outputs, in their tree
    formats: tuple[str, ...]
    kept: tuple[str, ...] = ()  # further formats, made earlier from this very file by this engine


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the manifest."""

    event: Event
    path: str
    name: str
    size: int
    mtime_ns: int
    engine: str
    language: str | None
    stem: str
    formats: tuple[str, ...]
    duration: float | None = None  # s of sound, once it is known
    elapsed: float | None = None  # s that it took
    error: str | None = None

    @property
    def identity(self) -> tuple[str, int, int]:
        """As that of the source it is of."""
        return self.name, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the files that were found."""

    jobs: tuple[Job, ...]
    done: tuple[Source, ...]  # already, and need nothing
    in_the_way: tuple[tuple[Job, str], ...]  # whose output of that name is there and not ours


def output_name(stem: str, format: str) -> str:
    return f"{stem}.{format}"


def planned(
    sources: Sequence[Source],
    records: Iterable[Record],
    wanted: Wanted,
    exists: Callable[[str], bool],
    *,
    force: bool = False,
) -> Plan:
    """What to do, in the order of ``sources``.

    A file is done if the last that is known of it is that all of its outputs were made, from
    this size and time of change, by this engine for this language, and they are still there.
    A file keeps the name of its outputs from run to run. Otherwise ``a/b.wav`` becomes
    ``a/b``; it becomes ``a/b.wav`` if more than one file would be called that.

    Args:
        records: In the order in which they were written.
        exists: Whether there is an output of that name.
        force: Nothing counts as done.
    """
    history = _History(records)
    known = history.of(sources)
    stems = _stems(sources, known, history.stems)
    jobs: list[Job] = []
    done: list[Source] = []
    in_the_way: list[tuple[Job, str]] = []
    for source in sources:
        made = _made(source, known.get(source), wanted, exists)
        if set(wanted.formats) <= set(made) and not force:
            done.append(source)
            continue
        kept = tuple(format for format in made if format not in wanted.formats)
        job = Job(source, stems[source], wanted.formats, kept)
        names = [output_name(job.stem, format) for format in job.formats]
        foreign = [name for name in names if name not in history.outputs and exists(name)]
        if foreign:
            in_the_way.append((job, foreign[0]))
        else:
            jobs.append(job)
    return Plan(tuple(jobs), tuple(done), tuple(in_the_way))


class _History:
    """What the manifest knows of outputs."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._last: dict[str, Record] = {}  # by the path of the source
        self._owners: dict[str, str] = {}  # that path, by the stem
        self.outputs: set[str] = set()  # names that are ours
        for record in records:
            if record.event == "failed":  # that changed no output
                continue
            owner = self._owners.get(record.stem)
            if owner is not None and owner != record.path:  # it moved since
                del self._last[owner]
            if (before := self._last.get(record.path)) is not None:
                del self._owners[before.stem]
            self._last[record.path] = record
            self._owners[record.stem] = record.path
            self.outputs.update(output_name(record.stem, each) for each in record.formats)

    @property
    def stems(self) -> Iterable[str]:
        return self._owners

    def of(self, sources: Sequence[Source]) -> dict[Source, Record]:
        """The last of each file that is known; that of one which moved with its folder too."""
        found = {
            source: record
            for source in sources
            if (record := self._last.get(str(source.path))) is not None
        }
        here = {record.path for record in found.values()}
        moved = {each.identity: each for each in self._last.values() if each.path not in here}
        for source in sources:
            if source not in found and (record := moved.pop(source.identity, None)) is not None:
                found[source] = record
        return found


def _stems(
    sources: Sequence[Source], known: Mapping[Source, Record], old: Iterable[str]
) -> dict[Source, str]:
    """The stem of each file; no two alike, on a disk that ignores case either."""
    stems = {source: record.stem for source, record in known.items()}
    taken = {stem.casefold() for stem in old}
    new = [source for source in sources if source not in known]
    asked = Counter(_short(source.name).casefold() for source in new)
    for source in new:
        stem = _short(source.name)
        if asked[stem.casefold()] > 1 or stem.casefold() in taken:
            stem = source.name
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{source.name}.{number}"
        taken.add(stem.casefold())
        stems[source] = stem
    return stems


def _short(name: str) -> str:
    """Without the suffix."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _made(
    source: Source, record: Record | None, wanted: Wanted, exists: Callable[[str], bool]
) -> tuple[str, ...]:
    """The formats that are there as wanted."""
    if (
        record is None
        or record.event != "done"
        or (record.size, record.mtime_ns) != (source.size, source.mtime_ns)
        or (record.engine, record.language) != (wanted.engine, wanted.language)
    ):
        return ()
    return tuple(each for each in record.formats if exists(output_name(record.stem, each)))


# -- the manifest --------------------------------------------------------------------------


def record_line(record: Record) -> str:
    """A record as a line of the manifest, with its end."""
    return json.dumps(asdict(record), ensure_ascii=True) + "\n"


def records_of(text: str) -> list[Record]:
    """The records of a manifest, without what is none."""
    return [record for line in text.splitlines() if (record := _read(line)) is not None]


def _read(line: str) -> Record | None:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    try:
        record = Record(**{**fields, "formats": tuple(fields["formats"])})
    except (KeyError, TypeError):
        return None
    texts = (record.path, record.name, record.engine, record.stem, *record.formats)
    numbers = (record.size, record.mtime_ns)
    fits = (
        record.event in _EVENTS
        and all(isinstance(each, str) for each in texts)
        and all(isinstance(each, int) for each in numbers)
        and isinstance(record.language, str | None)
        and isinstance(record.error, str | None)
        and isinstance(record.duration, int | float | None)
        and isinstance(record.elapsed, int | float | None)
    )
    return record if fits and not _leaves(record.stem) else None


def _leaves(stem: str) -> bool:
    """Whether it is no name within the tree of outputs."""
    return not stem or stem.startswith("/") or ".." in stem.split("/")
