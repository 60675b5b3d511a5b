"""One JSON Schema, three uses: what it accepts must also fit Arrow, and the other way round."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidOutput, SpecError
from schemas.output import Output, list_of, record

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


@given(st.dates(), st.decimals(-(10**12), 10**12, places=2))
def test_dates_and_decimals_are_of_arrow(day: datetime.date, sum_: Decimal) -> None:
    """As a JSON reply writes them; what comes out of Parquet is the same value."""
    schema = record(day={"type": "string", "format": "date"}, sums=list_of({"type": "number", "multipleOf": 0.01}))
    output = Output(schema)
    assert output.arrow_type == pa.struct([("day", pa.date32()), ("sums", pa.list_(pa.decimal128(38, 2)))])
    value = output.check(json.loads(json.dumps({"day": day.isoformat(), "sums": [float(sum_), 7]})))
    assert pa.array([value], output.arrow_type).to_pylist() == [{"day": day, "sums": [sum_, Decimal("7.00")]}]


def test_what_is_no_date_or_decimal() -> None:
    output = Output(
        record(day={"type": ["string", "null"], "format": "date"}, sum={"type": "number", "multipleOf": 0.1})
    )
    assert output.check({"day": None, "sum": 0.3}) == {"day": None, "sum": Decimal("0.3")}
    for day in ("2024-13-01", "20240305", "5 March 2024", "2024-W10-2"):
        with pytest.raises(InvalidOutput, match=r"^\$\.day: .* is no date \(YYYY-MM-DD\)$"):
            output.check({"day": day, "sum": 1})
    with pytest.raises(InvalidOutput, match=r"^\$\.sum: 0\.25 is not a multiple of 0\.1$"):
        output.check({"day": None, "sum": 0.25})
    with pytest.raises(InvalidOutput, match="does not fit"):
        output.check({"day": None, "sum": 1e300})
    other = Output(record(half={"type": "number", "multipleOf": 0.5}, day={"type": "string"}))
    assert other.arrow_type == pa.struct([("half", pa.float64()), ("day", pa.string())])
    assert other.check({"half": 1.5, "day": "2024-03-05"}) == {"half": 1.5, "day": "2024-03-05"}
