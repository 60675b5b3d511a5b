"""`sightread try FILE`: one file, one task, the answer on the terminal. No Ray, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.display import console_for
from jobs.load import parse
from pipelines.job import prepare
from pipelines.local import answer
from schemas.checkout import NANO


def try_file(file: Path, *, task: str, prompt: str | None, model: str | None, recording: str | None) -> int:
    """1 when a row failed, 0 otherwise."""
    engine = (
        {"kind": "scripted", "recording": recording} if recording else {"kind": "torch", "model": model or str(NANO)}
    )
    spec = parse(
        {
            "name": "try",
            "inputs": [str(file)],
            "tasks": [{"name": task, **({"prompt": prompt} if prompt else {})}],
            "engine": engine,
            "output": "unused",
        },
        "sightread try",
    )
    console = console_for()
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
            console.print(shown, markup=False, highlight=False)
        else:
            failed += 1
            console.print(f"{row['status']}: {row['error']['kind']}: {row['error']['message']}", markup=False)
    if not seen:
        console.print(f"task {task} takes nothing that is in {file}", markup=False)
    return 1 if failed or not seen else 0
