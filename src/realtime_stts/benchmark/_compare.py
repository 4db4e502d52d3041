"""PURE: two reports side by side: what got better, what worse, what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ._figures import Figure
from ._report import Report
from ._statistics import Change, change, incomparable
from ._suites import SUITES

__all__ = ["Comparison", "busy", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of each figure, and what a reader has to know first."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """What got worse."""
        return tuple(each for each in self.changes if each.verdict == "worse")


def compare(old: Report, new: Report, *, across_engines: bool = False) -> Comparison:
    """What became of each figure of both reports, in the new one's order.

    A figure that depends on an engine or on what was said cannot be compared with one that
    had another. Another machine, or another version of a package, is a warning only: only
    who compares can know whether that is what they want to compare.

    Figures of suites that the new report did not run are left out, and that is told.

    Args:
        across_engines: Compare figures of different engines: that is the question then.
    """
    changes: list[Change] = []
    for figure in new.figures:
        before = old.figure(figure.suite, figure.case)
        if before is None:
            changes.append(incomparable(None, figure, "it is in the new report only"))
        elif why := _other(figure, old, new, across_engines):
            changes.append(incomparable(before, figure, why))
        else:
            changes.append(change(before, figure, new.options.seed))
    changes += [
        incomparable(figure, None, "it is in the old report only")
        for figure in old.figures
        if figure.suite in new.options.suites and new.figure(figure.suite, figure.case) is None
    ]
    return Comparison(tuple(changes), tuple(_warnings(old, new, across_engines)))


def _other(figure: Figure, old: Report, new: Report, across_engines: bool) -> str:
    """What the figure depends on, and is not the same."""
    # A suite that is not known here depends on everything.
    depends = {suite.name: suite.depends for suite in SUITES}.get(
        figure.suite, frozenset({"stt", "tts", "workload"})
    )
    then, now = old.options, new.options
    if not across_engines:
        if "stt" in depends and then.stt != now.stt:
            return f"the engine was {then.stt}, and is {now.stt}"
        if "tts" in depends and then.tts != now.tts:
            return f"the engine was {then.tts}, and is {now.tts}"
    if "workload" not in depends:
        return ""
    if old.workload.hash != new.workload.hash:
        return "other things were said"
    if (then.quick, then.seed, then.language) != (now.quick, now.seed, now.language):
        return "quick, the seed or the language was another"
    return ""


def _warnings(old: Report, new: Report, across_engines: bool) -> Iterator[str]:
    for key in ("cpu", "cores", "gpu", "python", "platform"):
        before, after = old.machine.get(key), new.machine.get(key)
        if before != after:
            yield f"another machine: {key} was {before}, and is {after}"
    then, now = old.options, new.options
    if missing := [suite for suite in then.suites if suite not in now.suites]:
        yield f"only the old report has {', '.join(missing)}"
    if across_engines and (then.stt, then.tts) != (now.stt, now.tts):
        yield f"other engines: {then.stt} and {then.tts}, then {now.stt} and {now.tts}"
    for report, which in ((old, "old"), (new, "new")):
        if told := busy(report):
            yield f"the {which} report: {told}"
        for suite, what in report.failures.items():
            yield f"the {which} report: {suite} failed: {what}"
    for name in sorted({*old.packages, *new.packages}):
        if (before := old.packages.get(name)) != (after := new.packages.get(name)):
            yield f"{name} was {before or 'not there'}, and is {after or 'not there'}"


def busy(report: Report) -> str:
    """That the machine had other work when the benchmark began, or "" if it had not."""
    load, cores = report.machine.get("load"), report.machine.get("cores")
    if isinstance(load, int | float) and isinstance(cores, int) and load > cores / 2:
        return f"the machine was busy: {load:g} of {cores} cores' worth of work"
    return ""
