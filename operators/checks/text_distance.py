"""How far two texts are from each other, whatever they are. Pure."""

from __future__ import annotations

from rapidfuzz.distance import Indel

_LONGEST = 20_000
"""Characters that are compared; the time grows with the square of them."""


def text_distance(one: str, other: str) -> float:
    """0 for equal texts, 1 for texts without a letter in common: what is left out and put in, of both lengths."""
    if one == other:
        return 0.0
    return max(1e-6, float(Indel.normalized_distance(one[:_LONGEST], other[:_LONGEST])))
