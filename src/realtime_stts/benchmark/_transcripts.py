"""Which recordings of a folder have a transcript, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import RealtimeSTTSError

__all__ = ["WorkloadError", "transcripts"]

_SOUNDS: Final = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})

_LARGEST: Final = 64 << 20  # bytes; of a list of transcripts


class WorkloadError(RealtimeSTTSError, ValueError):
    """Recordings or transcripts that nothing can be measured with; the message names the file."""


def transcripts(folder: Path) -> tuple[dict[Path, str], int]:
    """The text of each recording in a folder and below it, and how many have none.

    In each folder, the first of these that tells of a recording counts:

    * ``NAME.txt`` beside ``NAME.wav`` (or flac, ogg, opus, mp3);
    * ``transcripts.tsv``: a file's name, a tab, its text, on each line; other columns are
      not looked at. A first line that begins with ``path``, ``file`` or ``name`` is a
      heading.
    * ``*.trans.txt``, as LibriSpeech has it: a name without its suffix, a space, its text;
    * ``manifest.jsonl``, as NeMo has it: an object on each line with ``audio_filepath`` (or
      ``audio``) and ``text``.

    Names are relative to the file they stand in.

    Raises:
        WorkloadError: A list names a recording that is not there, or cannot be read; or a
            transcript is empty.
    """
    recordings = {path for path in folder.rglob("*") if path.suffix.lower() in _SOUNDS}
    found: dict[Path, str] = {}
    for path in sorted(folder.rglob("*")):
        for recording, text, where in _listed(path):
            if not text.strip():
                raise WorkloadError(f"{where}: the transcript of {recording.name} is empty")
            if recording not in recordings and not recording.is_file():
                raise WorkloadError(f"{where}: there is no {recording}")
            found.setdefault(recording, text.strip())
    for recording in recordings:
        text_file = recording.with_suffix(".txt")
        if text_file.is_file():
            found[recording] = _text(text_file).strip()
            if not found[recording]:
                raise WorkloadError(f"{text_file}: the transcript is empty")
    return found, len(recordings - found.keys())


def _listed(path: Path) -> Iterator[tuple[Path, str, str]]:
    """What a list tells: recordings, their texts, and where that stands."""
    if path.name == "transcripts.tsv":
        parse = _tab_separated
    elif path.name.endswith(".trans.txt"):
        parse = _librispeech
    elif path.name == "manifest.jsonl":
        parse = _manifest
    else:
        return
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            for recording, text in parse(path.parent, line, where, number):
                yield recording, text, where


def _tab_separated(folder: Path, line: str, where: str, number: int) -> Iterator[tuple[Path, str]]:
    name, tab, rest = line.partition("\t")
    if number == 1 and name.strip().lower() in ("path", "file", "name"):
        return
    if not tab:
        raise WorkloadError(f"{where}: there is no tab between a file's name and its text")
    yield folder / name.strip(), rest.partition("\t")[0]


def _librispeech(folder: Path, line: str, where: str, number: int) -> Iterator[tuple[Path, str]]:
    name, _, text = line.strip().partition(" ")
    for suffix in sorted(_SOUNDS):
        if (folder / f"{name}{suffix}").is_file():
            yield folder / f"{name}{suffix}", text
            return
    raise WorkloadError(f"{where}: there is no recording {folder / name}.flac")


def _manifest(folder: Path, line: str, where: str, number: int) -> Iterator[tuple[Path, str]]:
    try:
        entry = json.loads(line)
        name, text = entry.get("audio_filepath") or entry["audio"], entry["text"]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WorkloadError(
            f"{where}: this is no object with audio_filepath (or audio) and text"
        ) from exc
    if not isinstance(name, str) or not isinstance(text, str):
        raise WorkloadError(f"{where}: audio_filepath and text are texts")
    yield folder / name, text


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise WorkloadError(f"{path}: longer than {_LARGEST >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise WorkloadError(f"{path}: this is no text in UTF-8") from exc
    except OSError as exc:
        raise WorkloadError(f"{path}: {exc.strerror or exc}") from exc
