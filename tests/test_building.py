"""Settings become chains, engines and conversations, with every option in its place."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

import realtime_stts.middleware as middleware
from realtime_stts._request import request_scope
from realtime_stts.analytics import InMemoryAnalyticsStore, SQLiteAnalyticsStore
from realtime_stts.audio import AudioData
from realtime_stts.building import (
    Assembly,
    _engines,
    _layers,
    build_chain,
    build_conversation,
    build_engine,
)
from realtime_stts.conversation import SessionLimits, TurnPolicy
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import (
    AuthenticationError,
    EngineError,
    MissingExtraError,
)
from realtime_stts.instrumentation import Details
from realtime_stts.middleware import RequestContext
from realtime_stts.settings import Settings, SettingsStore, validate
from realtime_stts.settings._middleware_tree import MiddlewareSettings
from realtime_stts.settings._section import options, section_of
from realtime_stts.settings._tree import PolicySettings, SessionLimitSettings
from realtime_stts.testing import (
    FaultySTTEngine,
    FaultyTTSEngine,
    MiddlewareSuite,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
    speech,
)
from realtime_stts.voices import VoiceRegistry

pytestmark = pytest.mark.anyio

CLIP = AudioData.silence(0.5, 16_000)
EVERYTHING = {
    name: {"enabled": True} for name in MiddlewareSettings.model_fields if name != "fallback"
} | {"fallback": {"enabled": True, "stt": ["spare"], "tts": ["spare", "spare:2"]}}


def settings(data: dict[str, Any] | None = None, **sections: Any) -> Settings:
    return validate({**(data or {}), **sections}).checked()


class Shop:
    """Gives out fake engines by name, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.made: list[Any] = []

    def stt(self, spec: str, **options: Any) -> Any:
        failing = [EngineError("first", "broken")] * 9
        script: list[Any] = failing if spec == "broken" else ["hello"] * 9
        return self._sell(spec, options, ScriptedSTTEngine(script))

    def tts(self, spec: str, **options: Any) -> Any:
        failures = [EngineError("first", "broken")] * 9 if spec == "broken" else []
        return self._sell(spec, options, ScriptedTTSEngine(failures=failures))

    def detector(self, spec: str, **options: Any) -> Any:
        if spec == "silero":
            raise MissingExtraError("Silero", "local")
        return self._sell(spec, options, EnergyPauseDetector())

    def _sell(self, spec: str, options: dict[str, Any], engine: Any) -> Any:
        self.asked.append((spec, options))
        self.made.append(engine)
        return engine


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop()
    monkeypatch.setattr(_engines, "load_stt", shop.stt)
    monkeypatch.setattr(_engines, "load_tts", shop.tts)
    monkeypatch.setattr(_engines, "load_pause_detector", shop.detector)
    return shop


class TestChain:
    def test_by_default_it_only_watches(self) -> None:
        for kind in ("stt", "tts", "response"):
            chain = build_chain(Settings(), kind)  # type: ignore[arg-type]
            assert chain.names == ("redaction", "timing", "logging", "analytics")

    def test_all_of_it_in_order(self, shop: Shop, tmp_path: Path) -> None:
        all_on = settings(middleware=EVERYTHING)
        watching = ("redaction", "timing", "instrumentation", "logging", "analytics", "audit")
        guarded = (*watching, "authentication", "rate_limit")
        inner = ("timeout", "concurrency_limit", "retry", "circuit_breaker")
        assembly = Assembly(all_on, instrumentation=[lambda details: None])
        assert assembly.chain("stt").names == (
            *guarded, "cache", "load_shed", "hallucination_guard", "fallback", *inner,
        )  # fmt: skip
        assert assembly.chain("tts").names == (
            *guarded, "text_normalizer", "cache", "load_shed", "silence_trim", "loudness_match",
            "fallback", *inner, "speech_guard",
        )  # fmt: skip
        assert assembly.chain("response").names == (*guarded, *inner)

    def test_the_settings_stand_in_the_same_order(self) -> None:
        order = [name for name, *_ in _layers.ORDER]
        named = [name for name in order if name not in ("instrumentation", "analytics")]
        assert named == [*MiddlewareSettings.model_fields]

    def test_what_is_shared_is_one_and_the_rest_is_each_engines_own(self, shop: Shop) -> None:
        assembly = Assembly(settings(middleware=EVERYTHING))
        stt, tts = ({each.name: each for each in assembly.chain(kind)} for kind in ("stt", "tts"))  # type: ignore[attr-defined, arg-type]
        shared = {name for name in stt.keys() & tts.keys() if stt[name] is tts[name]}
        assert shared == {
            "redaction", "timing", "logging", "analytics", "audit", "authentication",
            "rate_limit", "cache", "load_shed",
        }  # fmt: skip
        assert assembly.chain("stt") is assembly.chain("stt")

    def test_analytics_may_be_off(self) -> None:
        assert "analytics" not in build_chain(settings({"analytics.enable": False}), "stt").names

    def test_a_fallback_for_one_kind_is_none_for_the_other(self, shop: Shop) -> None:
        one = settings({"middleware.fallback": {"enabled": True, "stt": ["spare"]}})
        assert "fallback" in build_chain(one, "stt").names
        assert "fallback" not in build_chain(one, "tts").names


class TestOptions:
    """No option is offered that is not an argument, with its default and within its range."""

    SPECIAL: ClassVar = {
        "redaction": {"pseudonym_key", "patterns"},
        "logging": {"log_level"},
        "audit": {"path", "fsync"},
        "rate_limit": {"rate", "burst"},  # without a default in the class
        "concurrency_limit": {"slots"},
        "retry": {"budget_ratio", "budget_reserve"},
        "fallback": {"stt", "tts"},
        "timeout": {"first"},
        "text_normalizer": {"replacements"},  # None and an empty mapping are the same
        "hallucination_guard": {"phrases"},  # likewise
    }

    @pytest.mark.parametrize("name", [*MiddlewareSettings.model_fields])
    def test_they_are_the_arguments_of_the_class(self, name: str) -> None:
        title = "".join(part.title() for part in name.split("_"))
        parameters = inspect.signature(getattr(middleware, f"{title}Middleware")).parameters
        section = section_of(MiddlewareSettings.model_fields[name])
        assert section is not None
        for path, option in options(section).items():
            if path == "enabled" or path in self.SPECIAL.get(name, ()):
                continue
            assert option.default == parameters[path].default, path

    @pytest.mark.parametrize("name", [*MiddlewareSettings.model_fields])
    @pytest.mark.parametrize("end", ["minimum", "maximum", "exclusiveMinimum"])
    def test_the_class_takes_the_ends_of_each_range(
        self, name: str, end: str, shop: Shop, tmp_path: Path
    ) -> None:
        section = section_of(MiddlewareSettings.model_fields[name])
        assert section is not None
        for key, schema in section.model_json_schema()["properties"].items():
            kinds = [schema, *schema.get("anyOf", ())]
            bounds = [kind[end] for kind in kinds if end in kind]
            if bounds:
                (bound,) = bounds
                value = bound + 1e-3 if end == "exclusiveMinimum" else bound
                on = {f"middleware.{name}": {**EVERYTHING[name], key: value}}
                if name == "speech_guard" and key == "fastest":
                    continue  # it is above slowest
                assembly = Assembly(settings(on))
                for kind in ("stt", "tts"):
                    assert assembly.chain(kind)  # type: ignore[arg-type]

    def test_the_policy_and_the_limits_are_the_conversations(self) -> None:
        for section, cls in ((PolicySettings, TurnPolicy), (SessionLimitSettings, SessionLimits)):
            made = {path: each.default for path, each in options(section).items()}
            assert cls(**made) == cls()
            assert made.keys() == {*inspect.signature(cls).parameters}

    async def test_those_that_need_a_hand(self, tmp_path: Path) -> None:
        asked = settings(
            {
                "middleware.redaction": {"pseudonym_key": "k" * 16, "patterns": ["email", "iban"]},
                "middleware.logging.log_level": "WARNING",
                "middleware.retry": {"enabled": True, "budget_ratio": 0.5, "budget_reserve": 2},
            }
        )
        redaction, _, log, _, retry = build_chain(asked, "stt")
        assert isinstance(redaction, middleware.RedactionMiddleware)
        expected = middleware.RedactionMiddleware(pseudonym_key=b"k" * 16)
        assert redaction.pseudonym("ann") == expected.pseudonym("ann")
        assert [*redaction._kinds] == ["email", "iban"]
        assert isinstance(log, middleware.LoggingMiddleware)
        assert log.log_level == 30
        assert isinstance(retry, middleware.RetryMiddleware)
        assert retry.budget is not None
        assert (retry.budget.ratio, retry.budget.reserve) == (0.5, 2)


class TestCalls:
    async def test_calls_say_by_default_what_the_settings_say(self, shop: Shop) -> None:
        asked = settings(
            {
                "stt_engine.language": "de",
                "tts_engine.default_voice_id": "scripted",
                "generation_defaults.speed_factor": 2,
            }
        )
        assembly = Assembly(asked)
        await assembly.stt.transcribe(CLIP)
        await assembly.stt.transcribe(CLIP, "en")
        await assembly.tts.synthesize("hello", {"voice_id": None})
        await assembly.tts.synthesize("hello", {"speed_factor": 1.0})
        stt, tts = shop.made
        assert [call.language for call in stt.calls] == ["de", "en"]
        assert [call.voice_config for call in tts.calls] == [
            {"speed_factor": 2.0, "voice_id": "scripted"},
            {"speed_factor": 1.0, "voice_id": "scripted"},
        ]

    async def test_defaults_are_of_one_kind_of_call(self) -> None:
        layer = _layers.Defaults("tts", {"voice_id": "ann"})
        context = RequestContext("stt", "x", config={"language": None})
        layer(context, lambda context: None)  # type: ignore[arg-type, return-value]
        assert context.config == {"language": None}

    async def test_a_first_engine_that_fails_has_one_that_stands_by(self, shop: Shop) -> None:
        asked = settings(
            {
                "stt_engine.engine": "broken",
                "tts_engine.engine": "broken",
                "middleware.fallback": EVERYTHING["fallback"],
                "middleware.timeout.enabled": True,
                "middleware.speech_guard.enabled": True,
            }
        )
        assembly = Assembly(asked)
        assert (await assembly.stt.transcribe(speech(0.5))).text == "hello"
        spoken = await assembly.tts.synthesize("hello there, how do you do", {})
        assert spoken.audio_data.duration_seconds > 1
        assert sorted(spec for spec, _ in shop.asked) == [
            "broken", "broken", "spare", "spare", "spare:2"
        ]  # fmt: skip

    async def test_tokens_are_those_of_the_server(self, shop: Shop) -> None:
        asked = settings(
            {
                "server.auth_tokens": {"alice": {"token": "t" * 16, "permissions": ["stt"]}},
                "middleware.authentication.enabled": True,
            }
        )
        assembly = Assembly(asked)
        with pytest.raises(AuthenticationError):
            await assembly.stt.transcribe(CLIP)
        with request_scope(token="t" * 16):
            await assembly.stt.transcribe(CLIP)
            with pytest.raises(AuthenticationError):
                await assembly.tts.synthesize("hello", {})


class TestDefaultsPromises(MiddlewareSuite):
    kinds = ("tts",)
    changes_input = True

    def middleware(self) -> Any:
        return _layers.Defaults("tts", {"voice_id": "ann"})


class TestEngines:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ({}, ("pocketsphinx", {})),
            ({"options": {"replicas": 1}}, ("pocketsphinx", {"replicas": 1})),
            (
                {"engine": "whisper", "model_size": "tiny", "device": "cpu"},
                (
                    "whisper",
                    {
                        "device": "cpu", "max_batch": 16, "idle_ttl": None, "model_size": "tiny",
                        "model_path": None, "download_root": Path("models"),
                    },
                ),
            ),
            (
                {"engine": "whisper:turbo", "download_root": "w", "options": {"idle_ttl": 5}},
                (
                    "whisper:turbo",
                    {"device": "auto", "max_batch": 16, "idle_ttl": 5, "download_root": Path("w")},
                ),
            ),
        ],
    )  # fmt: skip
    def test_stt(self, data: dict[str, Any], expected: Any, shop: Shop) -> None:
        build_engine(settings({"paths.model_cache": "models", "stt_engine": data}), "stt")
        assert shop.asked == [expected]

    @pytest.mark.parametrize(
        ("data", "spec", "expected"),
        [
            ({}, "espeak", {}),
            ({"tts_engine.engine": "espeak:de"}, "espeak:de", {}),
            ({"tts_engine.engine": "chatterbox"}, "chatterbox", {"model": "standard"}),
            ({"tts_engine.engine": "chatterbox:turbo"}, "chatterbox:turbo", {}),
            (
                {"tts_engine.engine": "chatterbox", "model.repo_id": "ResembleAI/chatterbox-turbo"},
                "chatterbox",
                {"model": "turbo"},
            ),
            (
                {"tts_engine.engine": "chatterbox", "model.use_multilingual": True},
                "chatterbox",
                {"model": "multilingual"},
            ),
            (
                {"tts_engine.engine": "chatterbox", "model.local_path": "mine"},
                "chatterbox",
                {"model": "mine"},
            ),
        ],
    )
    def test_tts(self, data: dict[str, Any], spec: str, expected: Any, shop: Shop) -> None:
        build_engine(settings(data), "tts")
        if spec.startswith("chatterbox"):
            expected = {
                "device": "auto", "watermark": True, "max_active": 8, "idle_ttl": None,
                "model_cache_path": None, **expected,
            }  # fmt: skip
        assert shop.asked == [(spec, expected)]

    def test_registered_voices_are_in_a_folder(self, shop: Shop, tmp_path: Path) -> None:
        asked = {"engine": "chatterbox", "predefined_voices_path": str(tmp_path / "voices")}
        build_engine(settings({"tts_engine": asked}), "tts")
        assert isinstance(shop.asked[0][1]["voices"], VoiceRegistry)
        assert (tmp_path / "voices").is_dir()

    def test_or_in_a_registry_that_the_host_has(self, shop: Shop, tmp_path: Path) -> None:
        voices = VoiceRegistry()
        asked = {"engine": "chatterbox", "predefined_voices_path": str(tmp_path / "voices")}
        build_engine(settings({"tts_engine": asked}), "tts", voices=voices)
        assert shop.asked[0][1]["voices"] is voices
        assert not (tmp_path / "voices").exists()

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ({}, ("energy", {"energy_threshold": 0.01, "frame_duration_ms": 30})),
            ({"engine": "energy"}, ("energy", {"energy_threshold": 0.01, "frame_duration_ms": 30})),
            ({"engine": "webrtc"}, ("webrtc", {"aggressiveness": 2, "frame_duration_ms": 30})),
        ],
    )
    def test_pauses(self, data: dict[str, Any], expected: Any, shop: Shop) -> None:
        Assembly(settings({"pause_detection": data})).pause_detector()
        frames = {"min_speech_frames": 3, "min_pause_frames": 10}
        assert shop.asked == [(expected[0], {**expected[1], **frames})]

    def test_silero_where_it_is_installed(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[Any] = []
        monkeypatch.setattr(
            _engines, "load_pause_detector", lambda name, **options: given.append((name, options))
        )
        Assembly(Settings()).pause_detector()
        assert [name for name, _ in given] == ["silero"]
        assert given[0][1].keys() == {
            "start_above", "stop_below", "min_speech_frames", "min_pause_frames"
        }  # fmt: skip

    def test_the_energy_detector_takes_its_options(self) -> None:
        asked = settings({"pause_detection": {"engine": "energy", "energy_threshold": 0.2}})
        assert Assembly(asked).pause_detector().get_config()["energy_threshold"] == 0.2


class TestLifeCycle:
    async def test_all_is_opened_and_closed(self, shop: Shop, tmp_path: Path) -> None:
        asked = settings(
            {
                "middleware.fallback": EVERYTHING["fallback"],
                "middleware.audit": {"enabled": True, "path": str(tmp_path / "audit.jsonl")},
                "analytics.path": str(tmp_path / "analytics.db"),
            }
        )
        async with Assembly(asked) as assembly:
            assert all(engine.model_loaded for engine in shop.made)
            assert len(shop.made) == 5
            await assembly.tts.synthesize("hello", {})
            assert isinstance(assembly.store, SQLiteAnalyticsStore)
            await assembly.store.flush()
            assert (await assembly.store.usage()).calls == 1
        assert not any(engine.model_loaded for engine in shop.made)
        (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
        assert json.loads(line)["outcome"] == "completed"

    async def test_only_what_is_wanted_is_loaded(self, shop: Shop) -> None:
        async with Assembly(Settings(), kinds=["stt"]):
            assert [spec for spec, _ in shop.asked] == ["pocketsphinx"]

    async def test_an_error_within_comes_out_as_it_is(self, shop: Shop) -> None:
        asked = settings({"middleware.fallback": EVERYTHING["fallback"]})
        with pytest.raises(KeyError):
            async with Assembly(asked):
                raise KeyError("mine")
        assert not any(engine.model_loaded for engine in shop.made)

    async def test_what_was_opened_is_closed_when_the_rest_fails(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(spec: str, **options: Any) -> Any:
            raise MissingExtraError("eSpeak", "local")

        monkeypatch.setattr(_engines, "load_tts", missing)
        with pytest.raises(MissingExtraError):
            async with Assembly(Settings()):
                pytest.fail("it has no voice")
        assert not shop.made[0].model_loaded

    async def test_a_store_that_is_given_stays_the_callers(self, shop: Shop) -> None:
        store = InMemoryAnalyticsStore()
        async with Assembly(settings({"analytics.enable": False}), store=store) as assembly:
            await assembly.stt.transcribe(CLIP)
        assert (await store.usage()).calls == 1

    async def test_instrumentation_is_told_of_calls(self, shop: Shop) -> None:
        told: list[Details] = []
        async with build_engine(Settings(), "stt", instrumentation=[told.append]) as stt:
            await stt.transcribe(CLIP)
        assert {type(each).__name__ for each in told} == {"LoadDetails", "CallDetails"}


class TestConversation:
    def test_has_the_settings_numbers(self, shop: Shop) -> None:
        asked = settings(
            {
                "conversation": {
                    "response_mode": "echo",
                    "max_history_length": 3,
                    "adaptive_end_of_turn": False,
                    "policy": {"end_of_turn": 0.4, "backchannels": ["mm"]},
                    "limits": {"duration": 60},
                }
            }
        )
        engine = build_conversation(asked)
        assert engine.policy == TurnPolicy(end_of_turn=0.4, backchannels=frozenset({"mm"}))
        assert engine.limits == SessionLimits(duration=60)
        assert engine.session()
        assert "EchoResponseGenerator" in repr(engine.response_generator)
        assert engine.config_provider is not None
        assert engine.config_provider.get_conversation_config()["max_history_length"] == 3

    async def test_instrumentation_is_told_of_sessions(self, shop: Shop) -> None:
        told: list[Details] = []
        engine = Assembly(Settings(), instrumentation=[told.append]).conversation()
        async with engine.session() as session:
            await session.end_input()
            async for _ in session:
                pass
        assert [type(each).__name__ for each in told] == ["SessionDetails"]

    def test_templates_answer_by_default(self, shop: Shop) -> None:
        assembly = Assembly(Settings())
        assert "TemplateResponseGenerator" in repr(assembly.conversation().response_generator)

    def test_options_win(self, shop: Shop) -> None:
        stt, tts = FaultySTTEngine([]), FaultyTTSEngine([])
        policy = TurnPolicy(manual=True)
        engine = build_conversation(Settings(), stt=stt, tts=tts, policy=policy)
        assert (engine.stt_engine, engine.tts_engine, engine.policy) == (stt, tts, policy)
        assert [spec for spec, _ in shop.asked] == ["energy"]

    def test_a_stores_changes_count_for_later_sessions(self, shop: Shop) -> None:
        store = SettingsStore(environ={})
        engine = build_conversation(store)
        store.update({"tts_engine.default_voice_id": "ann"})
        assert engine.config_provider is not None
        assert engine.config_provider.get_tts_config() == {"voice_id": "ann"}
