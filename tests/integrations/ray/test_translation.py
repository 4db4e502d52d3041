"""What Ray raises, as this library's callers know it."""

from __future__ import annotations

import pytest

from realtime_stts.errors import (
    AudioFormatError,
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    OverloadedError,
)
from realtime_stts.integrations._ray._translation import Displaced, translated


def rays(name: str, *bases: type[BaseException], **fields: object) -> Exception:
    """An error of Ray's by that name, as far as its type goes."""
    error = type(name, bases or (Exception,), {})("the first line\nand the rest")
    vars(error).update(fields)
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    "name", ["ActorDiedError", "ActorUnavailableError", "NodeDiedError", "WorkerCrashedError"]
)
def test_a_replica_that_is_gone_displaces_the_call(name: str) -> None:
    error = rays(name)
    displaced = translated(error, "ears")
    assert isinstance(displaced, Displaced)
    assert isinstance(displaced.error, EngineCrashedError)
    assert str(displaced.error) == f"ears: its replica is gone: {name}: the first line"
    assert displaced.error.__cause__ is error


@pytest.mark.parametrize(
    "name", ["DeploymentUnavailableError", "ReplicaUnavailableError", "RayServeException"]
)
def test_no_replica_to_be_found_displaces_the_call(name: str) -> None:
    displaced = translated(rays(name), "ears")
    assert isinstance(displaced, Displaced)
    assert isinstance(displaced.error, EngineUnavailableError)


def test_what_derives_from_a_known_error_is_that_error() -> None:
    displaced = translated(rays("ActorOfTomorrowError", type(rays("RayActorError"))), "ears")
    assert isinstance(displaced, Displaced)
    assert isinstance(displaced.error, EngineCrashedError)


@pytest.mark.parametrize("name", ["BackPressureError", "PendingCallsLimitExceeded"])
def test_ray_that_takes_no_more_calls_is_overloaded(name: str) -> None:
    serves = type(rays("RayServeException"))
    assert isinstance(translated(rays(name, serves), "ears"), OverloadedError)


def test_what_a_replica_died_of_counts_and_not_that_it_came_through_a_task() -> None:
    displaced = translated(rays("RayTaskError", cause=rays("ActorDiedError")), "ears")
    assert isinstance(displaced, Displaced)
    assert isinstance(displaced.error, EngineCrashedError)


def test_a_failure_of_the_replicas_own_code_displaces_nothing() -> None:
    for error in (rays("RayTaskError"), rays("RayTaskError", cause=KeyError("x")), KeyError("x")):
        found = translated(error, "ears")
        assert type(found) is EngineError
        assert "its replica failed" in str(found)


def test_an_error_of_this_library_stays_what_it_is() -> None:
    error = AudioFormatError("no audio")
    assert translated(error, "ears") is error


def test_an_error_without_a_text_is_told_too() -> None:
    found = translated(KeyError(), "ears")
    assert str(found) == "ears: its replica failed: KeyError: nothing was said"
