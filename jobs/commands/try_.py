"""`sightread try FILE`: ask about one file, answer on the terminal.

No Ray is started, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jobs.display import cell, console_for, show_line
from jobs.load import parse
from pipelines.job import prepare
from pipelines.local import answer
from schemas.checkout import NANO


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--task", default="ocr", help="name of a task (see `sightread tasks`)")
    parser.add_argument("--prompt", help="asked instead of the task's own prompt")
    parser.add_argument("--model", default=str(NANO), help="checkpoint folder or hub name (default: nano)")
    parser.add_argument("--recording", help="answer from this recording instead of a model")


def run(options: argparse.Namespace) -> int:
    """1 when a row failed or there was nothing to ask, 0 otherwise."""
    engine = (
        {"kind": "scripted", "recording": options.recording}
        if options.recording
        else {"kind": "torch", "model": options.model}
    )
    spec = parse(
        {
            "name": "try",
            "inputs": [str(options.file)],
            "tasks": [{"name": options.task, **({"prompt": options.prompt} if options.prompt else {})}],
            "engine": engine,
            "output": "unused",
        },
        "sightread try",
    )
    console, remarks = console_for(), console_for(sys.stderr)
    failed = seen = 0
    for row in answer(prepare(spec)):
        seen += 1
        place = f"page {row['page']}" if row["page"] is not None else ""
        if row["start_s"] is not None:
            place = f"{row['start_s']:.1f}-{row['end_s']:.1f} s"
        if place:
            console.rule(place, align="left")
        if row["status"] == "ok":
            result = row["result"]
            shown = result["text"] if "text" in result else json.dumps(result, ensure_ascii=False)
            console.print(cell(shown, lines=True))
            if remark := _remark(row):
                show_line(remarks, remark)
        else:
            failed += 1
            show_line(console, f"{row['status']}: {row['error']['kind']}: {row['error']['message']}")
    if not seen:
        show_line(console, f"task {options.task} takes nothing that is in {options.file}")
    return 1 if failed or not seen else 0


def _remark(row: dict[str, Any]) -> str:
    """What the checks found, and what is to be known of the file."""
    faults, notes = row["verified"]["faults"], row["input_notes"] or ()
    parts = [f"in doubt: {', '.join(faults)}"] if faults else []
    if row["damaged_frames"]:
        parts.append(f"damaged frames: {row['damaged_frames']}")
    if others := [note for note in notes if note not in faults]:
        parts.append(f"about the file: {', '.join(others)}")
    return "; ".join(parts)
