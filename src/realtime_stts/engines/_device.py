"""Which device a torch model runs on, and what to make of one that is full."""

from __future__ import annotations

import gc
import re
import warnings

from ..errors import MissingExtraError

try:
    import torch
    import torch.nn.functional as F
except ImportError as exc:
    raise MissingExtraError("A model in torch", "whisper") from exc

__all__ = ["choose_device", "free_memory", "is_out_of_memory"]

_FULL = re.compile(
    r"out of memory"  # CUDA, also where it is no OutOfMemoryError; MPS; XPU
    r"|can't allocate memory|not enough memory"  # the CPU's allocator: POSIX, Windows
    r"|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
)


def choose_device(wanted: str = "auto") -> torch.device:
    """A device that has been seen to compute.

    Args:
        wanted: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; or ``auto``, the first of CUDA, MPS
            and the CPU that works.

    Returns:
        The one wanted. If that does not work, the CPU, with a `RuntimeWarning`.

    Raises:
        ValueError: ``wanted`` is none of these.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", wanted):
        raise ValueError(f'a device is "auto", "cuda", "cuda:1", "mps" or "cpu", not {wanted!r}')
    if wanted == "auto":
        for name in ("cuda", "mps"):
            device = _tried(name)
            if isinstance(device, torch.device):
                return device
        return torch.device("cpu")
    device = _tried(wanted)
    if isinstance(device, torch.device):
        return device
    warnings.warn(
        f"the device {wanted} does not work, and the CPU is used: {device}",
        RuntimeWarning,
        stacklevel=2,
    )
    return torch.device("cpu")


def _tried(name: str) -> torch.device | str:
    """The device if it works, with its number; else what it said.

    A driver, cuBLAS and cuDNN may each be there and broken, so each does something.
    """
    try:
        here = torch.ones(1, 4, 4).to(name)
        result = F.conv1d(here @ here, here).sum().item()
    except (RuntimeError, AssertionError) as exc:  # the latter without CUDA in this torch
        return str(exc).partition("\n")[0] or type(exc).__name__
    return here.device if result == 64.0 else f"it computes {result} where 64 is right"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    match error:
        case MemoryError() | torch.cuda.OutOfMemoryError():
            return True
        case RuntimeError():
            return _FULL.search(str(error)) is not None
        case _:
            return False


def free_memory(device: torch.device) -> None:
    """Give back what torch keeps of models that are gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
