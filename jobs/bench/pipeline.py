"""`sightread bench pipeline`: how busy the pipeline keeps its engine, beside the bare engine and ray.data.llm."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from jobs.arguments import count
from jobs.bench.inputs import write_inputs
from jobs.bench.pipeline_rounds import BARE, Peer, Result, compare, paced_recording, spec_of
from jobs.display import console_for
from schemas.checkout import NANO


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=["paced", "vllm"], default="paced", help="paced: answers after a set time; needs no CPU"
    )
    parser.add_argument("--units", type=count, default=500, metavar="N", help="pages, pictures and clips")
    parser.add_argument("--slots", type=count, default=64, metavar="N", help="requests in flight")
    parser.add_argument("--rounds", type=count, default=3, metavar="N")
    parser.add_argument("--step-ms", type=float, default=50.0, metavar="MS", help="of the paced engine, for a token")
    parser.add_argument("--tokens", type=_range, default=(40, 240), metavar="N-N", help="the paced engine's replies")
    parser.add_argument("--model", default=str(NANO), help="of vllm: checkpoint folder or hub name (default: nano)")
    parser.add_argument("--device", default="cpu", help="of vllm: cpu or cuda")
    parser.add_argument("--workers", type=count, default=2, metavar="N", help="decoders")
    parser.add_argument(
        "--peer",
        type=batch_shapes,
        default="32x8,16x16,64x4",
        metavar="RxB,…",
        help="of vllm: shapes of ray.data.llm (rows a batch x batches at once), the best is the peer; '' for none",
    )


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    bounds = int(least), int(most or least)
    if not 0 < bounds[0] <= bounds[1]:
        raise argparse.ArgumentTypeError("must be N-N, the smaller first")
    return bounds


def batch_shapes(text: str) -> list[tuple[int, int]]:
    """`16x8,64x4`: rows a batch x batches at once."""
    shapes = (shape.partition("x") for shape in text.split(",") if shape)
    return [(int(rows), int(batches)) for rows, _, batches in shapes]


def run(options: argparse.Namespace) -> int:
    console = console_for()
    started = time.monotonic()

    def report(line: str) -> None:
        console.print(escape(f"{time.monotonic() - started:6.1f} s  {line}"), highlight=False, soft_wrap=True)

    paced, units, slots = options.engine == "paced", options.units, options.slots
    with tempfile.TemporaryDirectory(prefix="sightread-bench-") as place:
        folder = Path(place)
        report(f"drawing {units} units")
        write_inputs(folder / "in", units)
        engine: dict[str, Any]
        if paced:
            recording = folder / "replies.jsonl"
            paced_recording(recording, folder / "in", step_s=options.step_ms / 1000, tokens=options.tokens)
            engine = {"kind": "scripted", "recording": str(recording), "slots": slots}
        else:
            gpus = int(options.device == "cuda")
            engine = {"kind": "vllm", "model": options.model, "gpus_per_replica": gpus, "slots": slots}
        spec = spec_of(folder / "in", folder / "out", engine, {"workers": options.workers, "page_split": "none"})
        peer = Peer(options.peer) if options.peer and not paced else None
        results = compare(spec, folder, rounds=options.rounds, report=report, peer=peer)
    what = f"{options.step_ms:g} ms a token step" if paced else f"vLLM, {options.model}"
    title = f"{units} units on {os.cpu_count()} cores, {options.workers} decoders; {what}, {slots} in flight"
    console.print(_table(results, title))
    console.print(
        f"{options.rounds} rounds in turns: median (least to most). Output tokens a second from the first request that "
        "a loaded engine gets to the last answer; of bare: share of the bare engine's median.",
        highlight=False,
    )
    return 0


def _table(results: list[Result], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "tokens/s", "of bare", ""):
        table.add_column(column, justify="left" if not column else "right")
    bare = next(result for result in results if result.name == BARE)
    for result in results:
        if not result.rates:
            table.add_row(result.name, "-", "-", escape(result.note))
            continue
        spread = f"{result.median:.0f} ({min(result.rates):.0f} to {max(result.rates):.0f})"
        table.add_row(result.name, spread, f"{result.median / bare.median:.3f}", escape(result.note))
    return table
