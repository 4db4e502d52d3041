"""What the routers share: engines that are loaded, fail, and are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

import anyio
import httpx
from fastapi_server.services import Services

from realtime_stts.errors import EngineLoadError, OverloadedError
from realtime_stts.middleware import FileAuditLog
from realtime_stts.testing import ScriptedSTTEngine, ScriptedTTSEngine
from tests.examples.apps import running, scripted_app, settings_in, soon

pytestmark = pytest.mark.anyio


class Unloadable(ScriptedTTSEngine):
    """An engine that loads only once it is allowed to."""

    may_load = False

    async def load(self) -> None:
        if not self.may_load:
            raise EngineLoadError("unloadable", "the file /secret/model is broken")
        await super().load()


def services(folder: Path, settings: Any = None, **given: Any) -> Services:
    engines = {"stt": ScriptedSTTEngine(["hello"]), "tts": ScriptedTTSEngine()}
    return Services(settings_in(folder, settings), **{**engines, **given})


async def until(services: Services, state: str) -> None:
    with anyio.fail_after(60):
        while services.state != state:  # noqa: ASYNC110
            await anyio.sleep(0.01)


class TestLoading:
    async def test_engines_are_warm_when_it_is_ready_and_unloaded_at_the_end(
        self, tmp_path: Path
    ) -> None:
        tts = ScriptedTTSEngine(load_time=1.0)
        these = services(tmp_path, tts=tts)
        assert these.state == "starting"
        async with these.running():
            assert not tts.model_loaded
            await until(these, "ready")
            assert tts.model_loaded
        assert these.state == "draining"
        assert not tts.model_loaded

    async def test_an_engine_that_cannot_be_loaded_does_not_stop_the_server(
        self, tmp_path: Path
    ) -> None:
        tts = Unloadable()
        these = services(tmp_path, tts=tts)
        async with these.running():
            await until(these, "failed")
            assert these.problem == "EngineLoadError"
            tts.may_load = True
            await these.reload()
            assert (these.state, these.problem) == ("ready", None)

    async def test_a_reload_goes_on_in_the_same_audit(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.jsonl"
        these = services(tmp_path, {"middleware.audit": {"enabled": True, "path": str(path)}})
        async with these.running():
            await until(these, "ready")
            await these.tts.synthesize("one", {})
            await these.reload()
            await these.tts.synthesize("two", {})
        calls = [line for line in path.read_text().splitlines() if '"tts"' in line]
        assert len(calls) == 2
        assert FileAuditLog.verify(path).ok

    async def test_a_reload_that_fails_says_so(self, tmp_path: Path) -> None:
        these = services(tmp_path, tts=Unloadable())
        async with these.running():
            await until(these, "failed")
            with pytest.raises(EngineLoadError):
                await these.reload()

    async def test_an_engine_that_fails_at_its_end_takes_nothing_along(
        self, tmp_path: Path
    ) -> None:
        class Sticky(ScriptedTTSEngine):
            async def unload(self) -> None:
                raise RuntimeError("it does not want to go")

        async with services(tmp_path, tts=Sticky()).running() as _:
            await anyio.sleep(1)

    async def test_it_may_end_while_an_engine_loads(self, tmp_path: Path) -> None:
        these = services(tmp_path, tts=ScriptedTTSEngine(load_time=3600.0))
        with anyio.fail_after(60):
            async with these.running():
                await anyio.sleep(1)


class TestReload:
    async def test_the_engines_are_made_anew_of_the_settings_in_force(self, tmp_path: Path) -> None:
        these = services(tmp_path)
        async with these.running():
            await until(these, "ready")
            before = these.parts
            these.store.update({"middleware": {"rate_limit": {"enabled": True}}})
            await these.reload()
            assert these.parts is not before
            assert "rate_limit" in these.parts.assembly.chain("tts").names
            assert these.stt.model_loaded

    async def test_settings_that_cannot_be_made_leave_all_as_it_was(self, tmp_path: Path) -> None:
        these = services(tmp_path)
        async with these.running():
            await until(these, "ready")
            before = these.parts
            these._given.pop("tts")  # so that the settings' is made
            these.store.update({"tts_engine": {"engine": "nobody-has-this"}})
            with pytest.raises(Exception, match="nobody-has-this"):
                await these.reload()
            assert these.parts is before
            assert these.state == "ready"

    async def test_whoever_asked_may_leave_meanwhile(self, tmp_path: Path) -> None:
        these = services(tmp_path, tts=ScriptedTTSEngine(load_time=5.0))
        async with these.running():
            await until(these, "ready")
            with anyio.move_on_after(1.0):
                await these.reload()
            await until(these, "ready")
            assert these.tts.model_loaded

    async def test_a_server_that_stops_reloads_nothing(self, tmp_path: Path) -> None:
        these = services(tmp_path)
        async with these.running():
            await until(these, "ready")
            await these.drain()
            with pytest.raises(OverloadedError):
                await these.reload()


class TestWhatIsKept:
    def test_analytics_are_in_memory_unless_there_is_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "calls.sqlite"
        assert type(services(tmp_path).analytics).__name__ == "InMemoryAnalyticsStore"
        with_file = services(tmp_path, {"analytics": {"path": str(file)}})
        assert type(with_file.analytics).__name__ == "SQLiteAnalyticsStore"

    def test_calls_through_the_server_are_counted(self, tmp_path: Path) -> None:
        app = scripted_app(tmp_path)
        with running(app) as url:
            answer = httpx.post(f"{url}/tts", json={"text": "Good day."})
            assert answer.status_code == 200, answer.text
            assert app.state.services.in_flight.calls == 0
            soon(lambda: app.state.services.connections.requests == 0)
