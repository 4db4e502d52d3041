"""What all sections of the settings have in common: strict, frozen, and described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

__all__ = ["MASK", "Option", "Section", "kinds", "option", "options", "section_of"]

MASK: Final = "**********"  # how pydantic shows a secret


class Section(BaseModel):
    """A part of the settings. A key that it does not know is an error.

    Numbers and switches may be given as text, as the environment has them; a switch is no
    number, and NaN and infinity are none either.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a value may be a secret
        protected_namespaces=(),  # model_size, model_path
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and not {bool, Any} & kinds(field.annotation):
            # In YAML, a bare `no` is a switch too.
            raise ValueError(f"{str(value).lower()} is a switch: a text is put in quotes")
        return value


def option(default: Any, description: str, *, unit: str | None = None, **extra: Any) -> Any:
    """A field, and what the schema says of it beside its type.

    Args:
        unit: Of a number: ``s``, ``Hz``, ``MB``.
        extra: ``restart``: whether a change counts only after a restart. All else is pydantic's.
    """
    more: dict[str, Any] = {"unit": unit} if unit else {}
    if (restart := extra.pop("restart", None)) is not None:
        more["restart"] = restart
    return Field(default, description=description, json_schema_extra=more or None, **extra)


class Option:
    """A leaf of the tree: a field that is no section."""

    __slots__ = ("field", "path", "restart")

    def __init__(self, path: str, field: FieldInfo, restart: bool) -> None:
        self.path = path  # "server.port"
        self.field = field
        self.restart = restart  # whether a change counts only after a restart

    @property
    def unit(self) -> str | None:
        extra = self.field.json_schema_extra
        unit = extra.get("unit") if isinstance(extra, Mapping) else None
        return unit if isinstance(unit, str) else None

    @property
    def default(self) -> Any:
        return self.field.get_default(call_default_factory=True)


@cache
def options(root: type[Section]) -> Mapping[str, Option]:
    """Every option of a tree by its path, in its order."""
    return {each.path: each for each in _options(root, "", False)}


def _options(section: type[Section], prefix: str, restart: bool) -> Iterator[Option]:
    for name, field in section.model_fields.items():
        extra = field.json_schema_extra
        declared = extra.get("restart") if isinstance(extra, Mapping) else None
        needs = restart if declared is None else bool(declared)  # the nearest word counts
        inner = section_of(field)
        if inner is None:
            yield Option(f"{prefix}{name}", field, needs)
        else:
            yield from _options(inner, f"{prefix}{name}.", needs)


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field is, if it is one."""
    annotation: Any = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return None


def kinds(annotation: Any) -> frozenset[Any]:
    """The plain types that an annotation allows: of ``int | None`` int and NoneType."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return frozenset().union(*(kinds(each) for each in get_args(annotation)))
    if annotation is None:
        return frozenset({NoneType})
    return frozenset({origin or annotation})
