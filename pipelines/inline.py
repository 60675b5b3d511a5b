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

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def inline_task(spec: TaskSpec) -> Task:
    """Raises SpecError for a schema that has no one Parquet type, a missing prompt or a name that is no folder's."""
    assert spec.output is not None
    if not _NAME.fullmatch(spec.name):
        raise SpecError(f"tasks: {spec.name!r} cannot name a task: use letters, digits, _ and -")
    if spec.prompt is None:
        raise SpecError(f"tasks: {spec.name}: a task with an `output:` of its own needs a `prompt:`")
    if spec.output.get("type") not in ("object", "array"):
        raise SpecError(f"tasks: {spec.name}: output: the answer is an object or an array, say `type: object`")
    output = output_of(spec.name, spec.output)
    schema = json.dumps(spec.output, ensure_ascii=False)
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
        raise InvalidOutput(f"the reply holds no JSON {schema['type']}")
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
            return _number(value, whole="number" not in kinds)
    return value


def _number(text: str, *, whole: bool) -> Any:
    try:
        number = float(text.strip().replace(",", "") if re.fullmatch(r"\s*\d{1,3}(,\d{3})+(\.\d+)?\s*", text) else text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if whole and number.is_integer() else text if whole else number
