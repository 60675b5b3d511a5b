"""The shape of an answer, declared once as a JSON Schema and used three times: to constrain decoding, to
check the answer, and as the type of its Parquet column. Knows nothing of prompts or engines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from functools import cached_property
from typing import Any, NoReturn

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InvalidOutput, SpecError
from schemas.fitting import Glance, glance_of

_SCALARS = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LONGEST_FLOAT = 800
"""Digits of a decimal that any float is, written out."""
_DIGITS = 38
"""Of a decimal, before and after its point."""

TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}


def record(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties, all of them and no others: what may be missing is nullable."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


_REFUSED = ("$ref", "$dynamicRef", "$recursiveRef", "patternProperties")
_VALUES = ("enum", "const", "default", "examples")
"""Keywords whose values are no schemas."""


def _refuse(schema: Any, place: str) -> None:
    """Raises SpecError for what could turn in a circle, fetch something, or take for ever on a model's reply."""
    if isinstance(schema, list):
        for inner in schema:
            _refuse(inner, place)
    if not isinstance(schema, dict):
        return
    if refused := [keyword for keyword in _REFUSED if keyword in schema]:
        raise SpecError(f"output schema, {place}: {refused[0]} is not followed; write it out")
    if isinstance(pattern := schema.get("pattern"), str):
        try:
            _matches(pattern, "")
        except pa.ArrowInvalid as error:
            raise SpecError(f"output schema, {place}: pattern: {error}") from error
    for keyword, inner in schema.items():
        if keyword in ("properties", "$defs", "definitions", "dependentSchemas") and isinstance(inner, dict):
            for name, sub in inner.items():
                _refuse(sub, f"{place}.{name}")
        elif keyword not in _VALUES:
            _refuse(inner, place)


def _matches(pattern: str, text: str) -> bool:
    """Raises ArrowInvalid for a pattern that RE2 does not take."""
    return bool(pc.match_substring_regex(pa.array([text], pa.string()), pattern)[0].as_py())


def _pattern(
    validator: Any,
    pattern: str,
    instance: Any,
    schema: Any,  # noqa: ARG001  as jsonschema calls it
) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance.encode("utf-8", "replace").decode()):
        yield jsonschema.ValidationError(f"{instance[:100]!r} does not match {pattern!r}")


def _multiple_of(
    validator: Any,
    step: float,
    instance: Any,
    schema: Any,  # noqa: ARG001  as jsonschema calls it
) -> Iterator[jsonschema.ValidationError]:
    """Of decimal numbers as they are written: 19.99 is a multiple of 0.01, though no float is."""
    if not validator.is_type(instance, "number") or not math.isfinite(instance):
        return
    with localcontext() as context:
        context.prec = _LONGEST_FLOAT
        if Decimal(repr(instance)) % Decimal(repr(step)):
            yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {step!r}")


_extend: Any = jsonschema.validators.extend  # it has no types
_VALIDATOR = _extend(jsonschema.Draft202012Validator, {"pattern": _pattern, "multipleOf": _multiple_of})


@dataclass(frozen=True)
class Output:
    """A JSON Schema of the subset that has one Parquet type: object with properties, array with items, string
    (also enum of strings), integer, number, boolean; each may be nullable through ["…", "null"]. A string with
    `format: date` is a date, a number with `multipleOf: 0.01` a decimal of two places (0.1, 0.001 and so on likewise).
    It refers to nothing outside itself, and its patterns are RE2's, whose time is linear in the text.

    Raises SpecError where the schema leaves that subset.
    """

    schema: dict[str, Any]

    def __post_init__(self) -> None:
        jsonschema.Draft202012Validator.check_schema(self.schema)
        _refuse(self.schema, "$")
        _ = self.arrow_type

    @cached_property
    def arrow_type(self) -> pa.DataType:
        return _arrow_type(self.schema, "$")

    @cached_property
    def _has_other_types(self) -> bool:
        """Than JSON has: dates, decimals."""
        return _has_other_types(self.arrow_type)

    @cached_property
    def _validator(self) -> Any:
        return _VALIDATOR(self.schema)

    @cached_property
    def _glance(self) -> Glance:
        return glance_of(self.schema) or (lambda _: False)

    def check(self, value: Any) -> Any:
        """Return the value, with dates and decimals as such, when it fits both the schema and the Arrow type; else
        InvalidOutput says where.

        Both are asked, because each lets through what the other refuses: 10**400 and a lone surrogate are
        valid JSON and no Arrow value. Of what plainly fits, which takes either many times as long, none is.
        """
        if self._glance(value):
            return value
        fault = next(iter(self._validator.iter_errors(value)), None)
        if fault is not None:
            raise InvalidOutput(f"{fault.json_path}: {fault.message[:300]}")
        if (place := _not_finite(value, "$")) is not None:
            raise InvalidOutput(f"{place}: not a finite number")
        if self._has_other_types:
            value = _as_stored(self.schema, value, "$")
        try:
            pa.array([value], type=self.arrow_type)
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError) as error:
            raise InvalidOutput(f"$: does not fit {self.arrow_type}: {error}") from error
        return value


def _arrow_type(schema: dict[str, Any], place: str) -> pa.DataType:
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else list(kinds or ())
    named = [name for name in names if name != "null"]
    if len(named) != 1:
        raise SpecError(f"output schema, {place}: give one type (or one and null), not {kinds!r}")
    match named[0]:
        case "object":
            properties = schema.get("properties")
            if not properties:
                raise SpecError(f"output schema, {place}: an object needs its properties named")
            return pa.struct([(key, _arrow_type(sub, f"{place}.{key}")) for key, sub in properties.items()])
        case "array":
            if not isinstance(schema.get("items"), dict):
                raise SpecError(f"output schema, {place}: an array needs the schema of its items")
            return pa.list_(_arrow_type(schema["items"], f"{place}[]"))
        case "string" if schema.get("format") == "date":
            return pa.date32()
        case "number" if (places := _decimal_places(schema)) is not None:
            return pa.decimal128(_DIGITS, places)
        case scalar if scalar in _SCALARS:
            return _SCALARS[scalar]
        case other:
            raise SpecError(f"output schema, {place}: no Parquet type for {other!r}")


def _decimal_places(schema: dict[str, Any]) -> int | None:
    """Of a number that is a multiple of 0.1, 0.01 and so on; None for another."""
    step = schema.get("multipleOf")
    if not isinstance(step, float) or not 0 < step < 1:
        return None
    _, digits, exponent = Decimal(repr(step)).normalize().as_tuple()
    assert isinstance(exponent, int)  # it is finite
    return -exponent if digits == (1,) and -exponent < _DIGITS else None


def _has_other_types(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) or pa.types.is_list(kind):
        return any(_has_other_types(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_date32(kind) or pa.types.is_decimal128(kind))


def _as_stored(schema: dict[str, Any], value: Any, place: str) -> Any:
    """A value that fits the schema, as Arrow takes it. Raises InvalidOutput."""
    match value:
        case dict():
            known = schema.get("properties", {})
            return {key: _as_stored(known.get(key, {}), sub, f"{place}.{key}") for key, sub in value.items()}
        case list():
            items = schema.get("items", {})
            return [_as_stored(items, sub, f"{place}[{index}]") for index, sub in enumerate(value)]
        case str() if schema.get("format") == "date":
            try:
                return date.fromisoformat(value) if _DATE.fullmatch(value) else _no_date(value, place)
            except ValueError:
                _no_date(value, place)
        case int() | float() if not isinstance(value, bool) and (places := _decimal_places(schema)) is not None:
            with localcontext() as context:
                context.prec = _LONGEST_FLOAT
                return Decimal(repr(value)).quantize(Decimal(1).scaleb(-places))
    return value


def _no_date(value: str, place: str) -> NoReturn:
    raise InvalidOutput(f"{place}: {value[:40]!r} is no date (YYYY-MM-DD)")


def _not_finite(value: Any, place: str) -> str | None:
    match value:
        case float():
            return None if math.isfinite(value) else place
        case dict():
            places = (_not_finite(sub, f"{place}.{key}") for key, sub in value.items())
        case list():
            places = (_not_finite(sub, f"{place}[{index}]") for index, sub in enumerate(value))
        case _:
            return None
    return next((place for place in places if place is not None), None)
