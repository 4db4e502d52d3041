"""Fifty conversations go on while their cluster loses a replica and a node, and is updated."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("ray.serve")

from benchmarks.ray_cluster import Summary, scenario, two_nodes
from tools.docs.links import fences

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SESSIONS, UTTERANCES = 50, 200
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "scale-with-ray.md"
# What a caller may be told when the place of a call goes away, or there is none for a while.
TYPED = {"EngineCrashedError", "EngineUnavailableError", "EngineTimeoutError", "OverloadedError"}


@pytest.fixture
def cluster() -> Iterator[tuple[Any, Any]]:
    with warnings.catch_warnings():
        # Ray kills its processes, and does not wait for the end of all of them.
        warnings.simplefilter("ignore", ResourceWarning)
        with two_nodes() as both:
            yield both
        gc.collect()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_session_is_lost_and_no_answer_is_wrong(cluster: tuple[Any, Any]) -> None:
    tasks = {task.id for task in anyio.get_running_tasks()}
    summary = await scenario(*cluster, sessions=SESSIONS)
    print(f"\n{summary}")  # noqa: T201 - to be quoted
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    with anyio.fail_after(30):  # Ray's own threads stay until it is shut down
        while any("realtime_stts" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
            await anyio.sleep(0.01)

    assert summary.wrong == []
    assert summary.left == []
    assert summary.sessions == SESSIONS
    assert summary.right + summary.failed.total() == UTTERANCES
    assert {*summary.failed, *summary.one_shot_failed} <= TYPED
    assert [what.split()[0] for what in summary.done] == ["killed", "removed", "noticed", "updated"]
    # The update is seen: what the old replicas heard is "en", and the new ones' is "de".
    assert {*summary.versions} == {"en", "de"}
    # A replica that dies takes its calls with it; that is a few of 200, and not all of them.
    assert summary.right > UTTERANCES / 2


def test_a_summary_says_what_was_lost() -> None:
    summary = Summary(sessions=1, right=3, one_shot=5)
    summary.failed["EngineCrashedError"] = 1
    assert summary.holds
    assert "utterances that failed: 1 (1 EngineCrashedError)" in str(summary)
    summary.wrong.append("'tea' for 'two'")
    assert not summary.holds
    assert "wrong: 'tea' for 'two'" in str(summary)


def test_the_first_program_of_the_page_runs(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    program = fences(PAGE.read_text(encoding="utf-8"), "py")[0]
    assert "deploy_stt" in program
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "what is the weather"
