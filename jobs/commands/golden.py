"""`sightread golden MODEL`: hold a model to a page, a picture and a clip whose answers are known.

For who has weights: that the checkpoint, its chat template and the engine fit together shows in answers that parse,
pass their checks, end by themselves and say the text that was drawn. Of what a model sees, only reading is judged.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.arguments import add_json
from jobs.demo_media import PAGES, SIGN, pdf_bytes, write_demo_media
from jobs.echo import echo
from jobs.load import load, parse
from jobs.terminal import cell, console_for, show_line
from model.prompts.line_image import line_reader_of
from operators.checks.text_layer import compare
from pipelines.job import prepare
from pipelines.local import answer
from schemas.checkout import NANO, NANO_NAME
from schemas.errors import SpecError
from schemas.spec import JobSpec

PAGE, PICTURE, CLIP = "page.pdf", "sign.png", "clock.mp4"
_TEXTS = {PAGE: "\n".join(line.text for line in PAGES[0]), PICTURE: "\n".join(SIGN)}


@dataclass(frozen=True)
class Expectation:
    """Of one answer: that it is ok, passes its check and ends with `stop`. most_cer: how far its text may be from
    what was drawn; None where the answer is in words of the model's own."""

    task: str
    input: str
    most_cer: float | None = None


EXPECTATIONS: tuple[Expectation, ...] = (
    Expectation("ocr", PAGE, 0.05),
    Expectation("ocr", PICTURE, 0.05),
    Expectation("ocr_spotting", PAGE, 0.05),
    Expectation("ocr_spotting", PICTURE, 0.05),
    Expectation("parse_document", PAGE, 0.1),
    Expectation("parse_document", PICTURE, 0.1),
    Expectation("caption", PICTURE),
    Expectation("caption", CLIP),
    Expectation("events", CLIP),
)
_LINE_READER_TASKS = {"ocr", "caption"}
"""A checkpoint that says of itself that it reads lines was taught neither layout nor to tell when things happen."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="checkpoint folder, nano, or a job spec (YAML) whose engine is asked")
    parser.add_argument("--gpus", type=float, default=0, metavar="N", help="for a checkpoint folder (default: the CPU)")
    add_json(parser, "one JSON array")


def run(options: argparse.Namespace) -> int:
    """1 when an answer is not as expected, else 0."""
    model: Path = NANO if options.model == Path(NANO_NAME) else options.model
    expectations = EXPECTATIONS
    if model.is_dir():
        engine: dict[str, Any] = {"kind": "torch", "model": str(model), "gpus_per_replica": options.gpus}
        decode: dict[str, Any] = {}
        if line_reader_of(model) is not None:
            expectations = tuple(expected for expected in expectations if expected.task in _LINE_READER_TASKS)
    elif not model.exists():
        raise SpecError(f"there is no {model}: name a checkpoint folder, {NANO_NAME}, or a job spec")
    else:
        job = load(model)
        engine, decode = job.engine.model_dump(exclude_unset=True), job.decode.model_dump(exclude_unset=True)
    with tempfile.TemporaryDirectory(prefix="sightread-golden-") as place:
        inputs = _write_inputs(Path(place))
        tasks = list(dict.fromkeys(expected.task for expected in expectations))
        spec = parse(
            {
                "name": "golden", "inputs": inputs, "tasks": tasks,
                "engine": engine, "decode": decode, "output": str(Path(place) / "out"),
            },
            str(model),
        )  # fmt: skip
        rows = _rows(spec)
    faults = {expected: _faults(expected, rows.get((expected.task, expected.input))) for expected in expectations}
    failed = sum(map(bool, faults.values()))
    if options.json:
        answers = [
            {"task": expected.task, "input": expected.input, "faults": of_answer}
            for expected, of_answer in faults.items()
        ]
        echo(json.dumps(answers, ensure_ascii=False))
        return 1 if failed else 0
    console = console_for()
    console.print(_table(faults))
    wrong, right = f"{failed} of {len(faults)} answers are not", f"all {len(faults)} answers are"
    show_line(console, f"{wrong if failed else right} as expected")
    return 1 if failed else 0


def _write_inputs(folder: Path) -> list[str]:
    write_demo_media(folder)
    (folder / PAGE).write_bytes(pdf_bytes(PAGES[:1]))
    return [str(folder / name) for name in (PAGE, PICTURE, CLIP)]


def _rows(spec: JobSpec) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["task"], Path(row["input_uri"]).name): row for row in answer(prepare(spec))}


def _faults(expected: Expectation, row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["no answer"]
    if row["status"] != "ok":
        return [f"{row['status']}: {row['error']['message']}", *_quoted(row)]
    faults = []
    if row["finish_reason"] != "stop":
        faults.append(f"ended with {row['finish_reason']} after {row['output_tokens']} tokens")
    if not row["verified"]["ok"]:
        faults.append(f"its check finds {', '.join(row['verified']['faults'])}")
    if expected.most_cer is not None:
        difference = compare(_text(row["result"]), _TEXTS[expected.input])
        assert difference is not None
        if difference.cer > expected.most_cer:
            faults.append(f"{difference.cer:.1%} of characters are wrong ({expected.most_cer:.0%} at most)")
    return [*faults, *_quoted(row)] if faults else []


def _quoted(row: dict[str, Any]) -> list[str]:
    return [f"it answered {row['text'][:160]!r}"] if row["text"] else []


def _text(result: dict[str, Any]) -> str:
    return "\n".join(block["text"] for block in result["blocks"]) if "blocks" in result else result["text"]


def _table(faults: dict[Expectation, list[str]]) -> Table:
    table = Table(box=None)
    for name in ("", "task", "input", "what is wrong"):
        table.add_column(name, overflow="fold")
    for expected, of_one in faults.items():
        table.add_row("fail" if of_one else "ok", expected.task, expected.input, cell("; ".join(of_one)))
    return table
