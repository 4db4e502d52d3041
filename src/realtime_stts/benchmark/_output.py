"""What a benchmark leaves behind, as files: they appear together, once all are done."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ._charts import draw, draw_comparison
from ._compare import Comparison
from ._report import Report
from ._table import markdown

__all__ = ["save"]


def save(report: Report, folder: Path, comparison: Comparison | None = None) -> tuple[Path, ...]:
    """Write ``bench.json``, ``bench.md``, ``bench-SUITE.png`` of each suite, and
    ``bench-compared.png`` where something was compared; return their paths.

    Raises:
        OSError: They cannot be written. What was there before stays.
        MissingExtraError: matplotlib is not installed.
    """
    pictures = {
        f"bench-{suite}.png": draw(report, suite)
        for suite in dict.fromkeys(figure.suite for figure in report.figures)
    }
    if comparison is not None and any(each.ratio is not None for each in comparison.changes):
        pictures["bench-compared.png"] = draw_comparison(comparison)
    texts = {"bench.json": report.to_json(), "bench.md": markdown(report, comparison)}
    files = {name: text.encode() for name, text in texts.items()} | pictures
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".unfinished-") as stage:
        for name, content in files.items():
            Path(stage, name).write_bytes(content)
        for name in files:
            Path(stage, name).replace(folder / name)
    return tuple(folder / name for name in files)
