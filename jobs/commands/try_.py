"""`sightread try [SPEC] FILE...`: ask about a few files, answers on the terminal.

The tasks, engine and settings of a spec, or one task and the nano checkpoint. No Ray is started, nothing is written,
also not to the output of the spec.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePath
from typing import Any

from jobs import machine
from jobs.arguments import count
from jobs.load import is_spec, load, parse
from jobs.prepared import prepared
from jobs.shown_rows import answer_of, beginning, remarks_of, shown_state, unit_of
from jobs.terminal import cell, console_for, show_line
from jobs.waiting import Waiting
from pipelines.job import Job
from pipelines.local import LocalRun, check_there, checked_code, listed
from schemas.address import name_of
from schemas.checkout import NANO_NAME
from schemas.errors import SpecError
from schemas.spec import JobSpec

DEFAULT_TASK = "ocr"
FIRST_UNITS = 8
"""Of a spec's own inputs."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        metavar="file",
        help="what an entry of `inputs` may name; the first may be a job spec (YAML), whose own inputs are asked about "
        "where no others are named",
    )
    parser.add_argument("--spec", type=Path, help="the job spec, whatever it is called")
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help=f"one of the spec's, or any task (see `sightread tasks`); default: all of the spec's, or {DEFAULT_TASK}; "
        "may be repeated",
    )
    parser.add_argument("--prompt", help="asked instead of the task's own prompt")
    parser.add_argument("--model", help="checkpoint folder or hub name, instead of the spec's (default: nano)")
    parser.add_argument("--recording", help="answer from this recording instead of a model")
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help=f"ask about the first N pages, pictures or clips (default: all; of a spec's own inputs {FIRST_UNITS})",
    )


def run(options: argparse.Namespace) -> int:
    """1 when a row failed or there was nothing to ask, 0 otherwise."""
    spec_file, files = options.spec, list(options.files)
    if spec_file is None and files and is_spec(Path(files[0])):
        spec_file = Path(files.pop(0))
    if spec_file is None and not files:
        raise SpecError("name a file to ask about, or a job spec")
    job = prepared(_spec(spec_file, files, options))
    listing = listed(job)
    check_there(listing.inputs, files)
    asked = LocalRun(job, listing.inputs, limit=options.limit or (None if files else FIRST_UNITS))
    answers = _Answers(job)
    answers.show(asked)
    if asked.limited:
        show_line(answers.console, f"these are the first {asked.units}; --limit N asks about more")
    if not answers.shown:
        left_out = ", ".join(f"{number} {reason}" for reason, number in sorted(listing.skipped.items()))
        tasks = ", ".join(task.name for task in job.tasks)
        where = ", ".join(files) or str(spec_file)
        text = f"nothing in {where} is what {tasks} takes" + (f"; left out: {left_out}" if left_out else "")
        show_line(answers.console, text)
    return 1 if answers.failed or not answers.shown else 0


def _spec(spec_file: Path | None, files: list[str], options: argparse.Namespace) -> JobSpec:
    """Raises SpecError."""

    def change(data: dict[str, Any]) -> dict[str, Any]:
        if files:
            data = {**data, "inputs": files}
            if not any(PurePath(file).suffix.lower() in (".csv", ".tsv") for file in files):
                data.pop("types", None)  # of columns that these have not
        if options.recording:
            data = {**data, "engine": {"kind": "scripted", "recording": options.recording}}
        elif options.model and isinstance(data.get("engine"), dict):
            section = {**data["engine"], "model": options.model}
            if "gpus_per_replica" in section and not machine.gpus():
                del section["gpus_per_replica"]  # a small model shows here what a large one is asked elsewhere
            data = {**data, "engine": section}
        return data

    if spec_file is not None:
        spec = load(spec_file, change)
        names = {task.name for task in spec.tasks}
        for name in options.task or ():
            if name not in names:
                raise SpecError(f"{spec_file}: it has no task {name!r}; it has {', '.join(sorted(names))}")
    else:
        tasks = list(dict.fromkeys(options.task or [DEFAULT_TASK]))
        engine = {"kind": "torch", "model": NANO_NAME}
        data = {"name": "try", "inputs": files, "tasks": tasks, "engine": engine, "output": "unused"}
        spec = parse(change(data), "sightread try")
    chosen = [task for task in spec.tasks if not options.task or task.name in options.task]
    if spec.engine.gpus and not machine.gpus():
        raise SpecError(f"engine: it takes {spec.engine.gpus:g} GPUs and this machine has none; --model names another")
    if options.prompt:
        if len(chosen) > 1:
            raise SpecError(f"--prompt is for one task: name it with --task ({', '.join(t.name for t in chosen)})")
        chosen = [chosen[0].model_copy(update={"prompt": options.prompt})]
    return spec.model_copy(update={"tasks": tuple(chosen)})


class _Answers:
    """Shows rows as they come. shown, failed: how many so far."""

    def __init__(self, job: Job) -> None:
        self.console = console_for()
        self.shown = self.failed = 0
        self._job = job
        self._code_tasks = {task.name for task in job.tasks if task.code_check}

    def show(self, asked: LocalRun) -> None:
        with Waiting(self.console, "the engine starts") as waiting:
            code = []
            for row in asked.rows(waiting.tell):
                self._row(row)
                waiting.tell(f"{self.shown} answered")
                if row["status"] == "ok" and row["task"] in self._code_tasks:
                    code.append(row)
            if code:
                waiting.tell("the code is tried out")
                for row in checked_code(self._job, code):
                    self._heading(row)
                    show_line(self.console, remarks_of(row))

    def _row(self, row: dict[str, Any]) -> None:
        self.shown += 1
        self._heading(row)
        self.console.print(cell(answer_of(row), lines=True), soft_wrap=True)
        if row["status"] != "ok":
            self.failed += 1
            if row["text"]:
                self.console.print(cell(f"the reply was: {beginning(row['text'])}", lines=True), soft_wrap=True)
        if remarks := remarks_of(row):
            show_line(self.console, remarks)

    def _heading(self, row: dict[str, Any]) -> None:
        task = row["task"] if len(self._job.tasks) > 1 else ""
        parts = (name_of(row["input_uri"]), unit_of(row), task, shown_state(row))
        self.console.rule(cell(", ".join(filter(None, parts))), align="left")
