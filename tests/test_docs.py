"""What the README and the docs show is run, as it stands there; what they name is there."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from realtime_stts.errors import MissingExtraError
from tools.docs.links import anchors, fences, relative_links
from tools.docs.programs import Ended, Run, runner

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.silero", exc_type=MissingExtraError)

ROOT = Path(__file__).parent.parent
NEEDS_A_MODEL = {"speak-with-chatterbox.md", "transcribe-with-whisper.md"}  # run in tests/engines
DOCS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in (*DOCS, *sorted(ROOT.glob("[A-Z]*.md")), *sorted(ROOT.glob("examples/*/*.md")))
}
# Packages of extras that a block may name: it is run where they are.
PACKAGES = ("discord", "fastapi", "IPython", "matplotlib", "openai", "prometheus_client", "wyoming")


def blocks(language: str, without: Collection[str] = ()) -> dict[str, str]:
    """The blocks of the docs in one language, by their page's name and number."""
    return {
        f"{page.relative_to(ROOT / 'docs') if page.name != 'README.md' else page.name}-{n}": block
        for page in DOCS
        if page.name not in without
        for n, block in enumerate(fences(PAGES[str(page.relative_to(ROOT))], language))
    }


PROGRAMS = blocks("python", NEEDS_A_MODEL)
WITH_MODELS = {name: each for name, each in blocks("python").items() if name not in PROGRAMS}
CONSOLE, JSON, YAML = blocks("console"), blocks("json"), blocks("yaml")


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a program, once."""
    ended: dict[str, Ended] = {}
    with runner() as run:

        def once(code: str, folder: Path) -> Ended:
            if code not in ended:
                ended[code] = run(code, folder)
            return ended[code]

        yield once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty, and where a program can leave what it likes."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_every_piece_of_python_runs(code: str, run: Run, folder: Path) -> None:
    for leaf in re.findall(r"realtime_stts\.(?:cli|engines|integrations)\.\w+", code):
        pytest.importorskip(leaf, exc_type=MissingExtraError)
    for package in PACKAGES:
        if re.search(rf"^\s*(?:import|from) {package}\b", code, re.M):
            pytest.importorskip(package)
    ended = run(code, folder)
    assert (ended.rc, ended.err) == (0, "")
    assert not ended.left, "it left a process behind"


def test_the_conversation_hears_and_answers(run: Run, folder: Path) -> None:
    ended = run(PROGRAMS["README.md-0"], folder)
    assert "heard:    tell me a joke" in ended.out
    assert "answered: Why do programmers" in ended.out


@pytest.mark.parametrize("code", WITH_MODELS.values(), ids=WITH_MODELS)
def test_what_needs_a_model_imports_what_there_is(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("realtime_stts"):
            try:
                module = import_module(node.module or "")
            except MissingExtraError as exc:
                pytest.skip(str(exc))
            for alias in node.names:
                assert alias.name in module.__all__, f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_every_piece_of_yaml_can_be_read(text: str) -> None:
    assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_every_piece_of_json_can_be_read(text: str) -> None:
    assert json.loads(text)


def invocations(console: str) -> Iterator[list[str]]:
    """The words of each ``realtime-stts`` that a console shows being called."""
    for line in console.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        for part in re.split(r"\|\||&&|[|;]", line[2:]):
            words = shlex.split(part, comments=True)
            while words and re.match(r"^\w+=", words[0]):
                words.pop(0)
            if words and words[0].endswith("realtime-stts"):
                yield ["realtime-stts", *words[1:]]


CALLS = {
    f"{name}-{n}": words
    for name, console in CONSOLE.items()
    for n, words in enumerate(invocations(console))
}


@pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)
def test_every_command_of_a_console_is_there_with_its_options(words: list[str]) -> None:
    pytest.importorskip("typer")
    from tools.docs.commands import commands

    name = words.pop(0)
    while words and f"{name} {words[0]}" in commands():
        name = f"{name} {words.pop(0)}"
    options = {word.partition("=")[0] for word in words if re.match(r"^--?[a-z]", word)}
    command = commands()[name]
    assert options <= command.options, f"{name} --help"
    assert not command.subcommands or options == set(words), f"{name} has no command {words[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    for link in relative_links(PAGES[page]):
        target, _, anchor = link.partition("#")
        place = (ROOT / page).parent / target
        if "/assets/pictures/" in f"/{target}":
            continue  # made when the site is: its build, which is strict, looks for them
        assert place.exists(), link
        if anchor and place.suffix == ".md":
            text = place.read_text(encoding="utf-8")
            assert anchor in anchors(text) or "<!-- made of the code" in text, link


@pytest.mark.parametrize("page", PAGES)
def test_every_anchor_within_a_page_is_a_heading_of_it(page: str) -> None:
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", PAGES[page], flags=re.S)
    for anchor in re.findall(r"\]\(#([^)]+)\)", prose):
        assert anchor in anchors(PAGES[page]), anchor
