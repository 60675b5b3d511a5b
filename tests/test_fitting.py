"""What plainly fits a schema is told without jsonschema and Arrow, and never otherwise than they tell it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.catalogue import find, names
from schemas.errors import InvalidOutput
from schemas.fitting import glance_of
from schemas.output import Output
from schemas.task import View

KEYS = ("a", "b", "c")
EDGES = (2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400, 1e300)
NUMBERS = st.sampled_from([*EDGES, 0, 1, 2, -1, 1.0, 0.5, float("nan"), float("inf"), True, False])
TEXTS = st.sampled_from(["", "a", "ab", "é", "𐌀", "\ud800", "a\udfff", "abc"])
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "d"]), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    kinds = ["string", "integer", "number", "boolean", *(["object", "array"] if depth else [])]
    kind = draw(st.sampled_from(kinds))
    schema: dict[str, Any] = {"type": draw(st.sampled_from([kind, [kind, "null"], ["null", kind]]))}
    # a keyword of another type says nothing there, and one that is not known at a glance may say anything
    limits = {
        **dict.fromkeys(
            ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.sampled_from([-1, 0, 0.5, 1])
        ),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), st.integers(0, 2)),
        "enum": st.lists(st.none() | TEXTS | NUMBERS.filter(lambda number: number == number), max_size=3),
        "not": st.just({"const": "a"}),
        "uniqueItems": st.just(True),
    }
    for name in draw(st.lists(st.sampled_from(sorted(limits)), max_size=2, unique=True)):
        schema[name] = draw(limits[name])
    if kind == "object":
        names = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
        schema["properties"] = {name: draw(schemas(depth - 1)) for name in names}
        schema["required"] = draw(st.lists(st.sampled_from(KEYS), unique=True))
        schema["additionalProperties"] = draw(st.booleans())
    if kind == "array":
        schema["items"] = draw(schemas(depth - 1))
    return schema


def near(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit, or nearly."""
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    (kind,) = {*kinds} - {"null"}
    match kind:
        case "object":
            some = st.fixed_dictionaries({}, optional={key: near(sub) for key, sub in schema["properties"].items()})
            every = st.fixed_dictionaries({key: near(sub) for key, sub in schema["properties"].items()})
            inner: st.SearchStrategy[Any] = every | some
        case "array":
            inner = st.lists(near(schema["items"]), max_size=3)
        case "string":
            inner = TEXTS
        case "boolean":
            inner = st.booleans()
        case _:
            inner = NUMBERS
    return st.one_of(inner, inner, inner, st.none(), VALUES)


def without_glance(schema: dict[str, Any]) -> Output:
    output = Output(schema)
    output.__dict__["_glance"] = lambda _: False
    return output


def verdict(of: Output, value: Any) -> str | None:
    try:
        assert of.check(value) is value
    except InvalidOutput as error:
        return str(error)
    return None


@settings(deadline=None)
@given(st.data())
def test_a_glance_says_what_both_say(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    value = data.draw(near(schema))
    assert verdict(Output(schema), value) == verdict(without_glance(schema), value)


@pytest.mark.parametrize("kind", ["string", "integer", "number", "boolean"])
def test_so_it_does_at_the_edges_of_scalars(kind: str) -> None:
    for value in (*EDGES, 1, 1.0, 0.5, float("nan"), float("inf"), True, None, "a", "é", "\ud800", b"a", {}, []):
        assert verdict(Output({"type": kind}), value) == verdict(without_glance({"type": kind}), value), repr(value)


@pytest.mark.parametrize("name", names())
def test_the_schema_of_each_task_is_told_at_a_glance(name: str) -> None:
    assert glance_of(find(name).output.schema) is not None


def test_what_plainly_fits_is_not_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    task = find("parse_document")
    page = '<h1 data-bbox="1 2 3 4">Prices</h1><table data-bbox="5 6 7 8"><tr><td>Adults</td><td>$7</td></tr></table>'
    blocks = task.parse(page, View("page", 0, 640, 960)).value
    output = Output(task.output.schema)
    monkeypatch.setattr("schemas.output._VALIDATOR", None)
    monkeypatch.setattr("schemas.output.pa.array", None)
    assert [block["type"] for block in blocks["blocks"]] == ["heading", "table"]
    assert output.check(blocks) is blocks
