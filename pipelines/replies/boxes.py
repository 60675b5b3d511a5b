"""From the model's coordinates to pixels of the original picture: a 0-1000 scale, x first.

The model's cookbooks are not uniform: grounding and documents count to 1000, text spotting to 999
(docs/facts/qwen3-vl.md §2). Mixing them up costs a thousandth of a side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SLACK = 15
"""Units of the scale by which a coordinate may lie outside and is taken for the edge; beyond it is nonsense."""


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """That many finite numbers from a list of numbers (or of their texts), or from one text of them; else None."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    finite = []
    for item in value:
        try:
            number = math.nan if isinstance(item, (bool, list, dict)) or item is None else float(item)
        except (ValueError, OverflowError):
            return None
        if not math.isfinite(number):
            return None
        finite.append(number)
    return tuple(finite)


def bbox_px(value: Any, width_px: int, height_px: int, *, scale: float = 1000) -> list[float] | None:
    """[x0, y0, x1, y1] in pixels of the original, corners put in order, within the picture.

    value: four numbers on the scale 0..scale. None for what is no box, or lies more than SLACK outside.
    """
    sides = numbers(value, 4)
    if sides is None or any(not -SLACK <= side <= 1000 + SLACK for side in sides):
        return None
    scale = 1 if _are_shares(sides) else scale
    x0, x1 = sorted(_px(side, width_px, scale) for side in sides[0::2])
    y0, y1 = sorted(_px(side, height_px, scale) for side in sides[1::2])
    return [x0, y0, x1, y1]


def point_px(value: Any, width_px: int, height_px: int, *, scale: float = 1000) -> list[float] | None:
    """[x, y] in pixels of the original, within the picture; None as for bbox_px. value: two numbers on the scale."""
    pair = numbers(value, 2)
    if pair is None or any(not -SLACK <= side <= 1000 + SLACK for side in pair):
        return None
    scale = 1 if _are_shares(pair) else scale
    return [_px(pair[0], width_px, scale), _px(pair[1], height_px, scale)]


def _are_shares(sides: tuple[float, ...]) -> bool:
    """Whether they count to 1, as other models do: on the usual scale it would be a corner of a thousandth."""
    return all(0 <= side <= 1 for side in sides) and not all(side.is_integer() for side in sides)


def scale_of(boxes: Sequence[Any], usual: float) -> float:
    """1000 where any coordinate is beyond 999, else what the task's cookbook counts to."""
    return 1000 if any(max(sides, default=0) > 999 for box in boxes if (sides := numbers(box, 4))) else usual


def _px(value: float, side_px: int, scale: float) -> float:
    return min(max(value / scale, 0.0), 1.0) * side_px
