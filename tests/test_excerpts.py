"""Excerpts of the docs, each run with what its page leaves out around it.

An excerpt is a block marked ``py``: it needs a server, weights, a sound card or what its reader
has. Whole programs are marked ``python``, and run in ``test_docs.py``.
"""

from __future__ import annotations

import asyncio
import base64
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime_stts import AudioData, ConversationEngine, EchoResponseGenerator
from realtime_stts.engines import load_pause_detector
from realtime_stts.errors import MissingExtraError
from realtime_stts.testing import ScriptedTTSEngine, ToneSTTEngine, speak_tones, tone_text
from tools.docs.links import fences
from tools.docs.programs import Run, runner

DOCS = Path(__file__).parent.parent / "docs"
EXCERPTS = {
    f"{page.relative_to(DOCS)}-{n}": block
    for page in sorted(DOCS.glob("**/*.md"))
    for n, block in enumerate(fences(page.read_text(encoding="utf-8"), "py"))
}
PLUGIN = 'pytest_plugins = ["realtime_stts.testing.plugin"]\n'
POLITE = next(
    block
    for block in fences((DOCS / "how-to/write-a-middleware.md").read_text("utf-8"), "python")
    if "class Polite" in block
).partition("async def main")[0]

# What stands before and after an excerpt, and what of it is another thing here.
PROGRAMS = {
    "how-to/answer-with-an-llm.md-0": (
        """
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
stt, tts = ScriptedSTTEngine([]), ScriptedTTSEngine()
""",
        "assert engine.response_generator is responder",
    ),
    "how-to/answer-with-an-llm.md-1": (
        """
import anyio
from pydantic import BaseModel
from realtime_stts import ConversationContext
from realtime_stts.integrations.openai import ChatResponseGenerator

class Item(BaseModel):
    name: str

class Receipt(BaseModel):
    number: int

class shop:
    async def order(customer, item):
        return Receipt(number=len(customer + item.name))

""",
        """
ChatResponseGenerator("any", base_url="http://localhost:1/v1", tools=[order])
context = ConversationContext(user_data={"customer": "Ada"})
assert anyio.run(order, Item(name="tea"), context).number == 6
""",
    ),
    "how-to/scale-out.md-0": (
        "from realtime_stts.engines import load_stt, load_tts\n",
        'assert (stt.name, tts.name) == ("http:whisper-1", "http:tts-1")',
    ),
    "how-to/scale-with-ray.md-3": ("", "assert replicas.max_replicas == 20"),
    "how-to/use-a-gpu.md-0": ("", "assert not stt.model_loaded and not tts.model_loaded"),
}
# Tests, as files that pytest is told to run.
TESTS = {
    "how-to/test-a-conversation.md-1": (
        "from realtime_stts.testing import ScriptedTTSEngine as MyEngine\n"
    ),
    "how-to/write-a-middleware.md-0": POLITE,
    "tutorial.md-2": "",
}
CELLS = ["how-to/use-in-a-notebook.md-0", "how-to/use-in-a-notebook.md-1"]
REALTIME = "how-to/use-the-openai-client.md-0"
# With a sound card, and on a cluster, in tests/integrations.
ELSEWHERE = {"tutorial.md-0", "how-to/scale-with-ray.md-0"}
NOWHERE = {  # a cluster that runs already; one of GPUs
    "how-to/scale-with-ray.md-1",
    "how-to/scale-with-ray.md-2",
}
PLUGINS = {name for name, block in EXCERPTS.items() if block == PLUGIN}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with runner() as run:
        yield run


def needed(*modules: str) -> None:
    for module in modules:
        pytest.importorskip(module, exc_type=MissingExtraError)


def test_none_is_forgotten() -> None:
    assert {*EXCERPTS} == {*PROGRAMS, *TESTS, *CELLS, REALTIME, *PLUGINS, *ELSEWHERE, *NOWHERE}


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_what_its_reader_has_it_is_a_program(name: str, run: Run, tmp_path: Path) -> None:
    if "gpu" in name:
        needed("realtime_stts.engines.whisper", "realtime_stts.engines.chatterbox")
    elif "ray" in name:
        needed("realtime_stts.integrations.ray")
    else:
        needed("realtime_stts.engines.http")
    before, after = PROGRAMS[name]
    ended = run(f"{before}{EXCERPTS[name]}{after}", tmp_path)
    assert ended.rc == 0, ended.err
    if "gpu" not in name:  # what the models' packages leave to be cleaned up warns
        assert ended.err == ""


@pytest.mark.parametrize("name", TESTS)
def test_with_the_plugin_its_tests_pass(name: str, run: Run, tmp_path: Path) -> None:
    needed("realtime_stts.engines.espeak")  # of the page's program
    pytest.importorskip("trio")
    (tmp_path / "conftest.py").write_text(EXCERPTS[min(PLUGINS)], encoding="utf-8")
    (tmp_path / "test_it.py").write_text(f"{TESTS[name]}{EXCERPTS[name]}", encoding="utf-8")
    ended = run('import pytest, sys\nsys.exit(pytest.main(["-q", "-p", "anyio"]))', tmp_path)
    assert ended.rc == 0, ended.out
    assert re.search(r"^\d+ passed", ended.out, re.MULTILINE)


def test_cells_await_and_show(run: Run, tmp_path: Path) -> None:
    needed("realtime_stts.engines.espeak", "realtime_stts.engines.pocketsphinx")
    cells = textwrap.indent("".join(EXCERPTS[name] for name in CELLS), "    ")
    shown = "    assert 'open the pod bay doors hal' in heard._repr_html_()\n"
    program = f"import anyio\nasync def main():\n{cells}{shown}anyio.run(main)\n"
    ended = run(program, tmp_path)
    assert (ended.rc, ended.err) == (0, "")


class HeardEnough(Exception):
    pass


class Player:
    """What plays in the excerpt; it has had enough after half a second."""

    def __init__(self) -> None:
        self.sound = b""
        self.n_cleared = 0

    def clear(self) -> None:
        self.n_cleared += 1

    def play(self, sound: bytes) -> None:
        self.sound += sound
        if len(self.sound) >= 24_000:
            raise HeardEnough


def test_a_voice_client_is_heard_and_answered() -> None:
    needed("realtime_stts.integrations.fastapi")
    openai = pytest.importorskip("openai")
    from fastapi import FastAPI

    from realtime_stts.integrations.fastapi import openai_router

    from .servers import serving

    app = FastAPI()
    engine = ConversationEngine(
        stt=ToneSTTEngine(),
        tts=ScriptedTTSEngine(),
        responder=EchoResponseGenerator(),
        pause_detector=load_pause_detector("energy"),
    )
    app.include_router(openai_router(engine=engine))
    said = AudioData.concat([speak_tones("hello there", 24_000), AudioData.silence(2.0, 24_000)])

    async def speak(connection: Any) -> None:
        for n in range(round(said.duration_seconds / 0.1)):
            piece = said.sliced(n * 0.1, (n + 1) * 0.1).data
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

    code = re.sub(r"\.\.\.  #.*", "await speak(connection)", EXCERPTS[REALTIME])
    assert "speak(connection)" in code
    player = Player()
    with serving(app) as url:
        code = code.replace("http://127.0.0.1:8000", url)
        names = {"openai": openai, "base64": base64, "player": player, "speak": speak}
        exec(f"async def talk():\n{textwrap.indent(code, '    ')}", names)
        with pytest.raises(HeardEnough):
            asyncio.run(asyncio.wait_for(names["talk"](), 30.0))  # type: ignore[operator]
    answer = tone_text(AudioData(player.sound, 24_000))
    assert answer
    assert "hello there".startswith(answer)
    assert player.n_cleared == 1
