"""A row of results as a report shows it: a line of its list, and all of it, as plain values that are JSON. Knows no
page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.report.pictures import Look
from jobs.report.survey import RowKey
from jobs.shown_rows import answer_of, unit_of
from schemas.address import inner_of, name_of
from schemas.input_uri import text_of
from schemas.state import state_of

BEGINNING = 500
"""Characters of an answer that its line holds: they are what a search looks through."""
LONGEST = 60_000
MOST = 2_000
"""Characters of a text that a report shows, and entries of a list."""
_SHORTENED = "[{} more characters are in the Parquet alone]"


def key_of(row: Mapping[str, Any]) -> RowKey:
    return row["input_id"], row["unit_index"], row["request_index"]


def item_of(row: Mapping[str, Any], look: Look) -> dict[str, Any]:
    """The line of a row; what is null or empty is left out."""
    verified = row["verified"] or {}
    line = {
        "id": "-".join(map(str, key_of(row))),
        "name": short_name(row["input_uri"]),
        "unit": unit_of(row),
        "state": state_of(row),
        "kind": (row["error"] or {}).get("kind"),
        "faults": verified.get("faults"),
        "model": row.get("model"),
        "cer": verified.get("cer"),
        "tokens": row.get("output_tokens"),
        "seconds": row.get("infer_s"),
        "attempt": row["attempt"] if (row.get("attempt") or 1) > 1 else None,
        "begins": ((row["status"] == "ok" and " · ".join(texts_in(row["result"]))) or answer_of(row))[:BEGINNING],
        "thumbnail": look.thumbnail,
    }
    plain: dict[str, Any] = bounded({key: value for key, value in line.items() if value not in (None, "", [], ())})
    return plain


def detail_of(row: Mapping[str, Any], look: Look, screenshot: Look | None) -> dict[str, Any]:
    """All columns of a row, and its pictures; what is null is left out."""
    detail = {
        **{key: value for key, value in row.items() if value is not None},
        "pictures": [asdict(picture) for picture in look.pictures],
        "missing": look.missing or None,
        "screenshot": asdict(screenshot.pictures[0]) if screenshot is not None and screenshot.pictures else None,
    }
    plain: dict[str, Any] = bounded(detail)
    return plain


_NO_WORDS = frozenset(("type", "markdown", "html", "format", "script", "source", "tool", "language", "thinking"))
"""Of a result: what is said of its form, or once more in another one."""


def texts_in(value: Any) -> Iterator[str]:
    """What a result says in words, in its order."""
    match value:
        case str():
            if value.strip():
                yield value
        case Mapping():
            yield from texts_in([entry for key, entry in value.items() if key not in _NO_WORDS])
        case list():
            for entry in value[:MOST]:
                yield from texts_in(entry)


def short_name(address: str) -> str:
    """Of an input; of a part of a shard or table, both names."""
    container, inner = inner_of(address)
    return text_of(name_of(address) if inner is None else f"{name_of(container)}#{inner}")


def frames_in(value: Any) -> Iterator[int]:
    """Frames, pages and screens that a result names."""
    if isinstance(value, list):
        for entry in value:
            yield from frames_in(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key in ("frame_index", "step") and isinstance(entry, int):
                yield entry
            elif key == "pages" and isinstance(entry, list):
                yield from (page for page in entry if isinstance(page, int))
            else:
                yield from frames_in(entry)


def bounded(value: Any) -> Any:
    """As JSON has it, and no longer than a page can show."""
    match value:
        case str():
            more = len(value) - LONGEST
            return value if more <= 0 else f"{value[:LONGEST]} {_SHORTENED.format(more)}"
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): bounded(entry) for key, entry in value.items()}
        case list() | tuple():
            return [bounded(entry) for entry in value[:MOST]]
        case date() | Decimal():
            return str(value)
        case bytes():
            return f"{len(value)} bytes"
    return str(value)
