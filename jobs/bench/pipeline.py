"""`sightread bench pipeline`: how much of its engine the pipeline keeps at work, as one table."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.bench.inputs import write_inputs
from jobs.bench.pipeline_rounds import BARE, Peer, Result, compare, paced_recording, spec_of


def bench_pipeline(
    *,
    engine: str,
    units: int,
    slots: int,
    rounds: int,
    step_ms: float,
    tokens: tuple[int, int],
    model: str,
    device: str,
    workers: int,
    peer: list[tuple[int, int]],
    console: Console,
) -> int:
    """engine: paced or vllm. peer: rows a batch and batches at once of ray.data.llm, to choose the best of."""
    started = time.monotonic()

    def told(line: str) -> None:
        console.print(escape(f"{time.monotonic() - started:6.1f} s  {line}"), highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="sightread-bench-") as made:
        folder = Path(made)
        told(f"drawing {units} units")
        write_inputs(folder / "in", units)
        chosen: dict[str, Any] = {"slots": slots}
        if engine == "paced":
            paced_recording(folder / "replies.jsonl", folder / "in", step_s=step_ms / 1000, tokens=tokens)
            chosen |= {"kind": "scripted", "recording": str(folder / "replies.jsonl")}
        else:
            chosen |= {"kind": "vllm", "model": model, "gpus_per_replica": int(device == "cuda")}
        spec = spec_of(folder / "in", folder / "out", chosen, {"workers": workers, "page_split": "none"})
        asked = Peer(peer) if engine == "vllm" and peer else None
        results = compare(spec, folder, rounds=rounds, told=told, peer=asked)
    what = f"{step_ms:g} ms a token step" if engine == "paced" else f"vLLM, {model}"
    console.print(
        _table(results, f"{units} units on {os.cpu_count()} cores, {workers} decoders; {what}, {slots} in flight")
    )
    console.print(
        f"{rounds} rounds in turns: median (least to most). Output tokens a second from the first request that a "
        "loaded engine gets to the last answer; efficiency: of the bare engine's median.",
        highlight=False,
    )
    return 0


def _table(results: list[Result], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "tokens/s", "efficiency", ""):
        table.add_column(column, justify="left" if not column else "right")
    bare = next(result for result in results if result.name == BARE)
    for result in results:
        if not result.rates:
            table.add_row(result.name, "-", "-", escape(result.note))
            continue
        spread = f"{result.median:.0f} ({min(result.rates):.0f} to {max(result.rates):.0f})"
        table.add_row(result.name, spread, f"{result.median / bare.median:.3f}", escape(result.note))
    return table


def batch_shapes(text: str) -> list[tuple[int, int]]:
    """`16x8,64x4`: rows a batch x batches at once."""
    return [(int(rows), int(batches)) for rows, _, batches in (each.partition("x") for each in text.split(",") if each)]
