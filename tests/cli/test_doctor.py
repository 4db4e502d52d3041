"""What the doctor says of this very environment, and of one that lacks a package."""

from __future__ import annotations

import io
import platform
from importlib.metadata import version

import pytest

pytest.importorskip("rich")

from rich.console import Console

from realtime_stts.cli import _doctor
from realtime_stts.engines import EngineEntry


def examination() -> str:
    file = io.StringIO()
    _doctor.examine(Console(file=file, width=100))
    return file.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_it_names_the_versions_of_python_and_of_every_package() -> None:
    text = examination()
    assert f"realtime-stts {version('realtime-stts')}, Python {platform.python_version()}" in text
    assert ["numpy", "the", "core", version("numpy")] in rows(text)
    assert ["rich", "cli", version("rich")] in rows(text)


def test_it_lists_the_engines_with_what_they_are_for() -> None:
    lines = [" ".join(row) for row in rows(examination())]
    assert "energy pause detection ready" in lines
    for engine in ("pocketsphinx speech to text", "espeak text to speech"):
        assert any(line.startswith(engine) for line in lines)


def test_a_package_that_is_missing_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["no-such-core>=1", 'no-such-package>=1; extra == "local"']
    monkeypatch.setattr(_doctor, "requires", lambda _: requirements)
    lines = [" ".join(row) for row in rows(examination())]
    assert 'no-such-core the core missing: pip install "realtime-stts"' in lines
    assert 'no-such-package local missing: pip install "realtime-stts[local]"' in lines


def test_an_engine_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EngineEntry("deaf", "stt", "deaf-engine", 'pip install "realtime-stts[local]"')
    monkeypatch.setattr(_doctor, "available", lambda kind: [entry] if kind == "stt" else [])
    assert 'deaf speech to text pip install "realtime-stts[local]"' in [
        " ".join(row) for row in rows(examination())
    ]
