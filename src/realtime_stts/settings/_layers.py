"""PURE: several sources of values, of which the last one that has a value counts.

A layer is a flat mapping of paths, such as ``server.port``, to values. Lists, and mappings
that are themselves an option's value, are replaced whole and never merged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

__all__ = ["LAYERS", "Layer", "Layers", "flatten", "nearest", "nest", "sections_of"]

Layer = Literal["file", "profile", "environment", "runtime"]

LAYERS: tuple[Layer, ...] = ("file", "profile", "environment", "runtime")
"""From the weakest to the strongest; the defaults are below them all."""

_Flat = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layers:
    """All layers above the defaults: an immutable value."""

    values: Mapping[Layer, _Flat] = field(default_factory=dict)

    def __getitem__(self, layer: Layer) -> _Flat:
        return self.values.get(layer, {})

    def having(self, layer: Layer, values: _Flat) -> Layers:
        """The same with other values in one layer."""
        return replace(self, values={**self.values, layer: dict(values)})

    def merged(self) -> dict[str, Any]:
        """The values that count."""
        whole: dict[str, Any] = {}
        for layer in LAYERS:
            whole.update(self[layer])
        return whole

    def holding(self, path: str) -> tuple[Layer, ...]:
        """The layers that have a value for ``path``, the one that counts first."""
        return tuple(layer for layer in reversed(LAYERS) if path in self[layer])


def flatten(tree: Mapping[str, Any], leaves: Collection[str], prefix: str = "") -> dict[str, Any]:
    """A tree as paths and values. Keys may be paths themselves: ``{"server.port": 8004}``.

    What is below a leaf is its value. An empty section, which YAML reads as None, is nothing.
    """
    return dict(_flatten(tree, leaves, sections_of(leaves), prefix))


def sections_of(leaves: Iterable[str]) -> frozenset[str]:
    """The paths of all sections, those within others too."""
    return frozenset(leaf[:n] for leaf in leaves for n, each in enumerate(leaf) if each == ".")


def _flatten(
    tree: Mapping[str, Any], leaves: Collection[str], sections: Collection[str], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in leaves or not isinstance(value, Mapping) or not value:
            if path not in sections or value not in (None, {}):
                yield path, value
        else:
            yield from _flatten(value, leaves, sections, f"{path}.")


def nest(flat: _Flat) -> dict[str, Any]:
    """The tree again. No path may be a section of another one."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *sections, key = path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return tree


def nearest(path: str, known: Iterable[str]) -> str | None:
    """The known path that was most likely meant."""
    known = [*known]
    # A key in the wrong section is as likely as a slip of the fingers.
    same_key = [each for each in known if each.rpartition(".")[2] == path.rpartition(".")[2]]
    found = get_close_matches(path, same_key or known, n=1, cutoff=0.3 if same_key else 0.75)
    return found[0] if found else None
