"""`sightread bench engine`: how fast the embedded engine is beside its peers, as one table."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from jobs.bench.engine_rounds import Measured, Result, Setting, hardware, measure, ratio
from jobs.bench.nano import page_seconds
from jobs.bench.peer_process import VLLM_PYTHON
from jobs.bench.roofline import Roofline
from schemas.checkout import NANO


def bench_engine(settings: Sequence[Setting], console: Console) -> int:
    """settings: one for each dtype, else alike. An interrupt ends it with the table of what there is."""
    if importlib.util.find_spec("transformers") is None:
        console.print("transformers is not installed, so there is nobody to compare with: pip install -e .[test]")
        return 1
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True)

    if not os.environ.get(VLLM_PYTHON):
        say(f"without vLLM: {VLLM_PYTHON} names no interpreter that has it")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    done: list[Measured] = []
    ended = signal.signal(signal.SIGTERM, stop)  # `timeout 600 sightread bench engine`
    try:
        for setting in settings:
            done.append(Measured(setting))
            measure(done[-1], say)
        say("a page through the nano checkpoint, the way of a job")
        page = page_seconds(NANO)
    except KeyboardInterrupt:
        say("interrupted; this is what was measured")
        return 130
    finally:
        signal.signal(signal.SIGTERM, ended)
        if any(each.complete for each in done):
            _show(done, console)
    console.print(f"the nano checkpoint, {page}")
    return 0


def _show(done: list[Measured], console: Console) -> None:
    setting = done[0].setting
    cut = f", {setting.text_layers} text layers" if setting.text_layers else ""
    cut += f", {setting.vision_blocks} vision blocks" if setting.vision_blocks else ""
    width, height = setting.page
    table = Table(
        title=f"{hardware(setting.device)}: {setting.shape} shape{cut}; "
        f"{setting.prompts} pages of {width} x {height} px x {setting.tokens} tokens",
        title_justify="left",
    )
    for column in ("dtype", "engine", "rounds", "prefill tok/s", "ours", "decode tok/s", "ours", "peak MB", "same"):
        table.add_column(column, justify="left" if column in ("dtype", "engine") else "right")
    for measured in done:
        for result in measured.complete:
            table.add_row(*_cells(result, measured.results[0]))
    console.print(table)
    console.print(
        "ours: how many times faster sightread is, ratio of the medians (least to most of single rounds). peak: what "
        "the peer's process held, weights and all. same: tokens up to the first that is not ours."
    )
    for measured in done:
        if setting.device != "cpu" and measured.complete:
            console.print(_sentence(measured.setting.dtype, measured.roofline()))


def _cells(result: Result, ours: Result) -> list[str]:
    faster = ["", ""]
    if result is not ours:
        faster = ["{:.2f} ({:.2f} to {:.2f})".format(*ratio(result, ours, each)) for each in ("prefill_s", "decode_s")]
    return [
        result.dtype,
        result.name,
        str(len(result.prefill_s)),
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
