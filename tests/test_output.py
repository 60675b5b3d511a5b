"""One JSON Schema, three uses: what it accepts must also fit Arrow, and the other way round."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidOutput, SpecError
from schemas.output import Output

BOXES = Output(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "score": {"type": ["number", "null"]},
                "count": {"type": "integer"},
            },
            "required": ["label", "count"],
        },
    }
)


def test_the_arrow_type_follows_the_schema() -> None:
    assert BOXES.arrow_type == pa.list_(
        pa.struct([("label", pa.string()), ("score", pa.float64()), ("count", pa.int64())])
    )


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([{"label": "a", "count": 10**400}], "does not fit"),
        ([{"label": "\ud800", "count": 1}], "does not fit"),
        ([{"label": "a", "count": 1, "score": math.nan}], "not a finite number"),
        ([{"label": 1, "count": 1}], r"\$\[0\].label: 1 is not of type 'string'"),
        ({"label": "a"}, "is not of type 'array'"),
    ],
)
def test_what_either_side_refuses_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(InvalidOutput, match=sentence):
        BOXES.check(value)


@pytest.mark.parametrize(
    "schema",
    [{}, {"type": "object"}, {"type": "array"}, {"type": ["string", "integer"]}, {"type": "null"}],
)
def test_a_schema_without_one_parquet_type_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="output schema"):
        Output(schema)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["label", "count", "score"]), inner),
    max_leaves=8,
)


@given(json_values)
def test_whatever_comes_is_either_refused_or_an_arrow_value(value: Any) -> None:
    try:
        kept = BOXES.check(value)
    except InvalidOutput:
        return
    assert pa.array([kept], BOXES.arrow_type).type == BOXES.arrow_type
