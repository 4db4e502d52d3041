"""PURE: who is computed for next: the one whose listener runs out of sound first.

Earliest deadline first. Those who have no sound yet are due since they came, so they go
before all who have some left to play. A step of tokens serves everybody who wants one, and
comes when the most urgent one can do nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Claim", "Turn", "next_turn"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What could be done for one call.

    Attributes:
        due: When its listener has nothing more to hear; seconds on any clock.
        renders: Whether there are tokens enough to make sound of.
        speaks: Whether there are more tokens to come.
    """

    due: float
    renders: bool
    speaks: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do: a step of rendering for one, by its place, or of tokens for all (None)."""

    render: int | None


def next_turn(claims: Sequence[Claim]) -> Turn | None:
    """None if there is nothing to do for anybody."""
    able = [i for i, claim in enumerate(claims) if claim.renders or claim.speaks]
    if not able:
        return None
    first = min(able, key=lambda i: claims[i].due)
    return Turn(first if claims[first].renders else None)
