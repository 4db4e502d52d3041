"""A whole conversation with a language model behind a real server, on the real clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio import to_thread

pytest.importorskip("openai")
pytest.importorskip("starlette")
pytest.importorskip("multipart")
pytest.importorskip("uvicorn")

from realtime_stts import ConversationEngine
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.integrations.openai import ChatResponseGenerator
from realtime_stts.testing import Caller, ScriptedTTSEngine, ToneSTTEngine, no_leaks
from tests.integrations.openai.scripted import Scripted, calls, chat, scripted

pytestmark = pytest.mark.anyio

STORY = (
    "Once there was a fox who ran all day, and all night, and the next day, and the next night",
    " and never came to the end of the wood. ",
    "And",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


async def cooled() -> str:
    return "on"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_model_knows_where_the_user_cut_it_off(server: Scripted) -> None:
    """The story has no end when they interrupt: its connection is closed, and what they have
    heard of it is what the next request says.
    """
    server.will(
        chat(*STORY, ending="open"),
        calls(("c1", "cooled", "{}"), before=["Fine."]),
        chat("It is on."),
    )
    async with ChatResponseGenerator("tiny", base_url=server.url, tools=[cooled]) as responder:
        engine = ConversationEngine(
            stt=ToneSTTEngine(latency=0.0),
            tts=ScriptedTTSEngine(latency=0.0, real_time_factor=0.0),
            responder=responder,
            pause_detector=EnergyPauseDetector(),
        )
        async with no_leaks():
            call = await Caller(engine).says("a story").interrupts("never mind", after=0.6).run()
            assert await to_thread.run_sync(server.left.wait, 20)

    first, second = call.turns
    assert first.outcome == "interrupted"
    assert first.heard
    assert "".join(STORY).startswith(first.heard)
    assert (second.heard, second.error) == ("Fine. It is on.", None)
    assert server.bodies[1]["messages"][1:] == [
        {"role": "user", "content": "a story"},
        {"role": "assistant", "content": f"{first.heard} [cut off]"},
        {"role": "user", "content": "never mind"},
    ]
    assert server.bodies[2]["messages"][-1]["content"] == "on"
