"""`sightread doctor [SPEC]`: what would go wrong, found before a job does; every line that fails says what to do."""

from __future__ import annotations

import asyncio
import difflib
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jobs import machine
from jobs.load import load, parse
from jobs.machine import Finding
from model.network.hub import resolve, to_be_fetched, weight_files
from model.prompts.memory import SIZES, Precision, gpus, needed_gb, size_of, splits
from operators.store.addresses import absolute, local_path
from pipelines.catalogue import bind
from schemas.checkout import ROOT
from schemas.errors import EngineLost, SpecError
from schemas.spec import EngineSpec, JobSpec

NANO = ROOT / "model" / "nano" / "checkpoint"
LOAD_S = 900.0
_CARDS_GB = (24, 48, 80, 141)
_CLIPS = {"clip", "video"}
_PATIENCE_S = 3.0
_NOT_ASKED = Finding("note", "canary", "not asked while other lines fail")
_OTHERS_GB = 2.0  # of memory, for decoders and Ray


def doctor(path: Path | None, console: Console) -> int:
    """1 when a line fails, 0 otherwise."""
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
                "engine": {"kind": "torch", "model": str(NANO)},
                "output": "unused",
            },
            "doctor",
        )
    can_answer = False
    if asked is not None:
        can_answer, about = _engine(asked.engine)
        findings += about
    _show(findings, console)
    if asked is not None and can_answer:
        found = _canary(asked) if not any(each.level == "fail" for each in findings) else [_NOT_ASKED]
        _show(found, console)
        findings += found
    console.print(_sizes())
    failed = sum(each.level == "fail" for each in findings)
    console.print(f"{failed} of {len(findings)} lines fail" if failed else "nothing fails", markup=False)
    return 1 if failed else 0


def _machine(spec: JobSpec | None) -> list[Finding]:
    wanted = spec.engine.replicas * spec.engine.gpus_per_replica if spec else 0.0
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    cards = machine.gpus()
    found = [*machine.versions(), *machine.vllm_fits_torch()]
    if on_cluster:
        found.append(
            Finding("note", "cluster", "RAY_ADDRESS is set: what follows is of this machine, not of the workers")
        )
    found += machine.about_gpus(cards, 0.0 if on_cluster else wanted)
    found.append(machine.cores(len(cards)))
    output = local_path(absolute(spec.output)) if spec else None
    found += machine.disk(output)
    found.append(machine.shared_memory(spec.engine.gpus_per_replica if spec else 0))
    found.append(machine.open_files())
    if spec is not None:
        for task in spec.tasks:
            try:
                bind(task)
            except SpecError as error:
                found.append(Finding("fail", "task", str(error), "`sightread tasks` lists them"))
    return found


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


def _engine(engine: EngineSpec) -> tuple[bool, list[Finding]]:
    """Whether there is an engine to ask, and what can be said before it is asked."""
    if engine.kind == "scripted":
        return False, [Finding("ok", "engine", "scripted: a recording, no model")]
    if engine.kind == "openai":
        return True, [_server(engine)]
    assert engine.model is not None
    if to_be_fetched(engine.model):
        size = size_of(engine.model)
        much = f", about {SIZES[size[0]].parameters * 2 / 1e9:.0f} GB" if size else ""
        said = f"{engine.model} is not on this machine; a run fetches it{much}"
        return False, [Finding("note", "engine", said, "name a folder that holds it, or let the first run fetch it")]
    try:
        folder = resolve(engine.model)
        weights_gb = sum(file.stat().st_size for file in weight_files(folder)) / 1e9
    except SpecError as error:
        return False, [Finding("fail", "engine", str(error), "name a whole checkpoint folder in engine.model")]
    return True, [_room(engine, weights_gb)]


def _room(engine: EngineSpec, weights_gb: float) -> Finding:
    """Whether the weights of a folder fit where they go."""
    if engine.gpus_per_replica:
        cards = machine.gpus()
        free_gb = min((card.free_mb for card in cards), default=0) / 1000
        where, need_gb = "on the fullest GPU", weights_gb * 1.2
    else:
        # published checkpoints are in bfloat16, and a CPU computes in float32 unless told otherwise
        small = weights_gb < 1 or engine.dtype == "bfloat16"
        free_gb, where = machine.free_memory_gb() - _OTHERS_GB, "of memory beside decoders and Ray"
        need_gb = weights_gb * (1.2 if small else 2.2) * engine.replicas
    said = f"{engine.model}: {weights_gb:.2f} GB of weights, {need_gb:.1f} GB to run, {free_gb:.0f} GB free {where}"
    if need_gb > free_gb:
        return Finding(
            "fail", "memory", said, "take a smaller size or FP8, fewer replicas, or a larger machine (table below)"
        )
    return Finding("ok", "memory", said)


def _server(engine: EngineSpec) -> Finding:
    from model.engines.openai_engine import OpenAIEngine, Served

    url, model = engine.url or "", engine.model or ""

    async def look() -> Served:
        server = OpenAIEngine(url, model, api_key_env=engine.api_key_env, silence_s=_PATIENCE_S)
        try:
            return await server.served()
        finally:
            await server.close()

    try:
        served = asyncio.run(look())
    except SpecError as error:
        return Finding("fail", "endpoint", str(error), "export it in this shell; on a cluster, where Ray starts")
    except EngineLost as error:
        return Finding("fail", "endpoint", str(error), "start the server, or fix engine.url and the key")
    said = f"{url} answers" + (f", by {served.owner}" if served.owner else "")
    if served.names is not None and model not in served.names:
        near = difflib.get_close_matches(model, served.names, n=1) or served.names[:3]
        return Finding("fail", "endpoint", f"{said} and does not list {model}", f"engine.model: {', '.join(near)}")
    if served.max_tokens and engine.max_context and served.max_tokens < engine.max_context:
        said += f"; its context of {served.max_tokens} tokens is less than engine.max_context"
        return Finding("note", "endpoint", said, "vLLM: --max-model-len")
    if served.max_tokens:
        said += f", context of {served.max_tokens} tokens"
    return Finding("ok", "endpoint", said)


def _show(findings: list[Finding], console: Console) -> None:
    for each in findings:
        console.print(f"{each.level:4}  {each.what:10}  {each.said}", markup=False, highlight=False, soft_wrap=True)
        if each.fix:
            console.print(f"      {'':10}  -> {each.fix}", markup=False, highlight=False, soft_wrap=True)


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
