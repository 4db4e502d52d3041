"""The store: layers, changes, and a file that survives everything."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realtime_stts.errors import SettingsError
from realtime_stts.settings import Explanation, Settings, SettingsStore, SettingsUpdate
from realtime_stts.settings import _yaml as yaml_module
from realtime_stts.settings._environment import variable
from realtime_stts.settings._plain import plain
from realtime_stts.settings._section import MASK
from realtime_stts.settings._validation import LEAVES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("# mine\nserver: {port: 1}\nui: {title: File}\nstt_engine: {device: auto}\n")
    return path


class TestLayers:
    def test_without_anything_all_is_default(self, tmp_path: Path) -> None:
        for store in (SettingsStore(environ={}), SettingsStore(tmp_path / "no.yaml", environ={})):
            assert store.current == Settings()
            assert store.warnings == {}
            assert store.explain("server.port") == Explanation("server.port", 8000, "default")
        assert not (tmp_path / "no.yaml").exists()

    def test_the_strongest_that_has_a_value_counts(self, path: Path) -> None:
        path.with_name("config.live.yaml").write_text("server: {port: 2}\n")
        environ = {variable("server.port"): "3"}
        store = SettingsStore(path, profile="live", environ=environ)
        store.update({"server.port": 4})
        told = []
        for _ in range(4):
            told.append(store.explain("server.port"))
            if told[-1].layer == "runtime":
                store = SettingsStore(path, profile="live", environ=environ)
            elif told[-1].layer == "environment":
                store = SettingsStore(path, profile="live", environ={})
            else:
                store = SettingsStore(path, environ={})
        port, live = "server.port", str(path.with_name("config.live.yaml"))
        assert told == [
            Explanation(port, 4, "runtime", None, ("environment", "profile", "file")),
            Explanation(port, 3, "environment", variable(port), ("profile", "file")),
            Explanation(port, 2, "profile", live, ("file",)),
            Explanation(port, 1, "file", str(path)),
        ]

    def test_the_environment_is_the_process_s(
        self, monkeypatch: pytest.MonkeyPatch, path: Path
    ) -> None:
        monkeypatch.setenv("REALTIME_STTS_SERVER__PORT", "7")
        assert SettingsStore(path).current.server.port == 7

    def test_the_environment_may_name_the_profile(self, path: Path) -> None:
        path.with_name("config.live.yaml").write_text("server: {port: 2}\n")
        environ = {"REALTIME_STTS_PROFILE": "live"}
        assert SettingsStore(path, environ=environ).current.server.port == 2
        assert SettingsStore(environ=environ).profile is None  # there is no file to have one
        assert SettingsStore(path, environ={"REALTIME_STTS_PROFILE": ""}).profile is None

    def test_a_profile_must_be_there_and_be_a_word(self, path: Path) -> None:
        with pytest.raises(SettingsError, match=r"profile test: there is no file .*config\.test"):
            SettingsStore(path, profile="test", environ={})
        with pytest.raises(SettingsError, match="profile: is a word"):
            SettingsStore(path, profile="../etc", environ={})

    def test_errors_name_the_layer(self, path: Path) -> None:
        path.write_text("server: {port: abc}\n")
        with pytest.raises(SettingsError) as caught:
            SettingsStore(path, environ={variable("ui_state.theme"): "pink"})
        assert caught.value.problems["server.port"].endswith(f"(from {path})")
        assert caught.value.problems["ui_state.theme"].endswith(
            f"(from {variable('ui_state.theme')})"
        )
        assert path.read_text() == "server: {port: abc}\n"

    def test_an_error_of_a_section_or_within_an_option_has_its_layer_too(self, path: Path) -> None:
        path.write_text("server: {use_auth: true, auth_tokens: {a: {token: short}}}\n")
        with pytest.raises(SettingsError) as caught:
            SettingsStore(path, environ={})
        (message,) = caught.value.problems.values()
        assert message.endswith(f"(from {path})")
        path.write_text("server: {use_auth: true}\n")
        with pytest.raises(SettingsError, match=r"nobody could come in$"):
            SettingsStore(path, environ={})

    def test_a_variable_that_is_no_json_is_an_error(self) -> None:
        with pytest.raises(SettingsError, match="AUTH_TOKENS is no JSON"):
            SettingsStore(environ={variable("server.auth_tokens"): "{"})

    def test_warnings_of_names_and_values_are_kept(self, path: Path) -> None:
        path.write_text("gen: {default_seed: 3}\n")
        store = SettingsStore(path, environ={"REALTIME_STTS_UI__TITEL": "x"})
        assert {*store.warnings} == {"gen.default_seed", "REALTIME_STTS_UI__TITEL"}

    def test_explain_knows_only_options(self) -> None:
        store = SettingsStore(environ={})
        with pytest.raises(SettingsError, match=r"is server\.port meant"):
            store.explain("server.prot")
        with pytest.raises(SettingsError, match=r"there is no such setting$"):
            store.explain("colour")

    def test_secrets_are_shown_nowhere(self) -> None:
        store = SettingsStore(environ={variable("server.auth_password"): "hunter2 hunter2"})
        shown = [store.current, store.current.masked(), store.explain("server.auth_password")]
        assert "hunter2" not in repr(shown)
        assert store.current.masked()["server"]["auth_password"] == MASK


class TestUpdate:
    def test_takes_a_tree_or_paths_and_says_what_changed(self) -> None:
        store = SettingsStore(environ={})
        update = store.update({"server.port": "8004", "ui_state": {"theme": "light"}})
        assert update == SettingsUpdate(
            ("server.port", "ui_state.theme"), ("server.port",), ("ui_state.theme",)
        )
        assert update.restart_required
        assert (store.current.server.port, store.current.ui_state.theme) == (8004, "light")

    def test_what_is_the_same_is_no_change(self) -> None:
        store = SettingsStore(environ={})
        update = store.update({"server.port": 8000})
        assert update == SettingsUpdate((), (), ())
        assert not update.restart_required

    def test_is_checked_before_anything_changes(self) -> None:
        store = SettingsStore(environ={})
        before = store.current
        with pytest.raises(SettingsError, match=r"server.port: .*\(from a change at run time\)"):
            store.update({"ui_state.theme": "light", "server.port": 0})
        assert store.current is before

    def test_warns(self) -> None:
        update = SettingsStore(environ={}).update({"gen.default_seed": 1, "server.port": 80})
        assert {*update.warnings} == {"gen.default_seed", "server.port"}

    def test_a_mask_leaves_a_secret_as_it_is(self) -> None:
        store = SettingsStore(environ={variable("server.auth_password"): "hunter2 hunter2"})
        shown = store.current.masked()
        shown["ui"]["title"] = "mine"
        assert store.update(shown).updated_keys == ("ui.title",)
        password = store.current.server.auth_password
        assert password is not None
        assert password.get_secret_value() == "hunter2 hunter2"

    def test_a_value_given_out_never_changes(self) -> None:
        store = SettingsStore(environ={})
        before = store.current
        store.update({"server.port": 1024})
        assert before.server.port == 8000


class TestCallbacks:
    def test_are_told_after_the_change(self) -> None:
        store = SettingsStore(environ={})
        told: list[tuple[int, int, int, tuple[str, ...]]] = []
        end = store.on_change(
            lambda old, new, keys: told.append(
                (old.server.port, new.server.port, store.current.server.port, keys)
            )
        )
        store.update({"server.port": 8001})
        store.update({"server.port": 8001})  # nothing changes
        end()
        end()
        store.update({"server.port": 8002})
        assert told == [(8000, 8001, 8001, ("server.port",))]

    def test_one_that_fails_hinders_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        store = SettingsStore(environ={})
        told: list[Any] = []

        def fail(old: Settings, new: Settings, keys: tuple[str, ...]) -> None:
            raise RuntimeError("a bug")

        store.on_change(fail)
        store.on_change(lambda old, new, keys: told.append(keys))
        with caplog.at_level(logging.ERROR):
            store.update({"server.port": 8001})
        assert told == [("server.port",)]
        assert [record.getMessage() for record in caplog.records] == [
            "a listener to changes of the settings failed"
        ]

    def test_may_change_settings_itself(self) -> None:
        store = SettingsStore(environ={})

        def follow(old: Settings, new: Settings, keys: tuple[str, ...]) -> None:
            store.update({"ui.title": f"on {new.server.port}"})

        store.on_change(follow)
        store.update({"server.port": 8001})
        assert store.current.ui.title == "on 8001"


class TestSave:
    def test_keeps_what_is_in_the_file_and_writes_no_defaults(self, path: Path) -> None:
        store = SettingsStore(path, environ={variable("server.host"): "::1"})
        store.update({"ui.title": "Mine", "tts_engine.default_voice_id": "ann"})
        assert store.save() == ()
        assert yaml.safe_load(path.read_text()) == {
            "server": {"port": 1},
            "stt_engine": {"device": "auto"},
            "tts_engine": {"default_voice_id": "ann"},
            "ui": {"title": "Mine"},
        }
        assert path.with_name("config.yaml.bak").read_text().startswith("# mine")
        assert store.explain("ui.title").layer == "file"
        assert SettingsStore(path, environ={variable("server.host"): "::1"}).current == (
            store.current
        )

    def test_every_kind_of_value_comes_back(self, tmp_path: Path) -> None:
        changes = {
            "server.auth_password": "hunter2 hunter2",
            "server.auth_tokens": {"a": {"token": "t" * 16, "permissions": ["stt"]}},
            "server.cors_origins": ["https://a.example"],
            "conversation.policy.backchannels": ["mm", "ja"],
            "conversation.policy.idle_after": None,
            "paths.model_cache": Path("models"),
            "stt_engine.options": {"replicas": 1, "phrases": ["a b"]},
            "stt_engine.language": "no",
        }
        store = SettingsStore(tmp_path / "f.yaml", environ={})
        store.update(changes)
        store.save()
        assert SettingsStore(tmp_path / "f.yaml", environ={}).current == store.current

    def test_others_changes_in_the_file_stay(self, path: Path) -> None:
        store = SettingsStore(path, environ={})
        path.write_text("server: {port: 2}\n")
        store.update({"ui.title": "Mine"})
        store.save()
        assert yaml.safe_load(path.read_text()) == {"server": {"port": 2}, "ui": {"title": "Mine"}}
        assert store.current.server.port == 2

    @pytest.mark.parametrize("broken", ["server: {port: 2\n", "server: {port: abc}\n"])
    def test_a_broken_file_is_never_overwritten(self, path: Path, broken: str) -> None:
        store = SettingsStore(path, environ={})
        store.update({"ui.title": "Mine"})
        path.write_text(broken)
        for act in (store.save, store.reload, lambda: SettingsStore(path, environ={})):
            with pytest.raises(SettingsError):
                act()
            assert path.read_text() == broken
        assert not path.with_name("config.yaml.bak").exists()
        assert store.current.ui.title == "Mine"
        path.write_text("ui: {title: x}\n")
        store.save()
        assert SettingsStore(path, environ={}).current.ui.title == "Mine"

    def test_what_the_environment_hides_is_named_and_stays_in_force(self, path: Path) -> None:
        environ = {variable("ui.title"): "Environment"}
        store = SettingsStore(path, environ=environ)
        store.update({"ui.title": "Mine", "server.port": 5})
        assert store.save() == ("ui.title",)
        assert store.current.ui.title == "Mine"
        assert SettingsStore(path, environ=environ).current.ui.title == "Environment"
        assert SettingsStore(path, environ={}).current.ui.title == "Mine"

    def test_under_a_profile_its_file_is_written(self, path: Path) -> None:
        before = path.read_text()
        live = path.with_name("config.live.yaml")
        live.write_text("server: {port: 2}\n")
        store = SettingsStore(path, profile="live", environ={})
        store.update({"ui.title": "Live"})
        store.save()
        assert store.saves_to == live
        assert yaml.safe_load(live.read_text()) == {"server": {"port": 2}, "ui": {"title": "Live"}}
        assert path.read_text() == before
        assert store.explain("ui.title").layer == "profile"

    def test_needs_a_file(self) -> None:
        with pytest.raises(ValueError, match="no file"):
            SettingsStore(environ={}).save()

    def test_a_disk_that_fails_changes_nothing(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = SettingsStore(path, environ={})
        store.update({"ui.title": "Mine"})
        before = path.read_text()

        def full(path: Path, text: str) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(yaml_module, "write", full)
        with pytest.raises(OSError, match="no space"):
            store.save()
        assert path.read_text() == before
        assert store.explain("ui.title").layer == "runtime"
        monkeypatch.undo()
        store.save()
        assert SettingsStore(path, environ={}).current.ui.title == "Mine"


class TestResetAndReload:
    def test_reset_goes_back_to_the_defaults_and_save_makes_it_last(self, path: Path) -> None:
        store = SettingsStore(path, environ={variable("ui.title"): "Environment"})
        before = path.read_text()
        store.update({"server.host": "::1"})
        assert store.reset().updated_keys == ("server.host", "server.port")
        assert path.read_text() == before
        store.update({"server.port": 9})
        store.save()
        assert yaml.safe_load(path.read_text()) == {"server": {"port": 9}}
        assert path.with_name("config.yaml.bak").read_text() == before

    def test_reload_takes_back_a_reset(self, path: Path) -> None:
        store = SettingsStore(path, environ={})
        store.reset()
        store.reload()
        store.save()
        assert yaml.safe_load(path.read_text())["server"] == {"port": 1}

    def test_reload_is_right_the_first_time_and_keeps_changes(self, path: Path) -> None:
        environ: dict[str, str] = {}
        store = SettingsStore(path, environ=environ)
        store.update({"ui.title": "Mine"})
        path.write_text("server: {port: 2}\nui: {title: Other}\n")
        environ[variable("server.host")] = "::1"
        assert store.reload().updated_keys == ("server.host", "server.port")
        assert (store.current.server.port, store.current.ui.title) == (2, "Mine")

    def test_what_cannot_be_used_changes_nothing(self, path: Path) -> None:
        store = SettingsStore(path, environ={})
        before = store.current
        path.write_text("server: {port: [1\n")
        with pytest.raises(SettingsError, match="line 2, column 1"):
            store.reload()
        assert store.current is before


def test_threads_lose_no_change() -> None:
    store = SettingsStore(environ={})
    paths = ["server.port", "ui_state.last_seed", "limits.max_sessions", "ui_state.last_chunk_size"]
    keys: list[tuple[str, ...]] = []
    store.on_change(lambda old, new, changed: keys.append(changed))

    def change(path: str) -> None:
        for n in range(1, 21):
            store.update({path: n})

    threads = [threading.Thread(target=change, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.explain(path).value for path in paths] == [20] * 4
    assert sorted(keys) == sorted((path,) for path in paths for _ in range(20))


# -- any order of anything ----------------------------------------------------------------

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "server.port": st.integers(1024, 2000),
    "ui.title": st.text("ab:#'\"{", max_size=5),
    "conversation.policy.idle_after": st.none() | st.integers(0, 9).map(float),
    "server.cors_origins": st.lists(st.sampled_from(["https://a", "https://b"]), max_size=2),
    "debug.save_intermediate_audio": st.booleans(),
    "server.auth_tokens": st.dictionaries(
        st.sampled_from("ab"), st.just({"token": "t" * 16, "permissions": ["stt"]}), max_size=1
    ),
}
CHANGES = st.sampled_from([*VALUES]).flatmap(lambda path: st.tuples(st.just(path), VALUES[path]))


class AnyOrder(RuleBasedStateMachine):
    """A store and four dictionaries agree, whatever is done to them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "c.yaml"
        self.environ: dict[str, str] = {}
        self.disk: dict[str, dict[str, Any]] = {"file": {}, "profile": {}}
        self.layers: dict[str, dict[str, Any]] = {
            layer: {} for layer in ("file", "profile", "environment", "runtime")
        }
        self.rewrite = False

    @initialize(profile=st.sampled_from(["p", None]))
    def start(self, profile: str | None) -> None:
        self.paths = {"file": self.path, "profile": self.path.with_name("c.p.yaml")}
        self.paths["profile"].write_text("")
        self.target = "file" if profile is None else "profile"
        if profile is None:
            del self.paths["profile"], self.layers["profile"], self.disk["profile"]
        self.profile = profile
        self.store = SettingsStore(self.path, profile=profile, environ=self.environ)

    def _write(self, layer: str) -> None:
        data: dict[str, Any] = {}
        for path, value in self.disk[layer].items():
            section, _, key = path.partition(".")
            inner = data.setdefault(section, {})
            for name in key.split(".")[:-1]:
                inner = inner.setdefault(name, {})
            inner[key.split(".")[-1]] = value
        self.paths[layer].write_text(yaml.safe_dump(data))

    def _reload(self) -> None:
        self.store.reload()
        self.rewrite = False
        for layer, values in self.disk.items():
            self.layers[layer] = dict(values)

    @rule(change=CHANGES, data=st.data())
    def edit_a_file(self, change: tuple[str, Any], data: st.DataObject) -> None:
        layer = data.draw(st.sampled_from([*self.paths]))
        self.disk[layer][change[0]] = change[1]
        self._write(layer)
        if data.draw(st.booleans()):
            self._reload()

    @rule(path=st.sampled_from([*VALUES]), data=st.data())
    def forget_in_a_file(self, path: str, data: st.DataObject) -> None:
        layer = data.draw(st.sampled_from([*self.paths]))
        self.disk[layer].pop(path, None)
        self._write(layer)
        self._reload()

    @rule(change=CHANGES)
    def set_a_variable(self, change: tuple[str, Any]) -> None:
        path, value = change
        text = "null" if value is None else str(value)
        if isinstance(value, list):
            text = ",".join(value)
        elif isinstance(value, dict):
            text = json.dumps(value)
        self.environ[variable(path)] = text
        self.layers["environment"][path] = value
        self._reload()

    @rule(path=st.sampled_from([*VALUES]))
    def unset_a_variable(self, path: str) -> None:
        self.environ.pop(variable(path), None)
        self.layers["environment"].pop(path, None)
        self._reload()

    @rule(change=CHANGES)
    def change(self, change: tuple[str, Any]) -> None:
        before = self._expected(change[0])
        update = self.store.update(dict([change]))
        self.layers["runtime"][change[0]] = change[1]
        assert update.updated_keys == ((change[0],) if change[1] != before else ())

    @rule(path=st.sampled_from(["server.port", "nothing.of.it", "server"]))
    def change_in_vain(self, path: str) -> None:
        with pytest.raises(SettingsError):
            self.store.update({path: "abc", "ui.title": "never"})

    @rule()
    def reset(self) -> None:
        self.store.reset()
        self.layers["runtime"], self.layers[self.target] = {}, {}
        self.rewrite = True

    @rule()
    def save(self) -> None:
        hidden = self.store.save()
        runtime = self.layers["runtime"]
        kept = {} if self.rewrite else self.disk[self.target]
        self.disk[self.target] = {**kept, **runtime}
        self.layers[self.target] = dict(self.disk[self.target])
        stay = {path: runtime[path] for path in runtime if path in self.layers["environment"]}
        self.layers["runtime"] = stay
        self.rewrite = False
        assert hidden == tuple(sorted(stay))

    @rule()
    def start_again(self) -> None:
        self.store = SettingsStore(self.path, profile=self.profile, environ=self.environ)
        self.layers["runtime"] = {}
        self.rewrite = False
        for layer, values in self.disk.items():
            self.layers[layer] = dict(values)

    def _expected(self, path: str) -> Any:
        for layer in reversed([*self.layers]):
            if path in self.layers[layer]:
                return self.layers[layer][path]
        return plain(LEAVES[path].default)

    @invariant()
    def values_and_explanations_agree(self) -> None:
        for path in VALUES:
            told = self.store.explain(path)
            holding = [layer for layer in reversed([*self.layers]) if path in self.layers[layer]]
            assert [told.layer, *told.hides] == (holding or ["default"])
            value: Any = self.store.current
            for name in path.split("."):
                value = getattr(value, name)
            assert plain(value) == self._expected(path)

    def teardown(self) -> None:
        self._folder.cleanup()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=40, stateful_step_count=25, deadline=None)
