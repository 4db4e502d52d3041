"""Sections: strict, frozen, and described where they are declared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from realtime_stts.settings._section import Option, Section, kinds, option, options, section_of


class Inner(Section):
    warm: float | None = option(None, "How warm.", unit="K", gt=0, restart=False)
    name: str = option("n", "A name.")


class Outer(Section):
    count: int = option(1, "How many.")
    on: bool = option(False, "Whether.")
    inner: Inner = option(Inner(), "Within.", restart=True)


class TestSection:
    def test_is_frozen(self) -> None:
        with pytest.raises(ValidationError):
            Inner().name = "x"

    def test_a_key_it_does_not_know_is_an_error(self) -> None:
        with pytest.raises(ValidationError, match="nmae"):
            Inner.model_validate({"nmae": "x"})

    def test_text_becomes_what_is_needed(self) -> None:
        read = Outer.model_validate({"count": "3", "on": "yes", "inner": {"warm": "1.5"}})
        assert (read.count, read.on, read.inner.warm) == (3, True, 1.5)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"count": "three"},
            {"count": 1.5},
            {"count": True},
            {"inner": {"warm": False}},
            {"inner": {"warm": "nan"}},
            {"inner": {"warm": float("inf")}},
            {"inner": {"name": 3}},
            {"on": "perhaps"},
        ],
    )
    def test_what_is_something_else_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Outer.model_validate(wrong)

    def test_errors_show_no_value(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Outer.model_validate({"count": "hunter2"})
        assert "hunter2" not in str(caught.value)


class TestOptions:
    def test_are_the_leaves_by_path_in_order(self) -> None:
        assert [*options(Outer)] == ["count", "on", "inner.warm", "inner.name"]

    def test_have_unit_and_default(self) -> None:
        assert options(Outer)["inner.warm"].unit == "K"
        assert options(Outer)["count"].unit is None
        assert options(Outer)["count"].default == 1

    def test_the_nearest_word_about_a_restart_counts(self) -> None:
        needed = {path: each.restart for path, each in options(Outer).items()}
        assert needed == {"count": False, "on": False, "inner.warm": False, "inner.name": True}

    def test_a_unit_that_is_no_text_is_none(self) -> None:
        assert Option("x", Field(1, json_schema_extra={"unit": 3}), False).unit is None

    def test_section_of(self) -> None:
        assert section_of(Outer.model_fields["inner"]) is Inner
        assert section_of(Outer.model_fields["count"]) is None


@pytest.mark.parametrize(
    ("annotation", "allowed"),
    [
        (int, {int}),
        (None, {type(None)}),
        (int | None, {int, type(None)}),
        (Annotated[float, "metres"], {float}),
        (tuple[str, ...] | None, {tuple, type(None)}),
        (Literal["a", "b"], {Literal}),
    ],
)
def test_kinds(annotation: Any, allowed: set[Any]) -> None:
    assert kinds(annotation) == allowed
