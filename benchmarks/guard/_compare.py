"""Counts beside those of a baseline, and the file that baselines are kept in. Nothing is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

__all__ = [
    "LIMIT",
    "SPREAD",
    "Baseline",
    "BaselineError",
    "Change",
    "changes",
    "complaints",
    "other_versions",
    "read",
    "spread",
    "table",
    "written",
]

LIMIT: Final = 0.10  # a rise of more than this share of the baseline fails
SPREAD: Final = 0.01  # two measurements that differ by more make no baseline

Verdict = Literal["rise", "fall", "same", "new", "gone"]


class BaselineError(Exception):
    """The file of baselines cannot be read."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one build of Python counted, and with what."""

    versions: Mapping[str, str]
    counts: Mapping[str, int]  # instructions of one round


@dataclass(frozen=True, slots=True)
class Change:
    """One workload, then and now; None where it was, or is, not there."""

    name: str
    before: int | None
    now: int | None

    @property
    def share(self) -> float | None:
        """0.1 for a tenth more."""
        if self.before is None or self.now is None:
            return None
        return self.now / self.before - 1

    @property
    def verdict(self) -> Verdict:
        if self.before is None:
            return "new"
        if self.now is None:
            return "gone"
        if self.now > self.before * (1 + LIMIT):
            return "rise"
        return "fall" if self.now < self.before * (1 - LIMIT) else "same"


def changes(before: Mapping[str, int], now: Mapping[str, int]) -> list[Change]:
    """Every workload of either side, in the order of now; those that are gone come last."""
    names = [*now, *(name for name in before if name not in now)]
    return [Change(name, before.get(name), now.get(name)) for name in names]


def complaints(found: Sequence[Change]) -> list[str]:
    """A line for each change that the guard fails for; none, if all is well."""
    said = {
        "rise": "{0.name}: {0.share:+.1%}, from {0.before:,} to {0.now:,} instructions",
        "new": "{0.name}: not in the baseline",
        "gone": "{0.name}: in the baseline, but no longer a workload",
    }
    return [said[change.verdict].format(change) for change in found if change.verdict in said]


def spread(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, float]:
    """How far apart two measurements of the same workloads are, as a share of the smaller."""
    return {name: abs(other[name] - n) / min(other[name], n) for name, n in one.items()}


def other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has another version than the baseline was made with."""
    names = [*now, *(name for name in then if name not in now)]
    return [
        f"{name} {now.get(name, 'none')} (the baseline's: {then.get(name, 'none')})"
        for name in names
        if then.get(name) != now.get(name)
    ]


def table(found: Sequence[Change]) -> str:
    """The changes as plain text, figures aligned."""

    def figure(count: int | None) -> str:
        return "-" if count is None else f"{count:,}"

    lines = [("workload", "baseline", "now", "change")]
    for change in found:
        share = change.verdict if change.share is None else f"{change.share:+.1%}"
        lines.append((change.name, figure(change.before), figure(change.now), share))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])])
        for name, *figures in lines
    )


# -- the file ------------------------------------------------------------------------------


def read(text: str) -> dict[str, Baseline]:
    """The baselines in a file, by the build of Python that each belongs to.

    Raises:
        BaselineError: It is no such file.
    """
    try:
        builds = {
            build: Baseline(of["versions"], of["counts"]) for build, of in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise BaselineError(f"this is no file of baselines: {exc!r}") from exc
    for build, baseline in builds.items():
        _check(build, baseline)
    return builds


def _check(build: str, baseline: Baseline) -> None:
    if not (isinstance(baseline.versions, dict) and isinstance(baseline.counts, dict)):
        raise BaselineError(f"the versions and counts of {build} are no mappings")
    for name, count in baseline.counts.items():
        if type(count) is not int or count < 1:
            raise BaselineError(f"{name!r} of {build} has no number of instructions: {count!r}")


def written(baselines: Mapping[str, Baseline]) -> str:
    """The text of a file that holds them."""
    builds = {build: asdict(baselines[build]) for build in sorted(baselines)}
    return json.dumps(builds, indent=2) + "\n"
