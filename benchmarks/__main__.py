"""Run benchmarks, print their tables and write ``out/bench/NAME.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ._report import table, write

_HERE = Path(__file__).parent
_NAMES = sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))
_MODELS = {"chatterbox", "whisper"}  # in torch, on the device they are told: `make bench-whisper`
_PEERS = {"middleware", "peers"}  # where their peers are: `make bench-peers`
_CLUSTER = {"ray"}  # a minute and a half, on a cluster of this machine: `make bench-ray`


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} Exits with 1 when the two sides of a row do not agree.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="which ones (all but those of models and clusters, and with peers): "
        + ", ".join(_NAMES),
    )
    parser.add_argument("--out", type=Path, default=_HERE.parent / "out" / "bench", help="folder")
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help=f"where models run ({', '.join(sorted(_MODELS))}); cuda writes NAME-cuda.json",
    )
    options = parser.parse_args(arguments)
    names = options.names or [name for name in _NAMES if name not in _MODELS | _PEERS | _CLUSTER]
    if unknown := set(names) - set(_NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    if options.device != "cpu":
        if without := set(names) - _MODELS:
            parser.error(f"no device makes a difference to {', '.join(sorted(without))}")
        if not _has_gpu():
            print("there is no GPU: torch sees no CUDA device", file=sys.stderr)
            return 1

    agreed = True
    missing: dict[str, list[str]] = {}
    for name in names:
        module = importlib.import_module(f"{__package__}.bench_{name}")
        rows = module.run(options.device) if name in _MODELS else module.run()
        report = name if options.device == "cpu" else f"{name}-{options.device}"
        print(f"{report}\n{table(rows)}\n-> {write(report, rows, options.out)}\n", flush=True)
        agreed = agreed and all(row.equal for row in rows)
        missing[name] = [*getattr(module, "MISSING", ())]
    for name, reasons in missing.items():
        if reasons:
            print("\n".join([f"{name}: what was not measured here, and why", *reasons, ""]))
            _note(f"{name}-missing", reasons, options.out)
    if not agreed:
        print("an equality gate failed: its rows measure different work", file=sys.stderr)
    return 0 if agreed else 1


def _note(name: str, lines: Sequence[str], folder: Path) -> None:
    """Write ``folder/NAME.json``, a list, whole or not at all."""
    partial = folder / f".{name}-{os.getpid()}.partial"
    try:
        partial.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / f"{name}.json")
    finally:
        partial.unlink(missing_ok=True)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


if __name__ == "__main__":
    sys.exit(main())
