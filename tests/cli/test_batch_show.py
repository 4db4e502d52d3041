"""What a batch shows while it runs, and at its end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from rich.console import Console

from realtime_stts.cli import _batch_show
from realtime_stts.cli._batch_plan import Job, Source, Wanted
from realtime_stts.cli._batch_run import Outcome
from realtime_stts.cli._batch_show import Summary, Watch, clock

WANTED = Wanted("scripted", "en", ("txt",))


def job(name: str) -> Job:
    return Job(Source(Path("/sound", name), name, 10, 1), name.partition(".")[0], ("txt",))


def done(name: str, duration: float = 60.0) -> Outcome:
    return Outcome(job(name), (f"{job(name).stem}.txt",), duration, 2.0, None)


def failed(name: str) -> Outcome:
    return Outcome(job(name), (), None, 0.1, "the file is empty", "AudioFormatError")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (7.0, "0:07"), (59.6, "1:00"), (3723.0, "1:02:03")]
)
def test_times_are_shown_as_clocks_do(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


class TestTheSummary:
    def test_of_a_run_in_which_all_went_well(self) -> None:
        summary = Summary("texts", WANTED, 2, 0, [done("a.wav"), done("b.wav")], elapsed=10.0)
        assert summary.lines() == [
            "texts: 2 transcribed",
            "2:00 of sound in 0:10, 12.0 times real time",
        ]

    def test_of_one_with_everything(self) -> None:
        outcomes = [done("a.wav"), failed("b.wav")]
        summary = Summary("texts", WANTED, 2, 3, outcomes, left=4, loading=1.5, elapsed=10.0)
        assert summary.lines() == [
            "texts: 1 transcribed, 3 done before, 1 failed, 4 left",
            "1:00 of sound in 0:10, 6.0 times real time",
            "failed, and tried again by the next run:",
            "  b.wav: the file is empty",
        ]
        assert json.loads(json.dumps(summary.fields())) == {
            "output": "texts",
            "engine": "scripted",
            "language": "en",
            "workers": 2,
            "done": [{"file": "a.wav", "outputs": ["a.txt"], "duration": 60.0, "elapsed": 2.0}],
            "skipped": 3,
            "failed": [{"file": "b.wav", "error": "the file is empty", "kind": "AudioFormatError"}],
            "left": 4,
            "duration": 60.0,
            "loading": 1.5,
            "elapsed": 10.0,
            "rtfx": 6.0,
        }

    def test_of_one_with_nothing_to_do(self) -> None:
        summary = Summary("texts", WANTED, 1, 3)
        assert summary.lines() == ["texts: 0 transcribed, 3 done before"]
        assert summary.fields()["rtfx"] is None


class TestTheWatch:
    @staticmethod
    def seen(
        monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool = False
    ) -> tuple[str, Summary]:
        """What is shown of a run of three files: one goes well, one fails, one is not come to."""
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=120, highlight=False)
        monkeypatch.setattr(_batch_show, "err", console)
        summary = Summary("texts", WANTED, 1, 0)
        jobs = [job("a.wav"), job("[b].wav"), job("c.wav")]
        lengths = {jobs[0].source: 100.0, jobs[1].source: None}
        with Watch(summary, jobs, lengths, quiet=quiet) as watch:
            watch.loaded()
            watch.heard(jobs[0], 30.0)
            watch.ended(done("a.wav", 60.0))
            watch.ended(failed("[b].wav"))
        return screen.getvalue(), summary

    def test_on_a_terminal_it_is_a_bar_and_what_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, _ = self.seen(monkeypatch, terminal=True)
        assert "transcribing" in seen
        assert "1:00 of 1:00 · 2 of 3 files · 1 failed" in seen
        assert "failed: [b].wav: the file is empty" in seen
        assert "a.wav: 1:00 of sound" not in seen

    def test_elsewhere_it_is_a_line_for_each_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.seen(monkeypatch, terminal=False)[0] == (
            "a.wav: 1:00 of sound in 2.0 s\nfailed: [b].wav: the file is empty\n"
        )

    @pytest.mark.parametrize("terminal", [False, True])
    def test_quiet_it_is_nothing(self, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.seen(monkeypatch, terminal=terminal, quiet=True)[0] == ""

    def test_it_counts_for_the_summary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, summary = self.seen(monkeypatch, terminal=False)
        assert (len(summary.done), len(summary.failed), summary.left) == (1, 1, 1)
        assert summary.elapsed > 0.0
        assert summary.loading > 0.0

    def test_a_run_that_never_loaded_took_no_time(self) -> None:
        summary = Summary("texts", WANTED, 1, 0)
        with Watch(summary, [job("a.wav")], {}, quiet=True):
            pass
        assert (summary.loading, summary.elapsed, summary.left) == (0.0, 0.0, 1)
