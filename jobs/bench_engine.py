"""`sightread bench engine`: how fast the embedded engine is beside its peers, as one table."""

from __future__ import annotations

import importlib.util

from rich.console import Console
from rich.table import Table

from model.bench_engine import BATCHED, SINGLE, Result, Roofline, hardware, measure, ratio


def bench_engine(
    *,
    shape: str,
    device: str,
    text_layers: int | None,
    vision_blocks: int | None,
    dtypes: list[str],
    prompts: int,
    tokens: int,
    page: tuple[int, int],
    rounds: int,
    console: Console,
) -> int:
    if importlib.util.find_spec("transformers") is None:
        console.print("transformers is not installed, so there is nobody to compare with: pip install -e .[test]")
        return 1
    cut = f", {text_layers} text layers" if text_layers else ""
    cut += f", {vision_blocks} vision blocks" if vision_blocks else ""
    table = Table(
        title=f"{hardware(device)}: {shape} shape{cut}; {prompts} pages of {page[0]} x {page[1]} px x {tokens} tokens",
        title_justify="left",
    )
    for column in ("dtype", "engine", "prefill tok/s", "ours", "decode tok/s", "ours", "peak MB", "same tokens"):
        table.add_column(column, justify="left" if column in ("dtype", "engine") else "right")
    rooflines = []
    for dtype in dtypes:
        with console.status(dtype) as status:
            results, roofline = measure(
                shape,
                device=device,
                text_layers=text_layers,
                vision_blocks=vision_blocks,
                dtype=dtype,
                prompts=prompts,
                tokens=tokens,
                page=page,
                rounds=rounds,
                note=status.update,
            )
        for result in results:
            table.add_row(*_cells(result, results[0]))
        rooflines.append((dtype, roofline))
    console.print(table)
    console.print(
        f"ours: how many times faster sightread is, ratio of the medians of {rounds} rounds in turns (least to most). "
        "peak: what a run took beyond the weights."
    )
    for dtype, roofline in rooflines:
        if roofline is not None:
            console.print(_sentence(dtype, roofline))
    return 0


def _cells(result: Result, ours: Result) -> list[str]:
    faster = ["", ""]
    if result.name in (BATCHED, SINGLE):
        faster = ["{:.2f} ({:.2f} to {:.2f})".format(*ratio(result, ours, each)) for each in ("prefill_s", "decode_s")]
    return [
        result.dtype,
        result.name,
        f"{result.prefill_rate:.0f}",
        faster[0],
        f"{result.decode_rate:.1f}",
        faster[1],
        f"{result.peak_mb:.0f}",
        f"{100 * result.same_tokens:.0f} %",
    ]


def _sentence(dtype: str, roofline: Roofline) -> str:
    return (
        f"{dtype}: prefill at {100 * roofline.prefill_share:.0f} % of {roofline.matrix_tflops:.0f} TFLOP/s, "
        f"decode at {100 * roofline.decode_share:.0f} % of {roofline.bandwidth_gbs:.0f} GB/s, both as measured here"
    )
