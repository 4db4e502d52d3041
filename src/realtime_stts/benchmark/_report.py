"""What a benchmark found, with all that is needed to repeat and to compare it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from ..errors import RealtimeSTTSError
from ._figures import Figure

__all__ = ["FORMAT", "VERSION", "Options", "Report", "ReportError", "Workload", "from_json", "read"]

FORMAT: Final = "realtime-stts bench"
VERSION: Final = 1  # of the schema: another where an old reader would misread a new file

_LARGEST: Final = 256 << 20  # bytes


class ReportError(RealtimeSTTSError, ValueError):
    """A file that holds no report, or one of a newer version of this library."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    suites: tuple[str, ...]
    stt: str  # as it is named to `load_stt`; what a program made itself, by what it calls it
    tts: str
    quick: bool
    seed: int
    repeat: int
    language: str  # of the utterances, ISO 639-1


@dataclass(frozen=True, slots=True)
class Workload:
    """What was said."""

    source: str  # "sentences spoken by eSpeak", or a folder's name
    names: tuple[str, ...]
    seconds: float  # of sound, all together
    hash: str  # of all texts and sounds


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found."""

    figures: tuple[Figure, ...]
    options: Options
    workload: Workload
    machine: Mapping[str, object] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)  # versions of what matters
    failures: Mapping[str, str] = field(default_factory=dict)  # what was wrong, by suite

    def figure(self, suite: str, case: str) -> Figure | None:
        """The figure of that name, or None."""
        return next(
            (each for each in self.figures if (each.suite, each.case) == (suite, case)), None
        )

    def to_json(self) -> str:
        """All of it, every sample too; `from_json` reads it back."""
        fields = _REPORT.dump_python(self, mode="json")
        return json.dumps({"format": FORMAT, "version": VERSION, **fields}, indent=1) + "\n"


_REPORT: Final = TypeAdapter(Report)


def read(path: str | PathLike[str]) -> Report:
    """The report in a ``bench.json``.

    Raises:
        OSError: The file cannot be read.
        ReportError: It holds no report, or one of a newer version; the message names it.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST:
        raise ReportError(f"{path}: longer than {_LARGEST >> 20} MiB, which no report is")
    try:
        return from_json(path.read_bytes())
    except ReportError as exc:
        raise ReportError(f"{path}: {exc}") from exc


def from_json(text: str | bytes) -> Report:
    """The report that `Report.to_json` wrote.

    Raises:
        ReportError: It is none, or of a newer version.
    """
    try:
        fields: Any = json.loads(text)
    except ValueError as exc:
        raise ReportError("this is no JSON") from exc
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ReportError("this is no report of realtime-stts bench")
    version = fields.get("version")
    if version != VERSION:
        raise ReportError(
            f"the report's version is {version!r}, and this library reads {VERSION}: "
            "a newer one may have written it"
        )
    try:
        return _REPORT.validate_python(
            {key: value for key, value in fields.items() if key not in ("format", "version")}
        )
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ReportError(f"the report is damaged: {where}: {first['msg']}") from exc
