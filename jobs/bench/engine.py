"""`sightread bench engine`: the embedded engine beside transformers and vLLM; a few minutes a dtype.

All run the same random weights. One table tells how fast each is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time

from rich.console import Console
from rich.table import Table

from jobs.arguments import count
from jobs.bench.engine_rounds import Measured, Result, Setting, hardware, measure, ratio
from jobs.bench.nano import page_seconds
from jobs.bench.peer_process import VLLM_PYTHON
from jobs.bench.roofline import Roofline
from jobs.display import console_for
from schemas.checkout import NANO


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", default="2b", help="2b, 4b, 8b or 32b")
    parser.add_argument("--text-layers", type=count, metavar="N", help="only so many (default: 2 on a CPU)")
    parser.add_argument("--vision-blocks", type=count, metavar="N", help="the same for the vision tower")
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], help="default: both on a CPU")
    parser.add_argument("--prompts", type=count, default=4, metavar="N")
    parser.add_argument("--tokens", type=_several, default=32, metavar="N", help="answered to each prompt")
    parser.add_argument("--page", type=_size, default=(736, 1024), metavar="WxH", help="pixels of each prompt's page")
    parser.add_argument("--rounds", type=count, default=3, metavar="N")


def _several(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("must be at least 2: the first is prefill's")
    return number


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    sides = int(width), int(height)
    if min(sides) < 32 or sides[0] % 32 or sides[1] % 32:
        raise argparse.ArgumentTypeError("must be WxH in multiples of 32")
    return sides


def _settings(options: argparse.Namespace) -> list[Setting]:
    """One for each dtype, else alike."""
    on_cpu = options.device == "cpu"
    return [
        Setting(
            shape=options.shape,
            device=options.device,
            text_layers=options.text_layers or (2 if on_cpu else None),
            vision_blocks=options.vision_blocks or (2 if on_cpu else None),
            dtype=dtype,
            prompts=options.prompts,
            tokens=options.tokens,
            page=options.page,
            rounds=options.rounds,
        )
        for dtype in options.dtype or (["float32", "bfloat16"] if on_cpu else ["bfloat16"])
    ]


def run(options: argparse.Namespace) -> int:
    """An interrupt ends it with the table of what there is."""
    console = console_for()
    if importlib.util.find_spec("transformers") is None:
        console.print("transformers is not installed, so there is nobody to compare with: pip install -e .[test]")
        return 1
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True)

    if not os.environ.get(VLLM_PYTHON):
        report(f"without vLLM: {VLLM_PYTHON} names no interpreter that has it")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    done: list[Measured] = []
    ended = signal.signal(signal.SIGTERM, stop)  # `timeout 600 sightread bench engine`
    try:
        for setting in _settings(options):
            done.append(Measured(setting))
            measure(done[-1], report)
        report("a page through the nano checkpoint, the way of a job")
        page = page_seconds(NANO)
    except KeyboardInterrupt:
        report("interrupted; this is what was measured")
        return 130
    finally:
        signal.signal(signal.SIGTERM, ended)
        if any(measured.complete for measured in done):
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
        faster = [
            "{:.2f} ({:.2f} to {:.2f})".format(*ratio(result, ours, phase)) for phase in ("prefill_s", "decode_s")
        ]
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
