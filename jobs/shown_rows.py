"""What is shown of a row of results, the same wherever rows are: its unit, its answer, and what its checks say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.state import state_of
from schemas.task import FAULTS

LINES = 12
CHARACTERS = 700
"""Of a long text, where only its beginning is shown."""


UNIT_COLUMNS = ("unit_kind", "request_index", "page", "start_s", "end_s")


def unit_of(row: Mapping[str, Any]) -> str:
    """Which unit of its input, and which request about it where that is not the first; empty for what is none."""
    if row["start_s"] is not None:
        unit = f"{row['start_s']:.1f}–{row['end_s']:.1f} s"
    else:
        unit = f"page {row['page']}" if row["page"] is not None else row["unit_kind"] or ""
    return f"{unit}, request {row['request_index'] + 1}" if row["request_index"] else unit


def shown_state(row: Mapping[str, Any]) -> str:
    """One of STATES; of a row without an answer the status too, which says whose matter it is."""
    state = state_of(row)
    return f"{state}: {row['status']}" if state == "failed" else state


def state_cells(states: Mapping[str, int], faults: Mapping[str, int], failed: Mapping[str, int]) -> list[str]:
    """Of a table with a column for each of STATES: how many rows, and of what."""
    doubtful = str(states["doubtful"])
    if faults:
        doubtful += f": {kinds(faults)}"
    return [str(states["ok"]), str(states["unsure"]), doubtful, kinds(failed) or str(states["failed"])]


def kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())


def why_lines(faults: Mapping[str, int], messages: Mapping[str, str]) -> Iterator[str]:
    """What stands below such a table: a sentence for each fault and each kind of failure."""
    yield from (f"doubtful: {fault_sentence(fault)}" for fault in faults)
    yield from (
        f"failed: {kind}, as: {message}" if message else f"failed: {kind}" for kind, message in messages.items()
    )


def fault_sentence(fault: str) -> str:
    """What a fault is; its name alone where a task of one's own has it."""
    return f"{fault} ({FAULTS[fault]})" if fault in FAULTS else fault


def answer_of(row: Mapping[str, Any]) -> str:
    """The text alone where there is one; why there is no answer."""
    if row["status"] != "ok":
        error = row["error"] or {}
        return f"{error.get('kind')}: {error.get('message')}"
    result = row["result"]
    if isinstance(result, dict) and "text" in result:
        return str(result["text"])
    return json.dumps(result, ensure_ascii=False, default=str)


def remarks_of(row: Mapping[str, Any]) -> str:
    """What the checks say, and what is to be known of the file; empty where that is nothing."""
    verified = row.get("verified") or {}
    faults, notes = verified.get("faults") or (), row.get("input_notes") or ()
    parts = [f"{state_of(row)}: {', '.join(map(fault_sentence, faults))}"] if faults else []
    if code_check := verified.get("code_check"):
        parts.append(f"its code: {_tried_out(code_check)}")
    if row.get("damaged_frames"):
        parts.append(f"damaged frames: {row['damaged_frames']}")
    if others := [note for note in notes if note not in faults]:
        parts.append(f"about the file: {', '.join(others)}")
    return "; ".join(parts)


def _tried_out(code_check: Mapping[str, Any]) -> str:
    outcome = str(code_check["outcome"])
    if (score := code_check.get("score")) is not None:
        outcome += f", looks {score:.0%} like its input"
    if code_check.get("missing_words") is not None:
        outcome += f", lacks {code_check['missing_words']} of its words and has {code_check['extra_words']} others"
    elif score is not None:
        outcome += ", its words are not checked"
    return f"{outcome} ({message})" if (message := code_check.get("message")) else outcome


def beginning(text: str) -> str:
    """Of a long text."""
    begin = "\n".join(text.splitlines()[:LINES])[:CHARACTERS]
    return begin + (" …" if len(begin) < len(text.rstrip()) else "")
