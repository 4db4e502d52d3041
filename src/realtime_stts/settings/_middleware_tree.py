"""The settings of each middleware: whether it is there, and the arguments of its class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import SecretStr, model_validator
from typing_extensions import Self

from ._section import Section, option

__all__ = [
    "AuditSettings",
    "AuthenticationSettings",
    "CacheSettings",
    "CircuitBreakerSettings",
    "ConcurrencyLimitSettings",
    "FallbackSettings",
    "HallucinationGuardSettings",
    "LoadShedSettings",
    "LoggingSettings",
    "LoudnessMatchSettings",
    "MiddlewareSettings",
    "RateLimitSettings",
    "RedactionSettings",
    "RetrySettings",
    "SilenceTrimSettings",
    "SpeechGuardSettings",
    "TextNormalizerSettings",
    "TimeoutSettings",
    "TimingSettings",
]

_RequestType = Literal["stt", "tts", "response"]


class RedactionSettings(Section):
    enabled: bool = option(True, "Give observers pseudonyms, and errors that quote nobody.")
    pseudonym_key: SecretStr | None = option(
        None,
        "At least 16 characters: pseudonyms stay the same after a restart; none draws one.",
        min_length=16,
    )
    patterns: tuple[Literal["email", "phone", "card", "iban"], ...] = option(
        (), "Personal data that is masked in transcripts and answers."
    )


class TimingSettings(Section):
    enabled: bool = option(True, "Time each call.")
    slow_threshold: float = option(5.0, "Calls that take longer count as slow.", unit="s", gt=0)
    history: int = option(1000, "Calls that percentiles are of.", ge=1, le=1_000_000)


class LoggingSettings(Section):
    enabled: bool = option(True, "Log each call.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = option("INFO", "Level of its lines.")
    log_text: bool = option(False, "Also what was said: personal data.")


class AuditSettings(Section):
    enabled: bool = option(False, "Keep a record of each call: who, when, what kind, outcome.")
    path: Path = option(Path("audit.jsonl"), "File of the records.")
    fsync: bool = option(False, "Wait until each record is on the disk.")
    required: bool = option(True, "A call fails whose record cannot be written.")
    pseudonymous: bool = option(False, "Name people by their pseudonyms.")
    patience: float = option(2.0, "Time that a call waits for its record.", unit="s", gt=0)


class AuthenticationSettings(Section):
    """Asks for one of `server.auth_tokens`."""

    enabled: bool = option(False, "Let pass only calls with one of server.auth_tokens.")
    allow_anonymous: bool = option(False, "Let calls without any token pass.")
    anonymous_permissions: tuple[_RequestType, ...] = option((), "What such calls may do.")
    ttl: float = option(300.0, "Time for which a session's token is known.", unit="s", ge=0)
    max_sessions: int = option(10_000, "Sessions that are remembered.", ge=1)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if self.allow_anonymous != bool(self.anonymous_permissions):
            raise ValueError("allow_anonymous and anonymous_permissions go together")
        return self


class RateLimitSettings(Section):
    enabled: bool = option(False, "Limit how often each subject or session may call.")
    rate: float = option(5.0, "Calls, in the long run.", unit="1/s", gt=0)
    burst: float = option(20.0, "Calls at once.", ge=1)
    max_keys: int = option(10_000, "Subjects and sessions that are remembered.", ge=1)


class TextNormalizerSettings(Section):
    enabled: bool = option(False, "Make text speakable: no Markdown, emoji, addresses.")
    replacements: dict[str, str] = option({}, "Words, and how they are spoken.")
    markdown: bool = option(True, "Take Markdown's marks out.")
    emoji: bool = option(True, "Take emoji out.")
    link: str | None = option(None, "Said for a web address; none is the name of its host.")


class CacheSettings(Section):
    enabled: bool = option(False, "Answer the same call again without the engine.")
    max_bytes: int = option(64 << 20, "Answers that are kept.", unit="B", ge=1)
    ttl: float | None = option(None, "Age at which an answer is too old.", unit="s", gt=0)
    max_entry_bytes: int | None = option(
        None, "Longer answers are not kept; none is an eighth of max_bytes.", unit="B", ge=1
    )
    request_types: tuple[Literal["stt", "tts"], ...] = option(("tts",), "Calls it is for.")
    patience: float = option(1.0, "Time a stream waits for an identical one.", unit="s", ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_entry_bytes is not None and self.max_entry_bytes > self.max_bytes:
            raise ValueError("max_entry_bytes is at most max_bytes")
        return self


class LoadShedSettings(Section):
    enabled: bool = option(False, "Refuse new sessions while the engine cannot keep up.")
    max_rtf: float = option(0.9, "Computing for each second of audio.", unit="s/s", gt=0)
    window: float = option(30.0, "Time over which that is measured.", unit="s", gt=0)
    min_audio: float = option(5.0, "Audio that a judgement needs.", unit="s", gt=0)
    idle: float = option(60.0, "A session is over after so long without a call.", unit="s", gt=0)
    max_sessions: int = option(10_000, "Sessions that are remembered.", ge=1)


class SilenceTrimSettings(Section):
    enabled: bool = option(False, "Shorten silences of the speech.")
    threshold: float = option(-45.0, "Sound below this is silence.", unit="dBFS", ge=-90, le=-20)
    leading: float = option(0.05, "Silence kept before the speech.", unit="s", ge=0, le=10)
    trailing: float = option(0.1, "Silence kept after it.", unit="s", ge=0, le=10)
    internal: float | None = option(
        0.5, "Silence kept within it; none keeps all.", unit="s", ge=0, le=10
    )
    fade: float = option(0.005, "Fade at each cut.", unit="s", ge=0, le=0.1)


class LoudnessMatchSettings(Section):
    enabled: bool = option(False, "Bring all voices to one loudness.")
    target: float = option(-19.0, "Loudness of the speech.", unit="LUFS", ge=-40, le=-5)
    max_gain: float = option(20.0, "Most that is added.", unit="dB", ge=0, le=60)
    ceiling: float = option(-1.0, "Level that no sample exceeds.", unit="dBFS", ge=-20, le=0)
    max_voices: int = option(256, "Voices whose loudness is remembered.", ge=1)


class HallucinationGuardSettings(Section):
    """Empties transcripts that nobody spoke. None switches a rule off."""

    enabled: bool = option(False, "Empty transcripts that nobody spoke.")
    min_level: float | None = option(
        -60.0, "Level of a frame that may be speech.", unit="dBFS", ge=-120, le=0
    )
    min_speech: float | None = option(0.1, "Such frames in any speech.", unit="s", ge=0, le=10)
    max_no_speech: float | None = option(0.6, "Probability that there was none.", ge=0, le=1)
    min_log_probability: float | None = option(-1.0, "Mean of the text's tokens.", le=0)
    max_compression: float | None = option(2.4, "Text packs better if it repeats itself.", ge=1)
    max_repeats: int | None = option(6, "Of the same words in a row.", ge=1)
    max_rate: float | None = option(8.0, "Nobody speaks faster.", unit="words/s", ge=0.001)
    phrases: tuple[str, ...] = option((), "Texts that are taken for none when they are unsure.")


class FallbackSettings(Section):
    """Engines by name that stand by, in order."""

    enabled: bool = option(False, "Ask another engine when the first one fails.")
    stt: tuple[str, ...] = option((), "Engines for speech to text.")
    tts: tuple[str, ...] = option((), "Engines for text to speech.")
    recover_after: float = option(30.0, "Time that a failed engine is left alone.", unit="s", gt=0)
    sample_rate: int | None = option(
        None, "Of the speech; none is what the first engine made.", unit="Hz", ge=8000, le=192_000
    )
    replay_seconds: float = option(30.0, "Audio kept to be heard again.", unit="s", ge=0)

    @model_validator(mode="after")
    def _somebody_stands_by(self) -> Self:
        if self.enabled and not (self.stt or self.tts):
            raise ValueError("a fallback needs an engine that stands by, in stt or tts")
        return self


class TimeoutSettings(Section):
    enabled: bool = option(False, "Limit how long the engine may take.")
    first: float | None = option(15.0, "Until the first result.", unit="s", gt=0)
    between: float | None = option(None, "Between two results of a stream.", unit="s", gt=0)
    total: float | None = option(None, "Until the last one, with all waits.", unit="s", gt=0)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.first is None and self.between is None and self.total is None:
            raise ValueError("a timeout needs first, between or total")
        return self


class ConcurrencyLimitSettings(Section):
    enabled: bool = option(False, "Limit how many calls an engine serves at a time.")
    slots: int = option(8, "Calls at a time, of each engine.", ge=1)
    waiting: int | None = option(None, "Calls that wait; none is as many as slots.", ge=0)
    max_wait: float | None = option(None, "Time that one waits.", unit="s", gt=0)


class RetrySettings(Section):
    enabled: bool = option(False, "Repeat calls that failed before their first result.")
    attempts: int = option(3, "Attempts, the first included.", ge=1, le=20)
    wait_initial: float = option(0.1, "Pause before the second.", unit="s", ge=0)
    wait_max: float = option(5.0, "Longest pause.", unit="s", ge=0)
    wait_jitter: float = option(0.1, "Random part of a pause.", unit="s", ge=0)
    budget_ratio: float = option(0.2, "Retries that each call earns for all.", ge=0, le=1)
    budget_reserve: float = option(10.0, "Retries that can be saved up.", ge=0)
    request_types: tuple[_RequestType, ...] = option(("stt", "tts"), "Calls it is for.")
    replay_seconds: float = option(30.0, "Audio kept to be heard again.", unit="s", ge=0)


class CircuitBreakerSettings(Section):
    enabled: bool = option(False, "Refuse calls at once while the engine keeps failing.")
    failures: int = option(5, "Failures that open the circuit.", ge=1)
    window: float = option(60.0, "Time within which they count.", unit="s", gt=0)
    open_for: float = option(30.0, "Time until the engine is tried again.", unit="s", gt=0)
    probes: int = option(1, "Calls that try it.", ge=1)


class SpeechGuardSettings(Section):
    enabled: bool = option(False, "Refuse speech that cannot be the text.")
    slowest: float = option(5.0, "Slowest speech.", unit="letters/s", gt=0)
    fastest: float = option(35.0, "Fastest speech.", unit="letters/s", gt=0)
    slack: float = option(2.0, "Time that any text may take longer.", unit="s", ge=0)
    max_noise: float | None = option(0.5, "Noise after the speech.", unit="s", gt=0, le=60)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.slowest >= self.fastest:
            raise ValueError("slowest is below fastest")
        return self


class MiddlewareSettings(Section):
    """From the outermost to the innermost, as `build_chain` puts them."""

    redaction: RedactionSettings = option(RedactionSettings(), "What others see.")
    timing: TimingSettings = option(TimingSettings(), "How long calls take.")
    logging: LoggingSettings = option(LoggingSettings(), "What happened.")
    audit: AuditSettings = option(AuditSettings(), "Who asked for what.")
    authentication: AuthenticationSettings = option(AuthenticationSettings(), "Who may ask.")
    rate_limit: RateLimitSettings = option(RateLimitSettings(), "How often.")
    text_normalizer: TextNormalizerSettings = option(TextNormalizerSettings(), "Text to speak.")
    cache: CacheSettings = option(CacheSettings(), "Answers that are known.")
    load_shed: LoadShedSettings = option(LoadShedSettings(), "New sessions under load.")
    silence_trim: SilenceTrimSettings = option(SilenceTrimSettings(), "Silences.")
    loudness_match: LoudnessMatchSettings = option(LoudnessMatchSettings(), "Loudness.")
    hallucination_guard: HallucinationGuardSettings = option(
        HallucinationGuardSettings(), "Transcripts of nothing."
    )
    fallback: FallbackSettings = option(FallbackSettings(), "Other engines.")
    timeout: TimeoutSettings = option(TimeoutSettings(), "Time.")
    concurrency_limit: ConcurrencyLimitSettings = option(
        ConcurrencyLimitSettings(), "Calls at a time."
    )
    retry: RetrySettings = option(RetrySettings(), "Second attempts.")
    circuit_breaker: CircuitBreakerSettings = option(CircuitBreakerSettings(), "Broken engines.")
    speech_guard: SpeechGuardSettings = option(SpeechGuardSettings(), "Implausible speech.")
