"""PURE: what can be asked of Chatterbox, and in which ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

__all__ = ["LANGUAGES", "ChatterboxSettings", "Kind"]

Kind = Literal["standard", "turbo", "multilingual"]

LANGUAGES: Final = (
    "ar", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "it", "ja",
    "ko", "ms", "nl", "no", "pl", "pt", "ru", "sv", "sw", "tr", "zh",
)  # fmt: skip

# Chatterbox's own, as its three `generate` have them.
_OWN: Final[dict[str, dict[str, Any]]] = {
    "standard": {},
    "turbo": {"exaggeration": 0.0, "cfg_weight": 0.0, "min_p": 0.0, "top_p": 0.95, "top_k": 1000},
    "multilingual": {"repetition_penalty": 2.0},
}

# What a kind of model does nothing with, and the values that ask nothing of it.
_ENGLISH: Final = ("en",)
_WITHOUT: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "standard": {"top_k": (None,), "language": _ENGLISH},
    "turbo": {
        "exaggeration": (0.0, 0.5),  # where it counts, 0.5 is neutral
        "cfg_weight": (0.0,),
        "min_p": (0.0,),
        "language": _ENGLISH,
    },
    "multilingual": {"top_k": (None,)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatterboxSettings:
    """How to speak. The names are Chatterbox's; the defaults are the standard model's.

    Attributes:
        kind: The model's.
        voice_id: A registered voice; None is the one that comes with the model.
        temperature: How freely tokens are drawn, 0.05 to 2.
        exaggeration: How expressive, 0 to 2; 0.5 is neutral. Not of turbo.
        cfg_weight: How closely to keep to the text against the voice's own pace, 0 to 1.
            Not of turbo.
        repetition_penalty: Against tokens that were drawn already, 1 (none) to 5.
        min_p: Tokens less likely than this part of the likeliest are left out, 0 to 1.
            Not of turbo.
        top_p: The likeliest tokens that together have this probability are kept, over 0 to 1.
        top_k: So many of the likeliest tokens are kept, 1 to 8194; None keeps all. Turbo's.
        seed: Of what is drawn, 0 to 2**63 - 1; None draws anew each time.
        speed_factor: 0.5 to 2; 2 is twice as fast. The pitch stays.
        language: One of `LANGUAGES`, of the multilingual model; the others speak English.

    Raises:
        ValueError: A value is out of its range, or the model does nothing with it.
    """

    kind: Kind = "standard"
    voice_id: str | None = None
    temperature: float = 0.8
    exaggeration: float = 0.5
    cfg_weight: float = 0.5
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    speed_factor: float = 1.0
    language: str = "en"

    def __post_init__(self) -> None:
        if self.kind not in _OWN:
            raise ValueError(f"kind is one of {', '.join(_OWN)}, not {self.kind!r}")
        for name, low, high in (
            ("temperature", 0.05, 2.0),
            ("exaggeration", 0.0, 2.0),
            ("cfg_weight", 0.0, 1.0),
            ("repetition_penalty", 1.0, 5.0),
            ("min_p", 0.0, 1.0),
            ("top_p", 0.01, 1.0),
            ("speed_factor", 0.5, 2.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is a number, not {value!r}")  # noqa: TRY004 - a host's
            if not low <= value <= high:
                raise ValueError(f"{name} is {low:g} to {high:g}, not {value}")
        for name, least, most in (("top_k", 1, 8194), ("seed", 0, 2**63 - 1)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"{name} is a whole number, {least} to {most}, not {value!r}")
        if self.voice_id is not None and not isinstance(self.voice_id, str):
            raise ValueError(f"voice_id is a string, not {self.voice_id!r}")
        if self.language not in LANGUAGES:
            raise ValueError(f"language is one of {', '.join(LANGUAGES)}, not {self.language!r}")
        for name, neutral in _WITHOUT[self.kind].items():
            if getattr(self, name) not in neutral:
                raise ValueError(
                    f"the {self.kind} model does nothing with {name}: leave it out, "
                    f"or give {' or '.join(map(str, neutral))}, not {getattr(self, name)}"
                )

    @classmethod
    def of(cls, kind: Kind) -> ChatterboxSettings:
        """The model's own defaults."""
        return cls(kind=kind, **_OWN.get(kind, {}))

    @classmethod
    def from_voice_config(
        cls, config: Mapping[str, Any] | None, defaults: ChatterboxSettings
    ) -> ChatterboxSettings:
        """What a host's configuration asks for, over ``defaults``.

        None means the default, and so does an empty ``voice_id``. A ``seed`` of 0 draws
        anew, as in the contract. Keys that it does not know are ignored.

        Raises:
            ValueError: Also for a path in place of a voice.
        """
        given = {key: value for key, value in (config or {}).items() if value is not None}
        if "voice_path" in given:
            raise ValueError(
                "voice_path is not taken, because a path may be anyone's file: "
                "register the recording as a voice, and give its voice_id"
            )
        known = {field.name for field in fields(cls)} - {"kind"}
        ours: dict[str, Any] = {key: given[key] for key in known & given.keys()}
        if ours.get("voice_id") == "":
            del ours["voice_id"]
        if isinstance(language := ours.get("language"), str):
            ours["language"] = language.lower()
        if type(ours.get("seed")) is int and ours["seed"] == 0:
            ours["seed"] = None
        return replace(defaults, **ours)
