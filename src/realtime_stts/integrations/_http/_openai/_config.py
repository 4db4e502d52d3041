"""PURE: the session of the Realtime API, as a client sets it up and is told it.

What a client sets and this server has no use for comes back unset: what it is told is what
is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from ....conversation import TurnPolicy

__all__ = [
    "Modality",
    "RealtimeConfig",
    "RealtimeRefusal",
    "TurnDetection",
    "configured",
    "described",
    "initial",
    "is_whole",
    "policy_of",
]

_RATE: Final = 24_000  # Hz; the only one of OpenAI's
_RATES: Final = (8_000, 48_000)  # Hz; that an extension of ours takes
_MAX_SILENCE: Final = 10_000  # ms
_MAX_PADDING: Final = 2_000  # ms
_SPEEDS: Final = (0.25, 1.5)
_MAX_NAME: Final = 200  # characters; of a voice or a model
_MAX_INSTRUCTIONS: Final = 20_000  # characters

# s of silence. OpenAI gives up waiting after 8, 4 and 2 s; None is the engine's own.
_EAGERNESS: Final[dict[str, float | None]] = {
    "low": 1.5,
    "medium": None,
    "auto": None,
    "high": 0.35,
}

Modality = Literal["audio", "text"]
T = TypeVar("T")


class RealtimeRefusal(ValueError):
    """A client's message asks for what cannot be: its text, field and code are for the client."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """That the server finds the turns. ``silence`` and ``padding`` are in seconds."""

    type: Literal["server_vad", "semantic_vad"]
    silence: float
    padding: float
    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """What is in force. ``turn_detection`` is None where the client commits its turns itself."""

    model: str
    turn_detection: TurnDetection | None
    instructions: str = ""
    modality: Modality = "audio"
    voice: str | None = None  # as the client calls it
    speed: float = 1.0
    input_rate: int = _RATE
    output_rate: int = _RATE
    transcription: bool = False  # whether the client is told what the user said
    transcription_model: str | None = None
    language: str | None = None


def initial(model: str, policy: TurnPolicy) -> RealtimeConfig:
    """What is in force until the client says something else."""
    return RealtimeConfig(model, None if policy.manual else _default_detection(policy))


def configured(config: RealtimeConfig, session: object, policy: TurnPolicy) -> RealtimeConfig:
    """``config`` with what a ``session.update`` changes: the fields that are there.

    Args:
        policy: The engine's, where the client leaves values open.

    Raises:
        RealtimeRefusal: Something in it cannot be.
    """
    given = _mapping(session, "session")
    if given.get("type", "realtime") != "realtime":
        raise RealtimeRefusal(
            "Only sessions of the type realtime are held here.", "session.type", "unsupported"
        )
    if "instructions" in given:
        text = _text(given["instructions"], "session.instructions", _MAX_INSTRUCTIONS)
        config = replace(config, instructions=text)
    if given.get("output_modalities") is not None:
        config = replace(config, modality=_modality(given["output_modalities"]))
    audio = _mapping(given.get("audio") or {}, "session.audio")
    config = _with_input(config, _mapping(audio.get("input") or {}, "session.audio.input"), policy)
    return _with_output(config, _mapping(audio.get("output") or {}, "session.audio.output"))


def described(config: RealtimeConfig, id: str) -> dict[str, Any]:
    """The session as the client is told it."""
    detection = config.turn_detection
    transcription = {"model": config.transcription_model, "language": config.language}
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": id,
        "model": config.model,
        "output_modalities": [config.modality],
        "instructions": config.instructions,
        "tools": [],
        "tool_choice": "none",
        "max_output_tokens": "inf",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": config.input_rate},
                "noise_reduction": None,
                "transcription": transcription if config.transcription else None,
                "turn_detection": None if detection is None else _described(detection),
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": config.output_rate},
                "voice": config.voice or "default",
                "speed": config.speed,
            },
        },
    }


def policy_of(config: RealtimeConfig, policy: TurnPolicy) -> TurnPolicy:
    """The engine's policy as this session wants it."""
    detection = config.turn_detection
    if detection is None:
        return replace(policy, manual=True)
    return replace(
        policy,
        manual=False,
        end_of_turn=detection.silence,
        pre_roll=detection.padding,
        barge_in=policy.barge_in if detection.interrupt_response else None,
    )


def is_whole(text: str) -> bool:
    """Whether it can be sent back: JSON can spell halves of characters, and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _default_detection(policy: TurnPolicy) -> TurnDetection:
    return TurnDetection("server_vad", policy.end_of_turn, policy.pre_roll)


def _described(detection: TurnDetection) -> dict[str, Any]:
    common = {
        "type": detection.type,
        "create_response": detection.create_response,
        "interrupt_response": detection.interrupt_response,
    }
    if detection.type == "semantic_vad":
        return {**common, "eagerness": detection.eagerness}
    return {
        **common,
        "silence_duration_ms": round(detection.silence * 1000),
        "prefix_padding_ms": round(detection.padding * 1000),
        "idle_timeout_ms": None,
    }


def _with_input(
    config: RealtimeConfig, given: Mapping[str, Any], policy: TurnPolicy
) -> RealtimeConfig:
    where = "session.audio.input"
    if given.get("format") is not None:
        config = replace(config, input_rate=_rate(given["format"], f"{where}.format"))
    if "transcription" in given:
        config = _with_transcription(config, given["transcription"], f"{where}.transcription")
    if "turn_detection" in given:
        detection = given["turn_detection"]
        if detection is not None:
            detection = _detection(detection, f"{where}.turn_detection", config, policy)
        config = replace(config, turn_detection=detection)
    return config


def _with_transcription(config: RealtimeConfig, given: Any, where: str) -> RealtimeConfig:
    if given is None:
        return replace(config, transcription=False)
    given = _mapping(given, where)
    language, model = given.get("language"), given.get("model")
    if language is not None:
        language = _text(language, f"{where}.language", 20) or None
    if model is not None:
        model = _text(model, f"{where}.model", _MAX_NAME)
    return replace(config, transcription=True, transcription_model=model, language=language)


def _detection(given: Any, where: str, config: RealtimeConfig, policy: TurnPolicy) -> TurnDetection:
    given = _mapping(given, where)
    kind = _choice(given.get("type", "server_vad"), f"{where}.type", ("server_vad", "semantic_vad"))
    before = config.turn_detection or _default_detection(policy)
    if before.type != kind:
        before = replace(_default_detection(policy), type=kind)
    found = replace(
        before,
        create_response=_flag(given, "create_response", where, before.create_response),
        interrupt_response=_flag(given, "interrupt_response", where, before.interrupt_response),
    )
    if kind == "semantic_vad":
        eagerness = _choice(
            given.get("eagerness") or found.eagerness, f"{where}.eagerness", (*_EAGERNESS,)
        )
        return replace(
            found, eagerness=eagerness, silence=_EAGERNESS[eagerness] or policy.end_of_turn
        )
    silence, padding = given.get("silence_duration_ms"), given.get("prefix_padding_ms")
    if silence is not None:
        within = _number(silence, f"{where}.silence_duration_ms", 0, _MAX_SILENCE)
        found = replace(found, silence=within / 1000)
    if padding is not None:
        within = _number(padding, f"{where}.prefix_padding_ms", 0, _MAX_PADDING)
        found = replace(found, padding=within / 1000)
    return found


def _with_output(config: RealtimeConfig, given: Mapping[str, Any]) -> RealtimeConfig:
    where = "session.audio.output"
    if given.get("format") is not None:
        config = replace(config, output_rate=_rate(given["format"], f"{where}.format"))
    if given.get("speed") is not None:
        config = replace(config, speed=_number(given["speed"], f"{where}.speed", *_SPEEDS))
    if given.get("voice") is not None:
        voice = given["voice"]
        if isinstance(voice, Mapping):
            voice = voice.get("id")
        config = replace(config, voice=_text(voice, f"{where}.voice", _MAX_NAME) or None)
    return config


def _modality(given: Any) -> Modality:
    match given:
        case ["text"]:
            return "text"
        case ["audio"] | ["audio", "text"] | ["text", "audio"]:
            return "audio"  # always with its transcript
        case _:
            message = 'The output modalities are ["audio"] or ["text"].'
            raise RealtimeRefusal(message, "session.output_modalities")


def _rate(given: Any, where: str) -> int:
    given = _mapping(given, where)
    if given.get("type", "audio/pcm") != "audio/pcm":
        raise RealtimeRefusal("The only format is audio/pcm.", f"{where}.type", "unsupported")
    rate = _number(given.get("rate") or _RATE, f"{where}.rate", *_RATES)
    if rate != int(rate):
        raise RealtimeRefusal("The rate is a whole number.", f"{where}.rate")
    return int(rate)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RealtimeRefusal(f"{where} is an object.", where, "invalid_type")
    return value


def _text(value: Any, where: str, most: int) -> str:
    if not isinstance(value, str):
        raise RealtimeRefusal(f"{where} is a text.", where, "invalid_type")
    if len(value) > most:
        raise RealtimeRefusal(f"{where} has at most {most} characters.", where)
    if not is_whole(value):
        raise RealtimeRefusal(f"{where} has half a character.", where)
    return value


def _number(value: Any, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RealtimeRefusal(f"{where} is a number.", where, "invalid_type")
    if not low <= value <= high:
        raise RealtimeRefusal(f"{where} is {low} to {high}.", where)
    return float(value)


def _flag(given: Mapping[str, Any], name: str, where: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RealtimeRefusal(
            f"{where}.{name} is true or false.", f"{where}.{name}", "invalid_type"
        )
    return value


def _choice(value: Any, where: str, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise RealtimeRefusal(f"{where} is one of {', '.join(known)}.", where)
    return value
