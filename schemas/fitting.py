"""Tells at a glance that a value fits an output schema, where it is of the plain kind that nearly every answer is. Its
no is no verdict: whoever wants one asks jsonschema and Arrow. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Glance: TypeAlias = Callable[[Any], bool]

_INT64 = 1 << 63
_WHOLE_IN_FLOAT = 1 << 53
"""Arrow takes no larger integer for a number."""
_KNOWN = frozenset(
    [
        *("type", "enum", "properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
        *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("title", "description", "default", "examples", "$comment"),
    ]
)


def glance_of(schema: Mapping[str, Any]) -> Glance | None:
    """True only for what jsonschema and the Arrow type of the schema both take. schema: of schemas.output.Output. None
    where it has a keyword that is not known here."""
    if not schema.keys() <= _KNOWN:
        return None
    kinds = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    (kind,) = (kind for kind in kinds if kind != "null")
    if "enum" in schema and kind != "string":  # 1 is 1.0 there
        return None
    glance = _GLANCES[kind](schema)
    if glance is None or "null" not in kinds:
        return glance
    if None not in schema.get("enum", (None,)):
        return glance
    return lambda value: value is None or glance(value)


def _object(schema: Mapping[str, Any]) -> Glance | None:
    glances: dict[str, Glance] = {}
    for key, inner in schema["properties"].items():
        glance = glance_of(inner)
        if glance is None:
            return None
        glances[key] = glance
    required = frozenset(schema.get("required", ()))

    def fits(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys() <= glances.keys():
            return False
        return all(glances[key](item) for key, item in value.items())

    return fits


def _array(schema: Mapping[str, Any]) -> Glance | None:
    glance = glance_of(schema["items"])
    if glance is None:
        return None
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(glance, value))


def _string(schema: Mapping[str, Any]) -> Glance:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    chosen = frozenset(item for item in schema["enum"] if type(item) is str) if "enum" in schema else None

    def fits(value: Any) -> bool:
        if type(value) is not str or not least <= len(value) <= most:
            return False
        return (chosen is None or value in chosen) and (value.isascii() or _is_unicode(value))

    return fits


def _is_unicode(text: str) -> bool:
    """No lone surrogate is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(schema: Mapping[str, Any]) -> Glance:
    in_bounds = _bounds(schema)
    return lambda value: type(value) is int and -_INT64 <= value < _INT64 and in_bounds(value)


def _number(schema: Mapping[str, Any]) -> Glance:
    in_bounds = _bounds(schema)

    def fits(value: Any) -> bool:
        is_plain = (
            math.isfinite(value) if type(value) is float else type(value) is int and abs(value) <= _WHOLE_IN_FLOAT
        )
        return is_plain and in_bounds(value)

    return fits


def _bounds(schema: Mapping[str, Any]) -> Glance:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    return lambda value: least <= value <= most and above < value < below


def _boolean(schema: Mapping[str, Any]) -> Glance:  # noqa: ARG001  as its neighbors
    return lambda value: type(value) is bool


_GLANCES: dict[str, Callable[[Mapping[str, Any]], Glance | None]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
