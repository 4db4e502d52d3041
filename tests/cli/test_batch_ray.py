"""`transcribe --ray`: the engines run on a cluster, and are gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("ray")

from realtime_stts.testing import speech

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

# The cluster says its address, and then what is deployed on it whenever it is asked.
CLUSTER = """
    import json, sys
    import ray
    from ray import serve

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False,
             object_store_memory=100_000_000)
    print(ray.get_runtime_context().gcs_address, flush=True)
    for line in sys.stdin:
        print(json.dumps([*serve.status().applications]), flush=True)
    serve.shutdown()
    ray.shutdown()
"""

# Of Ray's own, in both processes; a cluster makes a token for itself otherwise.
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-the-tests-with-enough-letters",
}

# What it does is said by how long the sound is.
ENGINE = """
    import anyio
    from realtime_stts import TranscriptionResult
    from realtime_stts.errors import EngineError

    class Engine:
        model_loaded = True

        def __init__(self, how=""):
            if how == "broken":
                raise EngineError("told", "it is broken")

        async def is_available(self):
            return True

        async def transcribe(self, audio, language=None):
            what = round(audio.duration_seconds)
            if what == 2:
                await anyio.sleep_forever()
            if what == 3:
                raise EngineError("told", "out of sorts")
            return TranscriptionResult(f"{what} s", language or "en", [])
"""


class Cluster:
    """A cluster in a process of its own, which knows the engine ``told``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._line()

    @property
    def applications(self) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        names: list[str] = json.loads(self._line())
        return names

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the cluster has ended"
        return line.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "told_engine.py").write_text(dedent(ENGINE))
    info = folder / "told-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realtime_stts.stt]\ntold = told_engine:Engine\n")
    variables = {
        "PYTHONPATH": str(folder),
        **VARIABLES,
        "RAY_raylet_start_wait_time_s": "120",  # where much else runs, it takes long
    }
    with (
        (folder / "cluster.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", dedent(CLUSTER)],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Cluster(process)
        finally:
            try:
                process.communicate(timeout=60)  # the end of its input ends it
            finally:
                process.kill()


def start(cluster: Cluster, folder: Path, *args: str) -> subprocess.Popen[str]:
    asked = ("transcribe", "sound", "-o", "texts", "--ray", cluster.address, *args)
    return subprocess.Popen(
        [sys.executable, "-m", "realtime_stts.cli", *asked],
        cwd=folder,
        env=os.environ | VARIABLES | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    folder = tmp_path / "sound"
    folder.mkdir()
    speech(1.0).to_file(folder / "a.wav")
    return folder


def test_files_are_transcribed_by_replicas_that_are_gone_afterwards(
    cluster: Cluster, sound: Path, tmp_path: Path
) -> None:
    speech(3.0).to_file(sound / "b.wav")
    speech(1.0).to_file(sound / "c.wav")
    process = start(cluster, tmp_path, "--stt", "told", "--workers", "2", "--json")
    out, err = process.communicate()
    assert process.returncode == 1, err
    told = json.loads(out)
    assert {each["file"] for each in told["done"]} == {"a.wav", "c.wav"}
    assert told["failed"] == [
        {"file": "b.wav", "error": "told: out of sorts", "kind": "EngineError"}
    ]
    assert (tmp_path / "texts" / "a.txt").read_text() == "1 s\n"
    assert cluster.applications == []


def test_stopped_by_ctrl_c_the_replicas_are_gone_too(
    cluster: Cluster, sound: Path, tmp_path: Path
) -> None:
    speech(2.0).to_file(sound / "b.wav")
    process = start(cluster, tmp_path, "--stt", "told")
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    while lines[-1] and not lines[-1].startswith("a.wav: "):
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, (lines, err)
    assert out.startswith("texts: 1 transcribed, 1 left\n")
    assert cluster.applications == []


def test_an_engine_that_cannot_be_made_there_is_an_error_and_leaves_nothing(
    cluster: Cluster, sound: Path, tmp_path: Path
) -> None:
    process = start(cluster, tmp_path, "--stt", "told:broken")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "it is broken" in err  # among what Serve says of it
    assert cluster.applications == []


def test_a_cluster_that_does_not_answer_is_an_error(sound: Path, tmp_path: Path) -> None:
    asked = ("transcribe", "sound", "-o", "texts", "--ray", "nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "realtime_stts.cli", *asked],
        cwd=tmp_path,
        env=os.environ | VARIABLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
