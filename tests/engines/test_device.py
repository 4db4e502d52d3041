"""Devices are chosen by use, and a full one is told from a broken one."""

from __future__ import annotations

import warnings
import weakref

import pytest

pytest.importorskip("torch")

import torch

from realtime_stts.engines._device import choose_device, free_memory, is_out_of_memory

HAS_CUDA = torch.cuda.is_available()
HAS_MPS = torch.backends.mps.is_available()


def provoked(n_bytes: int, device: str = "cpu") -> BaseException:
    """What torch raises if it is asked for so much."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is what is tested
        torch.empty(n_bytes, dtype=torch.uint8, device=device)
    return caught.value


class TestChoice:
    def test_the_cpu_always_works(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert choose_device("cpu") == torch.device("cpu")

    def test_auto_is_the_best_that_works_and_warns_of_nothing(self) -> None:
        best = "cuda" if HAS_CUDA else "mps" if HAS_MPS else "cpu"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert choose_device().type == best
            assert choose_device("auto").type == best

    @pytest.mark.parametrize(
        "wanted",
        [
            pytest.param("cuda", marks=pytest.mark.skipif(HAS_CUDA, reason="it works here")),
            pytest.param("mps", marks=pytest.mark.skipif(HAS_MPS, reason="it works here")),
            "cuda:99",
        ],
    )
    def test_one_that_does_not_work_is_the_cpu_with_a_warning(self, wanted: str) -> None:
        with pytest.warns(RuntimeWarning, match=f"the device {wanted} does not work.*: .") as seen:
            assert choose_device(wanted) == torch.device("cpu")
        assert len(seen) == 1
        assert "\n" not in str(seen[0].message)

    @pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")
    @pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
    def test_a_cuda_device_has_its_number(self, wanted: str) -> None:
        assert choose_device(wanted) == torch.device("cuda:0")

    @pytest.mark.parametrize("wanted", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cpu:0 ", "auto\n"])
    def test_a_word_that_is_no_device_is_refused(self, wanted: str) -> None:
        with pytest.raises(ValueError, match="a device is"):
            choose_device(wanted)


class TestMemory:
    def test_the_machine_has_not_so_much(self) -> None:
        error = provoked(1 << 60)
        assert type(error) is RuntimeError
        assert is_out_of_memory(error)

    def test_nor_has_python(self) -> None:
        with pytest.raises(MemoryError) as caught:
            bytearray(1 << 60)
        assert is_out_of_memory(caught.value)

    @pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")
    def test_nor_has_the_gpu(self) -> None:
        assert is_out_of_memory(provoked(1 << 50, "cuda"))

    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError("CUDA error: out of memory"),
            RuntimeError("MPS backend out of memory (MPS allocated: 17.8 GB, max: 18.1 GB)"),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ],
    )
    def test_so_it_is_said_on_other_machines(self, error: BaseException) -> None:
        assert is_out_of_memory(error)

    def test_other_errors_are_none_of_that(self) -> None:
        with pytest.raises(RuntimeError) as caught:
            torch.ones(2, 3) @ torch.ones(2, 3)
        assert not is_out_of_memory(caught.value)
        assert not is_out_of_memory(provoked(-1))
        assert not is_out_of_memory(ValueError("out of memory"))
        assert not is_out_of_memory(KeyboardInterrupt())

    @pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
    def test_what_is_gone_is_given_back(self, device: str) -> None:
        if {"cuda": not HAS_CUDA, "mps": not HAS_MPS}.get(device):
            pytest.skip("there is no such device")
        holder = torch.nn.Module()
        holder.around = [holder]  # garbage that only the collector finds
        holder.weights = torch.ones(1 << 24, device=device)
        left = weakref.ref(holder.weights)
        del holder
        free_memory(torch.device(device))
        assert left() is None
        if device == "cuda":
            assert torch.cuda.memory_reserved() < 1 << 26
