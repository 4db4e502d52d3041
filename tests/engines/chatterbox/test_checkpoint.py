"""What a model's name means, and what becomes of its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

pytest.importorskip("chatterbox")

import torch
from chatterbox.tts import ChatterboxTTS

from realtime_stts.engines.chatterbox._checkpoint import available_models, load, resolve
from realtime_stts.errors import EngineLoadError
from tools.random_chatterbox import small

CPU = torch.device("cpu")


class TestAName:
    @pytest.mark.parametrize("name", ["standard", "turbo", "multilingual"])
    def test_is_one_of_resembles_models(self, name: str, tmp_path: Path) -> None:
        assert name in available_models()
        checkpoint = resolve(name, cache=tmp_path)
        assert (checkpoint.name, checkpoint.kind, checkpoint.folder) == (name, name, None)
        assert not checkpoint.is_present

    @pytest.mark.parametrize("kind", ["standard", "turbo", "multilingual"])
    def test_may_be_a_folder_whose_files_tell_the_kind(
        self, checkpoint: Callable[[str], Path], kind: str
    ) -> None:
        folder = checkpoint(kind)
        for found in (resolve(str(folder)), resolve("standard", folder)):
            assert (found.kind, found.folder) == (kind, folder)
            assert found.is_present
            assert found.fetch() == folder

    def test_that_is_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is called 'nonsense'; standard, turbo, multilingual"):
            resolve("nonsense")
        with pytest.raises(ValueError, match=r"none of t3_cfg.safetensors, t3_turbo_v1"):
            resolve(str(tmp_path))


class TestLoading:
    def test_gives_what_chatterbox_itself_loads(self, checkpoint: Callable[[str], Path]) -> None:
        folder = checkpoint("standard")
        torch.manual_seed(1)
        expected_chance = torch.rand(1)
        torch.manual_seed(1)
        with small("standard"):
            ours = load(resolve(str(folder)), CPU)
            assert torch.rand(1) == expected_chance  # no weight was drawn
            theirs = ChatterboxTTS.from_local(folder, "cpu")
        for part in ("t3", "s3gen", "ve"):
            state = getattr(theirs, part).state_dict()
            own = getattr(ours, part).state_dict()
            assert own.keys() == state.keys()
            assert all(torch.equal(own[name], state[name]) for name in state)
            assert not getattr(ours, part).training
        assert torch.equal(ours.conds.t3.speaker_emb, theirs.conds.t3.speaker_emb)
        text = "Hello there."
        assert ours.tokenizer.encode(text) == theirs.tokenizer.encode(text)

    def test_needs_no_network_to_speak_anything_but_chinese(
        self, checkpoint: Callable[[str], Path]
    ) -> None:
        with small("multilingual"):
            model = load(resolve(str(checkpoint("multilingual"))), CPU)
        assert model.tokenizer.text_to_tokens("Guten Tag", language_id="de").shape[1] > 5

    def test_says_which_file_is_missing(
        self, checkpoint: Callable[[str], Path], tmp_path: Path
    ) -> None:
        folder = copytree(checkpoint("standard"), tmp_path / "copy", copy_function=os.link)
        (folder / "ve.safetensors").unlink()
        with pytest.raises(EngineLoadError, match=r"there is no ve.safetensors in "):
            load(resolve(str(folder)), CPU)

    @pytest.mark.parametrize("file", ["s3gen.safetensors", "tokenizer.json", "conds.pt"])
    def test_says_that_a_file_is_damaged(
        self, checkpoint: Callable[[str], Path], tmp_path: Path, file: str
    ) -> None:
        folder = copytree(checkpoint("standard"), tmp_path / "copy", copy_function=os.link)
        (folder / file).unlink()
        (folder / file).write_bytes(b"nonsense")
        complaint = "holds no standard Chatterbox model, or a damaged one"
        with small("standard"), pytest.raises(EngineLoadError, match=complaint):
            load(resolve(str(folder)), CPU)

    def test_may_do_without_a_voice(
        self, checkpoint: Callable[[str], Path], tmp_path: Path
    ) -> None:
        folder = copytree(checkpoint("standard"), tmp_path / "copy", copy_function=os.link)
        (folder / "conds.pt").unlink()
        with small("standard"):
            assert load(resolve(str(folder)), CPU).conds is None


# -- downloading: in a process of its own, as huggingface_hub reads its settings once ------


FILES = {
    "t3_cfg.safetensors": bytes(700_000),
    "ve.safetensors": b"v" * 5000,
    "s3gen.safetensors": b"s" * 9000,
    "tokenizer.json": b"{}",
    "conds.pt": b"c" * 100,
    "README.md": b"not wanted",
}


class Hub(BaseHTTPRequestHandler):
    """So much of Hugging Face's server as a download needs."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {"X-Repo-Commit": "a" * 40}
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            answer = {"id": "ResembleAI/chatterbox", "sha": "a" * 40, "siblings": siblings}
            data = json.dumps(answer).encode()
        elif path.rpartition("/")[2] not in FILES:
            self.send_error(404)
            return
        else:
            data = FILES[path.rpartition("/")[2]]
            headers["ETag"] = f'"{sha256(data).hexdigest()}"'
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetching(endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    program = """
from realtime_stts.engines.chatterbox._checkpoint import resolve
from realtime_stts.errors import EngineLoadError

checkpoint = resolve("standard")
seen = []
try:
    folder = checkpoint.fetch(lambda done, total: seen.append((done, total)))
except EngineLoadError as error:
    raise SystemExit(str(error))
assert checkpoint.is_present
assert checkpoint.fetch() == folder
print(sorted(path.name for path in folder.iterdir()), seen[-1], len(seen))
"""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    environment.pop("HTTP_PROXY", None)
    environment.pop("http_proxy", None)
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


class TestDownloading:
    def test_fetches_what_the_model_needs_and_tells_how_far_it_is(
        self, hub: str, tmp_path: Path
    ) -> None:
        done = fetching(hub, tmp_path)
        assert done.returncode == 0, done.stderr
        names = sorted(set(FILES) - {"README.md"})
        size = sum(len(data) for name, data in FILES.items() if name in names)
        assert done.stdout.startswith(f"{names} ({size}, {size}) ")

    def test_without_a_network_says_what_to_do(self, tmp_path: Path) -> None:
        done = fetching("http://127.0.0.1:9", tmp_path)
        assert done.returncode == 1
        assert "ResembleAI/chatterbox cannot be downloaded" in done.stderr
        assert "chatterbox:/path/to/folder" in done.stderr
        assert "`realtime-stts download chatterbox:standard`" in done.stderr
        assert "Traceback" not in done.stderr
