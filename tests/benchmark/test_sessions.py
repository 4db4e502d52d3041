"""How many conversations there is room for: the search, the load, and what they find."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import ConversationEngine, EngineError
from realtime_stts.benchmark import _sessions
from realtime_stts.benchmark._check import CheckError
from realtime_stts.benchmark._figures import Figure
from realtime_stts.benchmark._load import FRAME, Line, Trial, hold
from realtime_stts.benchmark._sessions import (
    Plan,
    largest,
    measure,
    real,
    scripted,
    scripted_line,
)
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.testing import (
    Failure,
    ScriptedPauseDetector,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    ToneSTTEngine,
)

from .conversations import by_case, job

pytestmark = pytest.mark.anyio

TINY = Plan(first=2, most=5, settle=0.1, window=0.2, searches=2, within=0.0)


# -- the search ----------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@given(st.integers(0, 300), st.integers(1, 50), st.integers(50, 200))
async def test_the_largest_number_that_holds_is_found(limit: int, first: int, most: int) -> None:
    async def holds(n: int) -> bool:
        assert 1 <= n <= most
        return n <= limit

    assert await largest(holds, first, most, 0.0) == min(limit, most)


@given(st.integers(1, 3000), st.floats(0.01, 0.5))
async def test_or_one_that_is_less_by_a_share(limit: int, within: float) -> None:
    n_trials = 0

    async def holds(n: int) -> bool:
        nonlocal n_trials
        n_trials += 1
        return n <= limit

    found = await largest(holds, 40, 4000, within)
    assert found <= limit <= found + max(1.0, within * found)
    assert n_trials <= 20


# -- the load ------------------------------------------------------------------------------


async def test_a_session_that_does_nothing_is_never_late() -> None:
    trial = await hold(scripted_line, 3, settle=0.5, window=1.0)
    assert trial.n == 3
    assert len(trial.lateness) == 3 * round(1.0 / FRAME)  # not those before it had settled
    assert max(trial.lateness) == pytest.approx(0.0, abs=1e-6)  # on virtual time


async def test_users_speak_and_are_answered_at_different_moments() -> None:
    trial = await hold(scripted_line, 2, settle=0.0, window=20.0)
    assert 2 <= trial.n_ended <= 4
    assert len(trial.waits) == trial.n_ended
    # What the scripts take: 0.2 s, 0.1 s and a word each 0.02 s, 0.1 s; and frames.
    assert all(0.4 <= wait <= 0.6 for wait in trial.waits)
    alone = await hold(scripted_line, 1, settle=12.0, window=1.0)
    assert (alone.n_ended, alone.waits) == (1, ())  # it was answered before it had settled


async def test_a_turn_that_fails_fails_the_trial() -> None:
    def line(number: int) -> Line:
        broken = Failure(EngineError("ears", "are closed"))
        engine = ConversationEngine(
            stt=ScriptedSTTEngine([broken]),
            tts=ScriptedTTSEngine(),
            pause_detector=lambda: ScriptedPauseDetector([(0.0, 0.5)]),
        )
        return replace(scripted_line(number), engine=engine)

    with pytest.raises(CheckError, match=r"a turn failed: .*are closed"):
        await hold(line, 1, settle=0.0, window=3.0)


# -- what is found -------------------------------------------------------------------------


async def test_without_a_model_as_many_as_were_allowed_keep_up_on_virtual_time() -> None:
    figures = by_case(await scripted(job(), TINY))
    held = figures["sessions a core holds"]
    assert held.samples == (5.0, 5.0)
    assert held.better == "higher"
    assert len(figures["CPU time of a session"].samples) == 2
    assert all(share >= 0 for share in figures["CPU time of a session"].samples)
    assert figures["lateness of frames with so many, p95"].samples == pytest.approx((0, 0), abs=0.1)


class Overloaded:
    """A machine on which so many sessions keep up, as `hold` would find it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[int] = []

    async def hold(self, line: Any, n: int, settle: float, window: float) -> Trial:
        self.asked.append(n)
        late = 0.001 if n <= self.room else 0.1
        lateness = (*[0.0] * 94, *[late] * 6)
        return Trial(n, lateness, (0.2,) * n, cpu=n / 100, n_ended=n)


async def test_the_budget_decides_how_many_a_core_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Overloaded(room=77)
    monkeypatch.setattr(_sessions, "hold", machine.hold)
    plan = replace(TINY, first=10, most=1000, searches=1)
    figures = by_case(await scripted(job(), plan))
    assert figures["sessions a core holds"].samples == (77.0,)
    assert figures["CPU time of a session"].samples == pytest.approx((1.0,))
    assert figures["lateness of frames with so many, p95"].samples == pytest.approx((1.0,))
    assert machine.asked[:2] == [10, 80]  # 80 % of what the first trial promises


async def test_a_machine_that_holds_only_a_few_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sessions, "hold", Overloaded(room=10).hold)
    figures = by_case(await scripted(job(), replace(TINY, first=10, most=1000)))
    assert figures["sessions a core holds"].samples == (10.0, 10.0)
    assert figures["CPU time of a session"].samples


async def test_a_machine_that_is_busy_otherwise_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sessions, "hold", Overloaded(room=3).hold)
    with pytest.raises(CheckError, match="10 conversations already fall behind"):
        await scripted(job(), replace(TINY, first=10))


# -- with engines --------------------------------------------------------------------------


@pytest.fixture
def _hears_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector that is installed by default may not take tones for speech."""
    plain = _sessions.ConversationEngine

    def hearing(**given: object) -> object:
        return plain(**{"pause_detector": EnergyPauseDetector(), **given})  # type: ignore[arg-type]

    monkeypatch.setattr(_sessions, "ConversationEngine", hearing)
    monkeypatch.setattr(_sessions, "_PERIOD", 4.5)
    monkeypatch.setattr(_sessions, "_TAIL", 2.5)


async def found(stt: Any, most: int = 3) -> dict[str, Figure]:
    async with stt, ScriptedTTSEngine() as tts:
        return by_case(await real(job(), stt, tts, most))


@pytest.mark.usefixtures("_hears_tones")
async def test_engines_that_take_nothing_serve_all_who_may_come() -> None:
    figures = await found(ToneSTTEngine(latency=0.3))
    assert figures["sessions with the engines"].samples == (3.0,)
    for who in ("of one session", "with so many"):
        [wait] = figures[f"end of turn to first audio, p95, {who}"].samples
        assert wait == pytest.approx(1e3 * (0.3 + 0.1 + 0.01), abs=50)


class OneAtATime(ToneSTTEngine):
    """A recogniser that is overloaded by more than one user."""

    async def stream(self, audio: Any, language: str | None = None) -> Any:
        self.latency += 0.4
        async for result in super().stream(audio, language):
            yield result


@pytest.mark.usefixtures("_hears_tones")
async def test_engines_that_answer_later_and_later_serve_fewer() -> None:
    figures = await found(OneAtATime(latency=0.0))
    assert figures["sessions with the engines"].samples == (1.0,)


@pytest.mark.usefixtures("_hears_tones")
async def test_an_only_caller_who_is_not_heard_fails_the_suite() -> None:
    with pytest.raises(CheckError, match="the only caller"):
        await found(ScriptedSTTEngine(repeat("")))


@pytest.mark.usefixtures("_hears_tones")
async def test_users_who_are_not_answered_at_all_are_too_many() -> None:
    figures = await found(ScriptedSTTEngine(chain(["hello"], repeat(""))))
    assert figures["sessions with the engines"].samples == (1.0,)


async def test_a_caller_has_something_to_say() -> None:
    with pytest.raises(ValueError, match="no utterance"):
        await real(job(texts=()), ToneSTTEngine(), ScriptedTTSEngine())


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.usefixtures("_hears_tones")
async def test_the_engines_are_measured_in_full_only(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sessions, "QUICK", TINY)
    monkeypatch.setattr(_sessions, "FULL", replace(TINY, searches=1))

    async def only_two(*given: Any) -> list[Figure]:
        return await real(*given, most=2)

    monkeypatch.setattr(_sessions, "real", only_two)
    cases = by_case(await measure(replace(job(), quick=quick)))
    assert ("sessions with the engines" in cases) is not quick
