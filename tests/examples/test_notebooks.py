"""The notebooks of examples/: each runs from its first cell to its last, in a real kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("nbclient")
pytest.importorskip("nbformat")

import matplotlib
import nbclient
import nbformat

from realtime_stts.errors import MissingExtraError

pytest.importorskip("realtime_stts.engines.espeak", exc_type=MissingExtraError)
pytest.importorskip("realtime_stts.engines.pocketsphinx", exc_type=MissingExtraError)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LAST = "6-whisper-and-chatterbox"
NEEDS = {"5-compare-engines": "jiwer"}
PLAYER, PICTURE = "<audio", "image/png"

# What each shows: so many players and pictures.
SHOWS = {
    "1-first-steps": (5, 2),
    "2-a-conversation-on-virtual-time": (1, 2),
    "3-write-an-engine": (1, 1),
    "4-write-middleware": (2, 1),
    "5-compare-engines": (1, 2),
    "6-whisper-and-chatterbox": (1, 1),
}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(path: Path, folder: Path, **environment: str) -> list[Any]:
    """The outputs of all cells. A cell that fails raises `nbclient`'s error with its traceback."""
    notebook = read(path)
    work = folder / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REALTIME_STTS_WHISPER", "REALTIME_STTS_CHATTERBOX", "REALTIME_STTS_SERVER"):
            patch.delenv(name, raising=False)
        # Nobody's weights, history and profile: as on a new machine, but for the fonts.
        for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "IPYTHONDIR"):
            patch.setenv(name, str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
        for name, value in environment.items():
            patch.setenv(name, value)
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": work}}
        ).execute()
    assert [*work.iterdir()] == [], "it leaves files behind"
    return [output for cell in code(notebook) for output in cell.outputs]


@pytest.fixture(scope="module")
def outputs_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """What a notebook shows, by its name: each is run once."""
    return cache(lambda stem: run(FOLDER / f"{stem}.ipynb", tmp_path_factory.mktemp(stem)))


def data(outputs: list[Any]) -> Iterator[dict[str, Any]]:
    for output in outputs:
        yield output.get("data", {})


def told(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


# -- as they are kept ----------------------------------------------------------------------


def test_every_notebook_is_known_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == [*SHOWS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_valid_and_holds_no_output(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len({*ids}) == len(ids)
    for cell in code(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_awaits_in_the_running_loop(path: Path) -> None:
    source = "\n".join(cell.source for cell in code(read(path)))
    assert "await " in source
    assert "asyncio.run(" not in source
    assert "__main__" not in source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    missing = [
        link for link in links if "://" not in link and not (path.parent / link).resolve().exists()
    ]
    assert missing == []


# -- as they run ---------------------------------------------------------------------------


@pytest.mark.timeout(180)  # a kernel, and in one a recogniser without a hint, on a busy machine
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_its_sounds_and_pictures(
    path: Path, outputs_of: Callable[[str], list[Any]]
) -> None:
    if needed := NEEDS.get(path.stem):
        pytest.importorskip(needed)
    outputs = outputs_of(path.stem)
    stderr = [output.text for output in outputs if output.get("name") == "stderr"]
    assert stderr == []
    players = sum(PLAYER in each.get("text/html", "") for each in data(outputs))
    pictures = sum(PICTURE in each for each in data(outputs))
    assert (players, pictures) == SHOWS[path.stem]


@pytest.mark.timeout(180)
def test_an_engine_that_breaks_promises_is_told_which(
    outputs_of: Callable[[str], list[Any]],
) -> None:
    text = told(outputs_of("3-write-an-engine"))
    good, _, bad = text.partition(" passed")
    assert "test_speaks" not in good
    assert "test_speaks_as_fast_as_asked_for" in bad
    assert "test_speaks_longer_for_a_longer_text" in bad


@pytest.mark.timeout(180)
@pytest.mark.skipif(find_spec("whisper") is None, reason="openai-whisper is not installed")
def test_whisper_hears_where_it_has_weights(tmp_path: Path) -> None:
    from tools.whisper_fixture import expand

    weights = expand(tmp_path / "tiny-words.pt")
    outputs = run(FOLDER / f"{LAST}.ipynb", tmp_path, REALTIME_STTS_WHISPER=str(weights))
    text = told(outputs)
    assert "Whisper:    ready" in text
    assert "weather" in text.partition("heard:")[2]
    assert any("timed words" in each.get("text/html", "") for each in data(outputs))


@pytest.mark.timeout(180)
def test_what_is_missing_is_skipped_with_a_word_of_advice(
    outputs_of: Callable[[str], list[Any]],
) -> None:
    text = told(outputs_of(LAST))
    assert "pip install" in text or "realtime-stts download" in text
    assert "skipped:" in text
