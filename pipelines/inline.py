"""A task that a spec writes itself: a prompt and a JSON Schema, in YAML. The schema constrains decoding where the
engine can, checks the answer, and is the type of the Parquet column. Knows nothing of YAML.
"""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any

from pipelines.replies.elements import read_cut_object, read_elements, read_value
from schemas.errors import InvalidOutput, SpecError
from schemas.output import Output
from schemas.spec import TaskSpec
from schemas.task import ParsedReply, Task, View

DECIMALS = (".", ",")
_AMOUNT = re.compile(
    r"(?:[€$£¥]|[A-Z]{3}\b)?\s?([+-]?\d{1,3}(?:([.,'’\s])\d{3})(?:\2\d{3})*(?:[.,]\d+)?|[+-]?\d+(?:[.,]\d+)?)\s?(?:[€$£¥]|[A-Z]{3})?"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def inline_task(spec: TaskSpec) -> Task:
    """Raises SpecError for a schema that has no one Parquet type, a missing prompt or a name that is no folder's.

    A number of the schema may say `decimal: ","`: how it is written on the page. Only the parser is told."""
    assert spec.output is not None
    if not _NAME.fullmatch(spec.name):
        raise SpecError(f"tasks: {spec.name!r} cannot name a task: use letters, digits, _ and -")
    if spec.prompt is None:
        raise SpecError(f"tasks: {spec.name}: a task with an `output:` of its own needs a `prompt:`")
    if spec.output.get("type") not in ("object", "array"):
        raise SpecError(f"tasks: {spec.name}: output: the answer is an object or an array, say `type: object`")
    shape = _without_hints(spec.output, f"tasks: {spec.name}: output")
    output = output_of(spec.name, shape)
    schema = json.dumps(shape, ensure_ascii=False)
    # doubled braces stay as they are; the prompt has the schema even where decoding is constrained: answers are better
    schema_text = re.sub(r"\{([A-Za-z_]\w*)\}", r"{{\1}}", schema)
    return Task(
        name=spec.name,
        summary="of this spec",
        unit_kinds=spec.units or ("page", "image", "clip"),
        prompt=f"{spec.prompt}\n\nAnswer with JSON that fits this JSON Schema, and nothing else:\n{schema_text}",
        output=output,
        parse=partial(parse, spec.output),
        constrained=True,
    )


def output_of(name: str, schema: dict[str, Any]) -> Output:
    from jsonschema.exceptions import SchemaError

    try:
        return Output(schema)
    except SchemaError as error:
        raise SpecError(f"tasks: {name}: output: not a JSON Schema: {error.message}") from error
    except SpecError as error:
        raise SpecError(f"tasks: {name}: {error}") from error


def parse(schema: dict[str, Any], text: str, view: View) -> ParsedReply:  # noqa: ARG001
    """The reply's JSON value; of one that is cut off, what is whole. The schema has the last word."""
    if schema["type"] == "array" and (keys := schema["items"].get("properties")):
        elements = read_elements(text, tuple(keys))
        if elements.has_list:
            return ParsedReply(fitted(list(elements.values), schema), elements.dropped, elements.cut)
    value, cut = read_value(text, "{" if schema["type"] == "object" else "["), False
    if value is None and schema["type"] == "object":
        value, cut = read_cut_object(text), True
    if value is None:
        opening = "{" if schema["type"] == "object" else "["
        begun = opening in text and "}]"["{[".index(opening)] not in text.rpartition(opening)[2]
        raise InvalidOutput(
            f"the reply is cut off before its JSON {schema['type']} ends"
            if begun
            else f"the reply holds no JSON {schema['type']}"
        )
    return ParsedReply(fitted(value, schema), cut=cut)


def fitted(value: Any, schema: dict[str, Any]) -> Any:
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    match value:
        case dict() if "object" in kinds:
            properties = schema.get("properties", {})
            known = {key: fitted(sub, properties[key]) for key, sub in value.items() if key in properties}
            # a Parquet struct has every field: what may be null and is missing is null
            nullable = {key for key, sub in properties.items() if "null" in (sub.get("type") or ())}
            return {**dict.fromkeys(nullable - known.keys()), **known}
        case list() if "array" in kinds:
            return [fitted(sub, schema["items"]) for sub in value]
        case str() if "string" not in kinds and ("number" in kinds or "integer" in kinds):
            return _number(value, whole="number" not in kinds, decimal=schema.get("decimal"))
    return value


def _without_hints(schema: Any, place: str) -> Any:
    """What engines, checks and Parquet are told: a schema without `decimal`. Raises SpecError."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("decimal", ".") not in DECIMALS:
        raise SpecError(f'{place}: decimal: write "." or ",", the mark before the fraction of a number')
    plain = {key: value for key, value in schema.items() if key != "decimal"}
    if isinstance(properties := plain.get("properties"), dict):
        plain["properties"] = {key: _without_hints(sub, f"{place}.{key}") for key, sub in properties.items()}
    if "items" in plain:
        plain["items"] = _without_hints(plain["items"], f"{place}[]")
    return plain


def _number(text: str, *, whole: bool, decimal: str | None) -> Any:
    """The number that a text is in any locale: `1,295.00`, `1.295,00`, `1 295,00 €`. Where one mark stands before
    three digits, it parts thousands if it is a comma, unless `decimal` says otherwise. Else the text."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return _float(text, text, whole=whole)
    digits = re.sub(r"['’\s]", "", match[1])
    marks = re.sub(r"[^.,]", "", digits)
    mark = decimal or "."
    if decimal is None and marks:
        last = marks[-1]
        in_thousands = len(digits.rpartition(last)[2]) == 3 and (marks.count(last) > 1 or marks == ",")
        mark = ".,".replace(last, "") if in_thousands else last
    before, _, fraction = digits.partition(mark)
    first, *thousands = before.split(".,".replace(mark, ""))
    if any(len(group) != 3 for group in thousands) or (fraction and not fraction.isdecimal()):
        return text
    return _float(f"{first}{''.join(thousands)}.{fraction}", text, whole=whole)


def _float(digits: str, text: str, *, whole: bool) -> Any:
    try:
        number = float(digits)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if whole and number.is_integer() else text if whole else number
