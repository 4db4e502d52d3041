"""How fast and how good engines and conversations are here, in figures that can be compared.

``realtime-stts bench`` is its command; this is the same for a program or a notebook::

    report = await run(["stt", "tts"], stt="whisper:base.en", quick=True)
    print(markdown(report))
    print(markdown(report, compare(read("last-week.json"), report)))

What is measured and how is in docs/how-to/benchmark.md.
"""

from __future__ import annotations

from ._charts import draw, draw_comparison
from ._check import CheckError
from ._compare import Comparison, compare
from ._figures import Figure, Job, Utterance
from ._output import save
from ._report import Options, Report, ReportError, Workload, from_json, read
from ._run import run
from ._statistics import Change, interval, value
from ._suites import SUITES, Suite
from ._table import changes_table, figures_table, markdown
from ._transcripts import WorkloadError

__all__ = [
    "SUITES",
    "Change",
    "CheckError",
    "Comparison",
    "Figure",
    "Job",
    "Options",
    "Report",
    "ReportError",
    "Suite",
    "Utterance",
    "Workload",
    "WorkloadError",
    "changes_table",
    "compare",
    "draw",
    "draw_comparison",
    "figures_table",
    "from_json",
    "interval",
    "markdown",
    "read",
    "run",
    "save",
    "value",
]
