"""`sightread bench engine`: the embedded engine beside batched transformers and vLLM; some minutes a dtype.

All run the same random weights over the same requests: pages of ten sizes, answers of unequal length, Qwen's sampling.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time

from rich.console import Console

from jobs.arguments import count
from jobs.bench.engine_report import as_json, show
from jobs.bench.engine_rounds import Measured, Setting, measure
from jobs.bench.pages import SIZES, halved
from jobs.bench.peer_process import VLLM_PYTHON
from jobs.terminal import console_for
from model.network.cpu_linear import computes_bfloat16
from model.prompts.presets import PRESETS


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", default="2b", help="2b, 4b, 8b or 32b")
    parser.add_argument("--text-layers", type=count, metavar="N", help="only so many (default: 2 on a CPU)")
    parser.add_argument("--vision-blocks", type=count, metavar="N", help="the same for the vision tower")
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=["float32", "bfloat16"],
        help="default: bfloat16; on a CPU float32, and bfloat16 where it has instructions for it",
    )
    parser.add_argument("--requests", type=count, metavar="N", help="at once (default: 64, on a CPU 16)")
    parser.add_argument(
        "--pages", type=_sizes, metavar="WxH,…", help="pixels of the pages that they take in turns (default: ten sizes)"
    )
    parser.add_argument(
        "--answers", type=_range, metavar="N-N", help="least and most tokens (default: 50-400, on a CPU 16-64)"
    )
    parser.add_argument("--steps", type=count, default=16, metavar="N", help="of decode that are measured alone")
    parser.add_argument("--greedy", action="store_true", help="instead of Qwen's preset of sampling")
    parser.add_argument("--rounds", type=count, default=3, metavar="N")
    parser.add_argument("--price", type=_price, default=1.0, metavar="$", help="an hour of the device (default: 1)")
    parser.add_argument("--json", action="store_true", help="one object on stdout; all else goes to stderr")


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    bounds = int(least), int(most or least)
    if not 1 < bounds[0] <= bounds[1]:
        raise argparse.ArgumentTypeError("must be N-N, the smaller first, and at least 2: the first is prefill's")
    return bounds


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    sizes = []
    for size in text.split(","):
        width, _, height = size.partition("x")
        sizes.append((int(width), int(height)))
        if min(sizes[-1]) < 32 or sizes[-1][0] % 32 or sizes[-1][1] % 32:
            raise argparse.ArgumentTypeError("must be WxH in multiples of 32")
    return tuple(sizes)


def _price(text: str) -> float:
    if not 0 < (price := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return price


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
            requests=options.requests or (16 if on_cpu else 64),
            sizes=options.pages or (halved(SIZES) if on_cpu else SIZES),
            answers=options.answers or ((16, 64) if on_cpu else (50, 400)),
            steps=options.steps,
            sampling={} if options.greedy else dict(PRESETS[False, True]),
            rounds=options.rounds,
        )
        for dtype in options.dtype or _dtypes(on_cpu)
    ]


def _dtypes(on_cpu: bool) -> list[str]:
    if not on_cpu:
        return ["bfloat16"]
    return ["float32", "bfloat16"] if computes_bfloat16() else ["float32"]


def run(options: argparse.Namespace) -> int:
    """An interrupt ends it with the tables of what there is."""
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
    except KeyboardInterrupt:
        report("interrupted; this is what was measured")
        return 130
    finally:
        signal.signal(signal.SIGTERM, ended)
        console: Console = console_for(sys.stderr if options.json else sys.stdout)
        show(done, options.price, console)
        if options.json:
            print(json.dumps(as_json(done, options.price)), flush=True)
    return 0
