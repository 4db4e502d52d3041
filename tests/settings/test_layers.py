"""Layers: the last that has a value counts, and each path is known to be held by whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.settings._layers import (
    LAYERS,
    Layers,
    flatten,
    nearest,
    nest,
    sections_of,
)

LEAVES = ("a.x", "a.y", "a.b.z", "c")
PATHS = st.sampled_from(LEAVES)
FLAT = st.dictionaries(PATHS, st.one_of(st.integers(), st.text(), st.none(), st.booleans()))


class TestLayers:
    @given(st.fixed_dictionaries(dict.fromkeys(LAYERS, FLAT)))
    def test_are_merged_as_dictionaries_are(self, values: dict[str, dict[str, Any]]) -> None:
        layers = Layers()
        model: dict[str, Any] = {}
        for layer in LAYERS:
            layers = layers.having(layer, values[layer])
            model |= values[layer]
        assert layers.merged() == model
        for path in LEAVES:
            holding = layers.holding(path)
            assert [*holding] == [layer for layer in reversed(LAYERS) if path in values[layer]]
            if holding:
                assert layers[holding[0]][path] == model[path]

    def test_are_values(self) -> None:
        given: dict[str, Any] = {"c": 1}
        layers = Layers().having("file", given)
        given["c"] = 2
        changed = layers.having("file", {"c": 3})
        assert (layers["file"]["c"], changed["file"]["c"]) == (1, 3)
        assert layers["runtime"] == {}


class TestFlatten:
    @given(FLAT)
    def test_nest_and_flatten_are_inverse(self, flat: dict[str, Any]) -> None:
        assert flatten(nest(flat), LEAVES) == flat

    def test_keys_may_be_paths(self) -> None:
        assert flatten({"a.x": 1, "a": {"b.z": 2}}, LEAVES) == {"a.x": 1, "a.b.z": 2}

    def test_below_a_leaf_is_its_value(self) -> None:
        assert flatten({"a": {"x": {"k": {"l": 1}}}}, LEAVES) == {"a.x": {"k": {"l": 1}}}

    @pytest.mark.parametrize("nothing", [None, {}])
    def test_an_empty_section_is_nothing(self, nothing: Any) -> None:
        assert flatten({"a": nothing}, LEAVES) == {}
        assert flatten({"a": {"b": nothing}}, LEAVES) == {}

    def test_what_is_in_the_wrong_place_is_kept_to_be_complained_of(self) -> None:
        tree = {"a": 3, "d": {}, "e": {"f": 1}, "g": None}
        assert flatten(tree, LEAVES) == {"a": 3, "d": {}, "e.f": 1, "g": None}

    def test_keys_of_other_types_become_text(self) -> None:
        assert flatten({True: 1, "a": {2: 3}}, LEAVES) == {"True": 1, "a.2": 3}  # type: ignore[dict-item]

    def test_sections_are_all_parts_of_paths(self) -> None:
        assert sections_of(LEAVES) == {"a", "a.b"}


class TestNearest:
    KNOWN = ("server.port", "server.host", "audio.sample_rate", "audio_output.sample_rate")

    def test_finds_a_slip_of_the_fingers(self) -> None:
        assert nearest("server.prot", self.KNOWN) == "server.port"

    def test_prefers_the_key_in_another_section(self) -> None:
        assert nearest("http.port", self.KNOWN) == "server.port"
        assert nearest("audio_out.sample_rate", self.KNOWN) == "audio_output.sample_rate"

    def test_says_nothing_rather_than_anything(self) -> None:
        assert nearest("colour", self.KNOWN) is None
