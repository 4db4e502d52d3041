"""What a model's name means, and what becomes of files that hold a model, or something else."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("whisper")

import torch
import whisper
from torch import nn
from whisper.model import ModelDimensions, Whisper

from realtime_stts import EngineLoadError, EngineMemoryError
from realtime_stts.engines.whisper._checkpoint import Checkpoint, available_models, load, resolve

CPU = torch.device("cpu")


def dimensions(n_text_layer: int = 2, n_text_head: int = 2) -> ModelDimensions:
    return ModelDimensions(
        n_mels=80,
        n_audio_ctx=16,
        n_audio_state=8,
        n_audio_head=2,
        n_audio_layer=2,
        n_vocab=64,
        n_text_ctx=16,
        n_text_state=4 * n_text_head,
        n_text_head=n_text_head,
        n_text_layer=n_text_layer,
    )


def saved(file: Path, dims: ModelDimensions | None = None) -> Path:
    """A checkpoint of a small model, as openai-whisper stores them."""
    dims = dims or dimensions()
    model = Whisper(dims)
    nn.init.normal_(model.decoder.positional_embedding)  # else whatever the memory held, even NaN
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, file)
    return file


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of this machine's user is looked at."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


class TestNames:
    @pytest.mark.parametrize("name", whisper.available_models())
    def test_every_model_of_openai_has_a_file_an_address_and_its_heads(
        self, name: str, tmp_path: Path
    ) -> None:
        checkpoint = resolve(name, download_root=tmp_path)
        assert checkpoint.name == name
        assert checkpoint.url == whisper._MODELS[name]
        assert checkpoint.file == tmp_path / os.path.basename(whisper._MODELS[name])
        assert checkpoint.alignment_heads == whisper._ALIGNMENT_HEADS[name]
        assert not checkpoint.is_present

    def test_they_are_listed(self) -> None:
        assert available_models() == whisper.available_models()

    def test_an_alias_shares_its_file(self) -> None:
        assert resolve("turbo").file == resolve("large-v3-turbo").file

    def test_files_are_kept_where_openai_whisper_keeps_them(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert resolve().file == tmp_path / "home" / ".cache" / "whisper" / "base.pt"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
        assert resolve().file == tmp_path / "caches" / "whisper" / "base.pt"

    def test_or_where_the_caller_wants_them(self, tmp_path: Path) -> None:
        assert resolve("tiny", download_root="here").file == tmp_path / "here" / "tiny.pt"
        assert resolve("tiny", download_root="~/m").file == tmp_path / "home" / "m" / "tiny.pt"

    @pytest.mark.parametrize(
        ("name", "first"), [("base-en", "base.en"), ("larg", "large"), ("mediun", "medium")]
    )
    def test_an_unknown_one_is_refused_with_the_likely_ones_first(
        self, name: str, first: str
    ) -> None:
        with pytest.raises(ValueError, match="no Whisper model is called") as caught:
            resolve(name)
        listed = str(caught.value).partition("known: ")[2].split(", ")
        assert listed[0] == first
        assert sorted(listed) == sorted(available_models())


class TestPaths:
    @pytest.mark.parametrize("path", ["mine.pt", "models/mine", f".{os.sep}mine", "~/mine.pt"])
    def test_what_looks_like_a_path_is_one(self, path: str, tmp_path: Path) -> None:
        checkpoint = resolve(path)
        expected = path.replace("~", str(tmp_path / "home"))
        assert checkpoint == Checkpoint(path, Path(expected).absolute(), None, None)
        assert not checkpoint.is_present

    def test_so_is_the_name_of_a_file(self, tmp_path: Path) -> None:
        saved(tmp_path / "mine")
        assert resolve("mine").is_present

    def test_a_model_of_that_name_comes_first(self, tmp_path: Path) -> None:
        saved(tmp_path / "tiny")
        assert resolve("tiny").url is not None

    def test_an_explicit_path_wins_over_the_model(self, tmp_path: Path) -> None:
        saved(tmp_path / "tiny")
        checkpoint = resolve("base", model_path=Path("tiny"))
        assert checkpoint.file == tmp_path / "tiny"
        assert checkpoint.url is None
        assert load(checkpoint, CPU).dims == dimensions()

    def test_a_file_named_as_a_model_of_openai_has_its_heads(self) -> None:
        heads = whisper._ALIGNMENT_HEADS["base.en"]
        assert resolve("backup/base.en.pt").alignment_heads == heads


class TestFetch:
    def test_a_file_of_ones_own_is_used_as_it_is(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "mine.pt")
        assert resolve("mine.pt").fetch() == file

    def test_one_that_is_not_there_cannot_be_had(self, tmp_path: Path) -> None:
        with pytest.raises(EngineLoadError, match="there is no file") as caught:
            resolve("mine.pt").fetch()
        assert str(tmp_path / "mine.pt") in str(caught.value)

    def test_without_a_network_the_error_says_exactly_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(EngineLoadError) as caught:
            resolve("base.en", download_root=tmp_path).fetch()
        url = whisper._MODELS["base.en"]
        assert str(caught.value) == (
            "whisper: base.en.pt cannot be downloaded (Connection refused). "
            f"Put the file from {url} into {tmp_path}, "
            "or pass a checkpoint's path: whisper:/path/to/base.en.pt, "
            "or run `realtime-stts download whisper:base.en` where there is a network"
        )

    def test_the_address_holds_the_checksum(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "mine.pt")
        url = f"http://127.0.0.1:9/models/{sha256(file.read_bytes()).hexdigest()}/mine.pt"
        assert Checkpoint("mine", file, url, None).fetch() == file
        file.write_bytes(b"damaged")
        with pytest.raises(EngineLoadError, match="cannot be downloaded"):
            Checkpoint("mine", file, url, None).fetch()

    def test_progress_and_giving_up_are_passed_on(self, tmp_path: Path) -> None:
        class Cancelled(Exception):
            pass

        def check() -> None:
            raise Cancelled

        with pytest.raises(Cancelled):
            resolve("tiny", download_root=tmp_path).fetch(check=check)


class TestLoad:
    def test_a_checkpoint_becomes_the_model_it_was(self, tmp_path: Path) -> None:
        model = load(resolve(str(saved(tmp_path / "mine.pt"))), CPU)
        stored = torch.load(tmp_path / "mine.pt", weights_only=True)["model_state_dict"]
        assert model.dims == dimensions()
        assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
        assert next(model.parameters()).device == CPU

    def test_known_heads_are_set(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "tiny.pt", dimensions(n_text_layer=4, n_text_head=6))
        model = load(resolve(str(file)), CPU)
        expected = Whisper(model.dims)
        expected.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny"])
        assert torch.equal(model.alignment_heads.to_dense(), expected.alignment_heads.to_dense())

    def test_heads_of_another_shape_are_not(self, tmp_path: Path) -> None:
        model = load(resolve(str(saved(tmp_path / "tiny.pt"))), CPU)
        heads = model.alignment_heads.to_dense()
        assert heads.tolist() == [[False, False], [True, True]]

    @pytest.mark.parametrize(
        "write",
        [
            lambda file: file.write_bytes(b""),
            lambda file: file.write_bytes(b"no model at all"),
            lambda file: file.write_bytes(saved(file).read_bytes()[:-2000]),
            lambda file: zipfile.ZipFile(file, "w").close(),
            lambda file: file.write_bytes(pickle.dumps(Thread, protocol=2)),
            lambda file: torch.save([1, 2, 3], file),
            lambda file: torch.save({"weights": torch.zeros(3)}, file),
            lambda file: torch.save({"dims": {"n_mels": 80}, "model_state_dict": {}}, file),
            lambda file: torch.save({"dims": vars(dimensions()), "model_state_dict": {}}, file),
            lambda file: torch.save(
                {
                    "dims": vars(dimensions()),
                    "model_state_dict": Whisper(dimensions(n_text_layer=1)).state_dict(),
                },
                file,
            ),
        ],
        ids=[
            "empty", "text", "cut off", "an empty archive", "a pickle", "a list", "no keys",
            "no dimensions", "no weights", "weights of another",
        ],
    )  # fmt: skip
    def test_a_file_that_is_no_model_is_named(
        self, write: Callable[[Path], Any], tmp_path: Path
    ) -> None:
        file = tmp_path / "broken.pt"
        write(file)
        with pytest.raises(EngineLoadError) as caught:
            load(resolve("broken.pt"), CPU)
        message = str(caught.value)
        assert message.startswith(f"whisper: {file} is not a Whisper checkpoint, or is damaged: ")
        assert "\n" not in message

    def test_no_code_in_a_file_is_run(self, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "run"),)

        torch.save({"dims": Payload(), "model_state_dict": {}}, tmp_path / "evil.pt")
        with pytest.raises(EngineLoadError):
            load(resolve("evil.pt"), CPU)
        assert not (tmp_path / "run").exists()

    def test_a_folder_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "folder.pt").mkdir()
        with pytest.raises(EngineLoadError, match=r"folder\.pt cannot be read: Is a directory"):
            load(resolve("folder.pt"), CPU)

    def test_a_model_that_does_not_fit_says_so(self, tmp_path: Path) -> None:
        dims = dimensions()
        dims.n_vocab = 1 << 50
        torch.save({"dims": vars(dims), "model_state_dict": {}}, tmp_path / "huge.pt")
        with pytest.raises(EngineMemoryError) as caught:
            load(resolve("huge.pt"), CPU)
        assert str(caught.value) == (
            "whisper: huge.pt does not fit into the memory of cpu; "
            "choose a smaller model, or another device"
        )

    def test_a_device_that_is_broken_is_no_fault_of_the_file(self, tmp_path: Path) -> None:
        if torch.cuda.is_available():
            pytest.skip("it has a CUDA device")
        saved(tmp_path / "mine.pt")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what it says depends on torch
            load(resolve("mine.pt"), torch.device("cuda:0"))
        assert "is not a Whisper checkpoint" not in str(caught.value)
