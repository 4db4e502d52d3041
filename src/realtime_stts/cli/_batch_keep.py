"""The folder of outputs and its manifest. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Final

from ._batch_plan import Job, Record, Wanted, output_name, record_line, records_of

__all__ = ["MANIFEST", "Keep", "record_of"]

MANIFEST: Final = ".transcribe.jsonl"


def record_of(job: Job, wanted: Wanted) -> Record:
    """That ``job`` was begun; what else happened to it is to be filled in."""
    source = job.source
    return Record(
        "begun",
        str(source.path),
        source.name,
        source.size,
        source.mtime_ns,
        wanted.engine,
        wanted.language,
        job.stem,
        (*job.formats, *job.kept),
    )


class Keep:
    """Outputs in a folder: each file is there whole or not at all.

    Args:
        folder: It is made with the first output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = folder / MANIFEST
        self._lock = Lock()

    def records(self) -> list[Record]:
        """What the manifest says, nothing if there is none.

        Raises:
            OSError: It cannot be read.
        """
        try:
            data = self._manifest.read_bytes()
        except FileNotFoundError:
            return []
        return records_of(data.decode(errors="replace"))

    def exists(self, name: str) -> bool:
        return os.path.lexists(self._folder / name)

    def prepare(self) -> None:
        """Make sure that outputs can be kept, before any are made.

        Raises:
            OSError: They cannot.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._append("")

    def write(self, record: Record, contents: Mapping[str, str]) -> None:
        """Keep a file's outputs, by their formats.

        Raises:
            OSError: They cannot be written. None of them is there half.
        """
        partials: dict[Path, Path] = {}
        try:
            for format, content in contents.items():
                target = self._folder / output_name(record.stem, format)
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{os.urandom(8).hex()}.partial")
                partials[partial] = target
                # What no encoding has, such as half of a pair, must not cost the whole text.
                partial.write_bytes(content.encode("utf-8", errors="replace"))
            self._append(record_line(replace(record, event="begun")))
            for partial, target in partials.items():
                partial.replace(target)
            self._append(record_line(replace(record, event="done")))
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)

    def failed(self, record: Record, error: str) -> None:
        """Note that a file failed.

        Raises:
            OSError: The manifest cannot be written.
        """
        self._append(record_line(replace(record, event="failed", error=error)))

    def _append(self, line: str) -> None:
        with self._lock, self._manifest.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a run was killed while it wrote
                    line = "\n" + line
            file.write(line.encode())
