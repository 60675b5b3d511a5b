"""`sightread doctor [SPEC]`: look for what would go wrong: machine, model, server, a few small questions.

Every line that fails says what to do.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jobs import machine
from jobs.arguments import add_json
from jobs.echo import echo
from jobs.load import load, parse
from jobs.terminal import console_for, show_line, show_table
from model.engines.kinds import FreeMemory, engine_kind
from model.network.memory import SIZES, Precision, gpus, needed_gb, splits
from operators.store.addresses import absolute, local_path, opened
from operators.store.inputs.origin import origin_of
from pipelines.catalogue import bind
from pipelines.entries.braces import expanded
from pipelines.entries.local_files import exists
from pipelines.ray_doors import cluster_doors
from schemas.address import is_remote
from schemas.checkout import NANO, NANO_NAME
from schemas.errors import SightreadError, SpecError
from schemas.fetch import FetchSettings
from schemas.finding import Finding
from schemas.input_uri import path_of
from schemas.spec import JobSpec

LOAD_S = 900.0
_CARDS_GB = (24, 48, 80, 141)
_CLIPS = {"clip", "video"}
_NOT_ASKED = Finding("note", "canary", "not asked while other lines fail")
_MOST_MISSING = 5
"""Inputs that are named one by one."""
_OTHERS_GB = 2.0  # of memory, for decoders and Ray


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, nargs="?", help="the job spec (YAML); without, the machine and nano")
    add_json(parser, "one JSON object")


def run(options: argparse.Namespace) -> int:
    """1 when a line fails, 0 otherwise."""
    path: Path | None = options.spec
    console = Console(quiet=True) if options.json else console_for()
    spec: JobSpec | None = None
    findings: list[Finding] = []
    if path is not None:
        try:
            spec = load(path)
            findings.append(Finding("ok", "spec", f"{spec.name}: {spec.engine.kind} engine"))
        except SpecError as error:
            findings.append(Finding("fail", "spec", str(error), "fix the spec"))
    findings += _machine(spec)
    asked = spec
    if path is None and NANO.exists():
        asked = parse(
            {
                "name": "doctor",
                "inputs": ["unused"],
                "tasks": ["ocr", "caption"],
                "engine": {"kind": "torch", "model": NANO_NAME},
                "output": "unused",
            },
            "doctor",
        )
    can_answer = False
    if asked is not None:
        can_answer, of_engine = engine_kind(asked.engine).findings(_free())
        findings += of_engine
    _show(findings, console)
    if asked is not None and can_answer:
        answers = _canary(asked) if not any(line.level == "fail" for line in findings) else [_NOT_ASKED]
        _show(answers, console)
        findings += answers
    show_table(console, _sizes())
    failed = sum(line.level == "fail" for line in findings)
    if options.json:
        echo(json.dumps({"failed": failed, "lines": [asdict(line) for line in findings]}, ensure_ascii=False))
    show_line(console, f"{failed} of {len(findings)} lines fail" if failed else "nothing fails")
    return 1 if failed else 0


def _machine(spec: JobSpec | None) -> list[Finding]:
    wanted = spec.engine.replicas.min * spec.engine.gpus if spec else 0.0
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    cards = machine.gpus()
    findings = [*machine.versions(), *machine.vllm_fits_torch()]
    if on_cluster:
        findings.append(
            Finding("note", "cluster", "RAY_ADDRESS is set: what follows is of this machine, not of the workers")
        )
        findings.append(cluster_doors(os.environ["RAY_ADDRESS"]))
    findings += machine.about_gpus(cards, 0.0 if on_cluster else wanted)
    findings.append(machine.cores(len(cards)))
    findings += [*_inputs(spec), *_stores(spec)] if spec else []
    findings += machine.disk(local_path(absolute(spec.output)) if spec else None)
    findings.append(machine.shared_memory(spec.engine.gpus if spec else 0))
    findings.append(machine.open_files())
    findings += machine.isolation()
    if spec is not None:
        for task in spec.tasks:
            try:
                bind(task)
            except SpecError as error:
                findings.append(Finding("fail", "task", str(error), "`sightread tasks` lists them"))
    return findings


def _inputs(spec: JobSpec) -> list[Finding]:
    """Whether those of this machine are there that are named."""
    here = [entry for entry in spec.inputs if not is_remote(entry)]
    missing = [place for entry in here for place in (expanded(entry) if "{" in entry else (entry,)) if _is_gone(place)]
    fix = "correct `inputs`; relative paths begin where the command is started"
    lines = [Finding("fail", "inputs", f"there is nothing at {place}", fix) for place in missing[:_MOST_MISSING]]
    if len(missing) > len(lines):
        lines.append(Finding("fail", "inputs", f"and {len(missing) - len(lines)} more are not there", fix))
    return lines or [Finding("ok", "inputs", f"all {len(here)} that are named here are there")] * bool(here)


def _is_gone(address: str) -> bool:
    path = path_of(address.partition("#")[0]).expanduser()
    if exists(path):
        return False
    return not (glob.has_magic(str(path)) and any(glob.iglob(str(path), recursive=True)))  # noqa: PTH207  absolute too


def _stores(spec: JobSpec) -> list[Finding]:
    """Whether those elsewhere answer and let us in. Writes nothing."""
    settings = FetchSettings(**spec.fetch.model_dump())
    asked: list[tuple[str, str, Callable[[], object]]] = [
        ("inputs", entry, partial(_check_input, entry, settings)) for entry in filter(is_remote, spec.inputs)
    ]
    if is_remote(spec.output):
        asked.append(("output", spec.output, lambda: opened(spec.output)))
    findings = []
    for about, address, ask in asked:
        try:
            ask()
            findings.append(Finding("ok", about, f"{address} answers"))
        except (SightreadError, OSError) as error:
            text = str(error).removeprefix(f"{about}: ")
            findings.append(Finding("fail", about, text, "docs/buckets.md lists variables and rights"))
    return findings


def _check_input(address: str, settings: FetchSettings) -> None:
    origin_of(address, settings).check(address)


def _free() -> FreeMemory:
    gpu_mb = min((card.free_mb for card in machine.gpus()), default=0)
    return FreeMemory(memory_gb=machine.free_memory_gb() - _OTHERS_GB, gpu_gb=gpu_mb / 1000)


def _canary(spec: JobSpec) -> list[Finding]:
    from jobs.canary import canary  # what only a machine in order needs
    from pipelines.job import prepare

    try:
        job = prepare(spec)
    except SpecError as error:
        return [Finding("fail", "spec", str(error), "fix the spec")]
    kinds = {kind for task in job.tasks for kind in task.unit_kinds}
    schema = any(task.constrained for task in job.tasks)
    return canary(job.infer.engine, clips=bool(kinds & _CLIPS), schema=schema, load_s=LOAD_S)


def _show(findings: list[Finding], console: Console) -> None:
    for line in findings:
        show_line(console, f"{line.level:4}  {line.about:10}  {line.message}")
        if line.fix:
            show_line(console, f"      {'':10}  -> {line.fix}")


def _sizes() -> Table:
    table = Table(title="GPUs that hold Qwen3-VL, by the memory of one", title_justify="left", box=None)
    for name in ("model", "needs", *(f"{card} GB" for card in _CARDS_GB)):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    precisions: tuple[Precision, ...] = ("bf16", "fp8")
    for name, size in SIZES.items():
        for precision in precisions:
            counts = [gpus(size, precision, card) for card in _CARDS_GB]
            table.add_row(
                f"{name} {precision.upper()}",
                f"{needed_gb(size, precision):.0f} GB",
                *("-" if n is None else f"{n}" if splits(size, precision, n) else f"{n} EP" for n in counts),
            )
    table.caption = "needs: weights and 20 % (vLLM's recipes); more is KV cache. EP: with expert parallel only"
    table.caption_justify = "left"
    return table
