"""Places in a picture or in space in the many forms that models write them: lists, texts, corners, named sides.

`places_of` gives them in one: four numbers x0, y0, x1, y1, two x, y, or nine x, y, z, sizes and turns. Knows nothing of
scales and pictures.
"""

from __future__ import annotations

import re
from typing import Any

from pipelines.replies.boxes import numbers

_NUMBERS_ONLY = re.compile(r"[\s\d.,;:+\-eE()\[\]<>|]{1,400}")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_MOST_CORNERS = 64
_DEEPEST = 3

_EDGES = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("xstart", "ystart", "xend", "yend"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_SIZED = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_CENTERED = (
    ("cx", "cy", "w", "h"),
    ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"),
)
_CORNERS = (("topleft", "bottomright"), ("min", "max"), ("start", "end"))
_POINTS = (("x", "y"), ("cx", "cy"), ("xcenter", "ycenter"), ("centerx", "centery"), ("xcoordinate", "ycoordinate"))
_CENTERS = ("center", "position", "location", "centerm", "translation", "centroid")
_SIZES = ("size", "dimensions", "dimension", "extent", "scale", "sizem")
_TURNS = ("rotation", "orientation", "angles", "rotationeuler", "euler", "eulerangles", "rotations")
_NAMES_3D = (
    ("xcenter", "ycenter", "zcenter", "xsize", "ysize", "zsize", "roll", "pitch", "yaw"),
    ("x", "y", "z", "xsize", "ysize", "zsize", "roll", "pitch", "yaw"),
)
_INSIDE_3D = (
    ("x", "y", "z"), ("xsize", "ysize", "zsize"), ("roll", "pitch", "yaw"), ("xcenter", "ycenter", "zcenter"),
    ("width", "height", "depth"), ("width", "height", "length"),
)  # fmt: skip


def places_of(value: Any, count: int, depth: int = 0) -> list[list[float]]:
    """Those that a value names; none for what is no place. count: 4 for boxes, 2 for points, 9 for boxes in space.

    Of several corners the rectangle around them; a list of places is all of them or none.
    """
    if isinstance(value, str):
        value = _in_text(value)
        depth = max(depth, _DEEPEST - 1)
    if isinstance(value, dict):
        place = named_place(value, count)
        return [] if place is None else [place]
    if not isinstance(value, (list, tuple)) or not value:
        return []
    if (plain := numbers(value, count)) is not None:
        return [list(plain)]
    if count == 9 and len(value) == 3 and all(numbers(part, 3) for part in value):
        return [[side for part in value for side in numbers(part, 3) or ()]]
    if count == 4 and (around := _around(value)) is not None:
        return [around]
    if depth >= _DEEPEST:
        return []
    inner = [places_of(part, count, depth + 1) if isinstance(part, (list, tuple, dict, str)) else [] for part in value]
    return [place for places in inner for place in places] if all(inner) else []


def named_place(value: dict[str, Any], count: int) -> list[float] | None:
    """Of an object that names its sides: x1 and y2, left and width, top_left, center and size."""
    sides = {re.sub(r"[\s_-]", "", key.lower()): side for key, side in value.items() if isinstance(key, str)}
    match count:
        case 2:
            return next((list(pair) for names in _POINTS if (pair := _named(sides, names))), None)
        case 9:
            return _named_in_space(sides)
        case _:
            return _named_box(sides)


def _named_box(sides: dict[str, Any]) -> list[float] | None:
    for names in _EDGES:
        if box := _named(sides, names):
            return list(box)
    for names in _SIZED:
        if box := _named(sides, names):
            x, y, width, height = box
            return [x, y, x + width, y + height]
    for names in _CENTERED:
        if box := _named(sides, names):
            x, y, width, height = box
            return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    for first, last in _CORNERS:
        corners = [places_of(sides.get(name), 2) for name in (first, last)]
        if all(len(corner) == 1 for corner in corners):
            return [*corners[0][0], *corners[1][0]]
    return None


def _named_in_space(sides: dict[str, Any]) -> list[float] | None:
    for names in _NAMES_3D:
        if box := _named(sides, names):
            return list(box)
    parts: list[float] = []
    for keys, inside in ((_CENTERS, (0, 3)), (_SIZES, (1, 0, 4, 5)), (_TURNS, (2, 0))):
        value = next((sides[key] for key in keys if key in sides), None)
        if isinstance(value, dict):
            axes = {re.sub(r"[\s_-]", "", str(key).lower()): side for key, side in value.items()}
            three = next((triple for place in inside if (triple := _named(axes, _INSIDE_3D[place]))), None)
        else:
            three = numbers(value, 3)
            if three is None and keys is _TURNS:
                three = _named(sides, ("roll", "pitch", "yaw"))
        if three is None:
            return None
        parts += three
    return parts


def _named(sides: dict[str, Any], names: tuple[str, ...]) -> tuple[float, ...] | None:
    return numbers([sides[name] for name in names], len(names)) if all(name in sides for name in names) else None


def _in_text(text: str) -> Any:
    """The numbers of a text that holds nothing else; parted where brackets part them."""
    if _NUMBERS_ONLY.fullmatch(text) is None:
        return None
    groups = [_NUMBER.findall(group) for group in re.split(r"[)\]>]+", text)]
    groups = [group for group in groups if group]
    return groups if len(groups) > 1 else groups[0] if groups else None


def _around(value: list[Any] | tuple[Any, ...]) -> list[float] | None:
    """The rectangle around corners: pairs, or eight numbers of four corners."""
    if len(value) == 8 and (flat := numbers(value, 8)) is not None:
        corners: list[tuple[float, ...]] = [flat[place : place + 2] for place in range(0, 8, 2)]
    elif 2 <= len(value) <= _MOST_CORNERS:
        pairs = [numbers(part, 2) if not isinstance(part, str) else None for part in value]
        pairs = [
            pair if pair is not None or not isinstance(part, dict) else _point(part)
            for pair, part in zip(pairs, value, strict=True)
        ]
        corners = [pair for pair in pairs if pair is not None]
        if len(corners) < len(value):
            return None
    else:
        return None
    xs, ys = zip(*corners, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


def _point(value: dict[str, Any]) -> tuple[float, ...] | None:
    place = named_place(value, 2)
    return None if place is None else tuple(place)
