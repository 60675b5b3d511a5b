"""What a spec may say that the cells of a CSV column are: a name -> how one is read, and its Arrow type."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MOST = 1 << 63


@dataclass(frozen=True)
class CellType:
    """read: the value of a cell; raises ValueError with a sentence. An empty cell is no value, but for a text."""

    arrow: pa.DataType
    read: Callable[[str], Any]


def _int(text: str) -> int:
    """pandas writes 1.0 where another row of the column is empty."""
    if (digits := re.fullmatch(r"([+-]?[0-9]{1,19})(\.0*)?", text)) is None or not -_MOST <= int(digits[1]) < _MOST:
        raise ValueError
    return int(digits[1])


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError
    return number


def _bool(text: str) -> bool:
    return _TRUTHS[text.lower()]


def _of(name: str, arrow: pa.DataType, read: Callable[[str], Any]) -> CellType:
    def read_cell(cell: str) -> Any:
        text = cell.strip()
        try:
            return read(text) if text else None
        except (ValueError, KeyError):
            raise ValueError(f"{cell[:50]!r} is no {name}") from None

    return CellType(arrow, read_cell)


TYPES = {
    "text": CellType(pa.string(), lambda cell: cell),
    "int": _of("int", pa.int64(), _int),
    "float": _of("float", pa.float64(), _float),
    "bool": _of("bool", pa.bool_(), _bool),
    "date": _of("date", pa.date32(), datetime.date.fromisoformat),
}
