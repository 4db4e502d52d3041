"""What a batch shows while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from typing_extensions import Self

from ._batch_plan import Job, Source, Wanted
from ._batch_run import Outcome
from ._console import err

__all__ = ["Summary", "Watch", "clock"]


def clock(seconds: float) -> str:
    """Such as ``1:02:03``, or ``0:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(slots=True)
class Summary:
    """What became of a run so far."""

    output: str
    wanted: Wanted
    workers: int
    skipped: int
    outcomes: list[Outcome] = field(default_factory=list)
    left: int = 0  # files that were not come to
    loading: float = 0.0  # s
    elapsed: float = 0.0  # s, after that

    @property
    def done(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.error is None]

    @property
    def failed(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.error is not None]

    @property
    def duration(self) -> float:
        """Seconds of sound that became text."""
        return sum(each.duration or 0.0 for each in self.done)

    @property
    def speed(self) -> float | None:
        """Seconds of sound in each second, all workers together; None if there was none."""
        return self.duration / self.elapsed if self.done and self.elapsed else None

    def lines(self) -> list[str]:
        """For people."""
        counts = [
            f"{len(self.done)} transcribed",
            f"{self.skipped} done before" if self.skipped else "",
            f"{len(self.failed)} failed" if self.failed else "",
            f"{self.left} left" if self.left else "",
        ]
        lines = [f"{self.output}: {', '.join(filter(None, counts))}"]
        if self.speed is not None:
            lines.append(
                f"{clock(self.duration)} of sound in {clock(self.elapsed)}, "
                f"{self.speed:.1f} times real time"
            )
        if self.failed:
            lines.append("failed, and tried again by the next run:")
            lines += [f"  {each.job.source.name}: {each.error}" for each in self.failed]
        return lines

    def fields(self) -> dict[str, Any]:
        """For machines."""
        return {
            "output": self.output,
            "engine": self.wanted.engine,
            "language": self.wanted.language,
            "workers": self.workers,
            "done": [
                {
                    "file": each.job.source.name,
                    "outputs": each.outputs,
                    "duration": each.duration,
                    "elapsed": each.elapsed,
                }
                for each in self.done
            ],
            "skipped": self.skipped,
            "failed": [
                {"file": each.job.source.name, "error": each.error, "kind": each.kind}
                for each in self.failed
            ],
            "left": self.left,
            "duration": self.duration,
            "loading": self.loading,
            "elapsed": self.elapsed,
            "rtfx": self.speed,
        }


class Watch:
    """A progress bar in seconds of sound on a terminal, a line for each file elsewhere.

    Args:
        lengths: Seconds of sound in each file, as far as they are known.
        quiet: Show nothing.
    """

    def __init__(
        self,
        summary: Summary,
        jobs: Sequence[Job],
        lengths: Mapping[Source, float | None],
        *,
        quiet: bool,
    ) -> None:
        self._summary = summary
        self._n_files = len(jobs)
        self._lengths = {job.source: lengths.get(job.source) or 0.0 for job in jobs}
        self._heard = dict.fromkeys(self._lengths, 0.0)
        self._total = sum(self._lengths.values())
        self._lines = not quiet and not err.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        hidden = quiet or not err.is_terminal
        self._progress = Progress(*columns, console=err, transient=True, disable=hidden)
        self._task: TaskID = self._progress.add_task("loading", total=None, told="")
        self._began = self._loading = perf_counter()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
        self._summary.left = self._n_files - len(self._summary.outcomes)
        if self._summary.loading:
            self._summary.elapsed = perf_counter() - self._began

    def loaded(self) -> None:
        """The engines are there: time counts from now."""
        self._began = perf_counter()
        self._summary.loading = self._began - self._loading
        self._show()

    def heard(self, job: Job, seconds: float) -> None:
        self._heard[job.source] += seconds
        self._show()

    def ended(self, outcome: Outcome) -> None:
        self._summary.outcomes.append(outcome)
        source = outcome.job.source
        if outcome.duration is not None:
            self._heard[source] = outcome.duration
        self._total += self._heard[source] - self._lengths[source]  # the header's word was one
        self._lengths[source] = self._heard[source]
        self._show()
        name, duration = source.name, outcome.duration or 0.0
        if outcome.error is not None:
            self._print(f"failed: {name}: {outcome.error}", style="red")
        elif self._lines:
            self._print(f"{name}: {clock(duration)} of sound in {outcome.elapsed:.1f} s")

    def _print(self, line: str, style: str | None = None) -> None:
        if self._lines or not self._progress.disable:
            self._progress.console.print(line, style=style, markup=False, soft_wrap=True)

    def _show(self) -> None:
        heard = sum(self._heard.values())
        took = perf_counter() - self._began
        n_failed = len(self._summary.failed)
        told = (
            f"{clock(heard)} of {clock(max(self._total, heard))}",
            f"{len(self._summary.outcomes)} of {self._n_files} files",
            f"{n_failed} failed" if n_failed else "",
            f"{heard / took:.1f}x" if heard and took else "",
        )
        self._progress.update(
            self._task,
            description="transcribing",
            completed=heard,
            total=max(self._total, heard) or None,
            told=" · ".join(filter(None, told)),
        )
