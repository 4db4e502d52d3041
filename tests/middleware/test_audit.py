"""Audit: a record of each call, however it ends, in a log that shows what was done to it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import fields, replace
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts import EngineError, request_scope
from realtime_stts.errors import AuditError
from realtime_stts.instrumentation import Sensitivity
from realtime_stts.middleware import (
    AuditMiddleware,
    AuditRecord,
    CallNext,
    Chain,
    FileAuditLog,
    RedactionMiddleware,
    RequestContext,
)
from realtime_stts.middleware import _audit_log as module
from realtime_stts.testing import MiddlewareSuite, ScriptedTTSEngine

pytestmark = pytest.mark.anyio

RECORD = AuditRecord(
    at=1.5,
    duration=0.25,
    request_type="tts",
    engine="scripted",
    outcome="completed",
    error_type=None,
    request_id="r1",
    session_id=None,
    subject="ada",
)


class Records:
    """A log in memory; slow, or broken, if it is told to be."""

    def __init__(self, *, fails: Exception | None = None, takes: float = 0.0) -> None:
        self.kept: list[AuditRecord] = []
        self._fails, self._takes = fails, takes

    async def append(self, record: AuditRecord, /) -> None:
        await anyio.sleep(self._takes)
        if self._fails is not None:
            raise self._fails
        self.kept.append(record)


class TestPromises(MiddlewareSuite):
    def middleware(self) -> AuditMiddleware:
        return AuditMiddleware(Records())


async def as_ada(context: RequestContext, call_next: CallNext) -> AsyncGenerator[Any]:
    context.subject = "ada"
    async for result in call_next(context):
        yield result


def audited(log: Any, *failures: Exception, **options: Any) -> Any:
    tts = ScriptedTTSEngine(failures=failures)
    return Chain(AuditMiddleware(log, **options), as_ada).wrap(tts)


# -- the middleware ----------------------------------------------------------------------


async def test_a_record_says_who_what_when_and_how_it_ended() -> None:
    log = Records()
    with request_scope(id="r7", session_id="s7"):
        await audited(log).synthesize("hello", {"voice_id": "scripted"})
    [record] = log.kept
    assert record.at > 1e9
    assert replace(record, at=0.0, duration=0.0) == AuditRecord(
        at=0.0,
        duration=0.0,
        request_type="tts",
        engine="ScriptedTTSEngine",
        outcome="completed",
        error_type=None,
        request_id="r7",
        session_id="s7",
        subject="ada",
    )


async def test_a_failed_call_has_one_too_and_fails_as_it_would_have() -> None:
    log, error = Records(), EngineError("mouth", "cannot say hello")
    with pytest.raises(EngineError) as raised:
        await audited(log, error).synthesize("hello", {})
    assert raised.value is error
    assert [(each.outcome, each.error_type) for each in log.kept] == [("error", "EngineError")]
    assert "hello" not in repr(log.kept)


async def test_so_has_a_stream_that_is_closed_and_a_call_that_is_cancelled() -> None:
    log = Records(takes=1.0)
    tts = audited(log)
    async with aclosing(tts.stream("hello")) as chunks:
        await anext(chunks)
    with anyio.move_on_after(0.05) as scope:
        await tts.synthesize("hello", {})
    assert scope.cancelled_caught
    assert [each.outcome for each in log.kept] == ["cancelled"] * 2


async def test_a_call_without_a_record_has_no_result() -> None:
    audit = AuditMiddleware(Records(fails=OSError("the disk is full")))
    tts = Chain(audit).wrap(ScriptedTTSEngine())
    with pytest.raises(AuditError, match="could not be audited"):
        await tts.synthesize("hello", {})
    delivered = []

    async def listen() -> None:
        async for chunk in tts.stream("hello"):
            delivered.append(chunk)  # noqa: PERF401 - what came before the end counts

    with pytest.raises(OSError, match="could not be audited"):
        await listen()
    assert delivered
    assert (audit.statistics().written, audit.statistics().failed) == (0, 2)


async def test_unless_records_are_not_required(caplog: pytest.LogCaptureFixture) -> None:
    with request_scope(id="r1"):
        await audited(Records(fails=OSError("hello")), required=False).synthesize("hello", {})
    assert caplog.messages == ["[r1] the call could not be audited: OSError"]


async def test_a_log_that_hangs_holds_up_nobody_for_long() -> None:
    tts = audited(Records(takes=3600.0), patience=2.0)
    began = anyio.current_time()
    with pytest.raises(AuditError):
        await tts.synthesize("a", {})
    with anyio.move_on_after(0.05) as scope:
        await tts.synthesize("a", {})
    assert scope.cancelled_caught
    assert anyio.current_time() - began < 5.0


async def test_neither_error_nor_cancellation_is_replaced_by_the_logs() -> None:
    error = EngineError("mouth", "no")
    with pytest.raises(EngineError):
        await audited(Records(fails=OSError()), error).synthesize("hello", {})
    with anyio.move_on_after(0.05) as scope:
        await audited(Records(fails=OSError())).synthesize("hello", {})
    assert scope.cancelled_caught


async def test_the_subject_may_be_a_pseudonym() -> None:
    log, redaction = Records(), RedactionMiddleware()
    audit = AuditMiddleware(log, pseudonymous=True)
    await Chain(audit, redaction, as_ada).wrap(ScriptedTTSEngine()).synthesize("a", {})
    await Chain(audit, as_ada).wrap(ScriptedTTSEngine()).synthesize("a", {})
    await Chain(audit, redaction).wrap(ScriptedTTSEngine()).synthesize("a", {})
    assert [each.subject for each in log.kept] == [redaction.pseudonym("ada"), None, None]


def test_patience_is_a_time() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        AuditMiddleware(Records(), patience=0.0)


def test_each_fact_is_classified_and_only_the_subject_is_personal() -> None:
    classified = {each.name: each.metadata["sensitivity"] for each in fields(AuditRecord)}
    personal = [name for name, how in classified.items() if how is Sensitivity.PERSONAL]
    assert personal == ["subject"]


# -- the file ----------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def written(path: Path, n: int, **options: Any) -> str:
    """A log of ``n`` more records; the digest of the last."""
    with FileAuditLog(path, **options) as log:
        for number in range(n):
            await log.append(replace(RECORD, request_id=f"r{number}"))
        return log.head


async def test_a_file_has_a_line_of_json_for_each_record(path: Path) -> None:
    head = await written(path, 3, fsync=True)
    found = FileAuditLog.verify(path, head=head)
    assert (found.ok, found.records, found.torn, found.head) == (True, 3, 0, head)
    in_the_file(path)


def in_the_file(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["r0", "r1", "r2"]
    assert lines[0]["previous"] == "0" * 64
    assert lines[0]["subject"] == "ada"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_another_process_goes_on_where_the_last_one_ended(path: Path) -> None:
    await written(path, 2)
    head = await written(path, 2)
    found = FileAuditLog.verify(path, head=head)
    assert (found.ok, found.records) == (True, 4)


async def test_a_head_kept_earlier_is_still_found(path: Path) -> None:
    earlier = await written(path, 2)
    await written(path, 2)
    assert FileAuditLog.verify(path, head=earlier).ok
    assert FileAuditLog.verify(path, head="0" * 64).ok


def test_every_change_is_found(path: Path) -> None:
    head = [add(path) for _ in range(4)][-1]
    lines = path.read_bytes().splitlines(keepends=True)

    def problem(*changed: bytes) -> str | None:
        path.write_bytes(b"".join(changed))
        return FileAuditLog.verify(path, head=head).problem

    assert problem(*lines) is None
    assert problem(lines[0], lines[1].replace(b"ada", b"eve"), *lines[2:]) == (
        "record 3 does not follow the one before it"
    )
    assert problem(lines[0], *lines[2:]) == "record 2 does not follow the one before it"
    assert problem(*lines[1:]) == "record 1 does not follow the one before it"
    assert problem(lines[0], lines[2], lines[1], lines[3]) is not None
    assert problem(lines[0], lines[0], *lines[1:]) is not None
    assert problem(lines[0], b"{}\n", *lines[1:]) is not None
    assert problem(lines[0], b"what\n", *lines[1:]) is not None
    assert problem(*lines[:3]) == "the record that was the last one is not there any more"
    assert problem(*lines[:3], lines[3].replace(b"ada", b"eve")) is not None


def add(path: Path) -> str:
    with FileAuditLog(path) as log:
        log._append(RECORD)
        return log.head


@given(n_before=st.integers(0, 3), left=st.lists(st.integers(1, 200), min_size=1, max_size=3))
def test_a_line_cut_off_by_a_crash_stays_and_the_log_goes_on(
    n_before: int, left: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    head = "0" * 64
    for _ in range(n_before):
        head = add(path)
    for n_bytes in left:
        before = path.read_bytes() if path.exists() else b""
        if not before.endswith(b"\n"):
            before += b"\n" * bool(before)  # what the next one does before it is cut off
        add(path)
        path.write_bytes(path.read_bytes()[: len(before) + n_bytes])
        assert FileAuditLog.verify(path, head=head) == (
            replace(FileAuditLog.verify(path), records=n_before)
        )
    head = add(path)
    found = FileAuditLog.verify(path, head=head)
    assert (found.ok, found.records, found.torn) == (True, n_before + 1, len(left))


def test_a_record_that_lacks_its_line_break_only_is_one(path: Path) -> None:
    add(path)
    path.write_bytes(path.read_bytes()[:-1])
    head = add(path)
    found = FileAuditLog.verify(path, head=head)
    assert (found.ok, found.records, found.torn) == (True, 2, 0)


def test_a_long_log_is_not_read_to_go_on_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TAIL", 1000)
    head = [add(path) for _ in range(20)][-1]
    add(path)
    assert path.read_bytes().splitlines()[-1].startswith(b'{"previous":"' + head.encode())
    with path.open("ab") as file:
        file.write(b"x" * 5000)  # longer than what is looked at: then all is
    head = add(path)
    found = FileAuditLog.verify(path, head=head)
    assert (found.ok, found.records, found.torn) == (True, 22, 1)


async def test_two_that_write_one_file_are_found_out(path: Path) -> None:
    with FileAuditLog(path) as one, FileAuditLog(path) as other:
        await one.append(RECORD)
        await other.append(RECORD)
        with pytest.raises(AuditError, match="somebody else writes"):
            await one.append(RECORD)
        await one.append(RECORD)  # it has looked anew
        assert FileAuditLog.verify(path, head=one.head).records == 3


async def test_a_record_for_which_there_is_no_room_is_torn_and_told(path: Path) -> None:
    class Full:
        """A disk with room for ten bytes."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            return int(self._file.write(data[:10]))

    with FileAuditLog(path) as log:
        await log.append(RECORD)
        log._file = Full(log._file)  # type: ignore[assignment]
        with pytest.raises(AuditError, match="no room"):
            await log.append(RECORD)
        await log.append(RECORD)
    found = FileAuditLog.verify(path, head=log.head)
    assert (found.ok, found.records, found.torn) == (True, 2, 1)


async def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await FileAuditLog(tmp_path / "no" / "audit.jsonl").append(RECORD)


async def test_a_disk_that_hangs_is_waited_for_by_one_and_told_to_the_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    log, wakes = FileAuditLog(path), Event()
    log._lock.acquire()  # as a thread does that hangs

    def wake() -> None:
        wakes.wait(10)
        log._lock.release()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, wake)
        with pytest.raises(AuditError, match="does not answer"):
            await log.append(RECORD)
        wakes.set()
    await log.append(RECORD)
    log.close()
    assert FileAuditLog.verify(path).records == 1


async def test_calls_are_written_to_a_file_in_the_end(path: Path) -> None:
    with FileAuditLog(path) as log:
        tts = audited(log)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(tts.synthesize, "a", {})
    assert FileAuditLog.verify(path, head=log.head).records == 20
