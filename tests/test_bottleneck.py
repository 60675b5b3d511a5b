"""Pipelines that are slow at one known place each: the run names it, and its shares are those that the kernel's clocks
give from outside. One in CI; all by `scripts/test --whole tests/test_bottleneck.py`."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipelines.summary.utilization import UtilizationSummary
from tests.support.profiler import Profiler
from tests.support.world import World, opened, write_recording

PLACES = ("parse", "decode", "engine", "commit", "driver")
PROCESSES = {
    "decode": ("(Decode)", "decoder_child"),
    "parse": ("(Infer)",),
    "commit": ("(Commit)", "(SlowCommit)"),
    "driver": ("tests.support.seeded_run",),
}
ROWS = 24
DELAY_S = 0.5
"""Of a reply, where the engine is slow; else it answers at once."""
SLOTS = 2


def seed(world: World, place: str) -> None:
    """Every row a chunk. One that is slow to decode has 12 million pixels, which are shown to the model as few."""
    first, *others = (world.inputs / f"{number:03}.png" for number in range(ROWS))
    if place == "decode":
        noise = random.Random(0).randbytes(3 * 4000 * 3000)
        Image.frombytes("RGB", (4000, 3000), noise).save(first, compress_level=1)
    else:
        Image.new("RGB", (32, 32)).save(first)
    for other in others:
        os.link(first, other)
    line = {"sample": "*", "task": "*", "reply": "x", "delay_s": DELAY_S if place == "engine" else 0.0}
    write_recording(world.recording, line)
    world.spec |= {
        "tasks": ["tests.support.seeded_run:TASK" if place == "parse" else "caption"],
        "decode": {"workers": 1, "image_max_tokens": 64},
        "limits": {"chunk_units": 1},
    }
    world.spec["engine"] |= {"slots": SLOTS}
    world.module = "tests.support.seeded_run"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_one_slow_place_is_named_with_the_shares_that_are_seen_from_outside(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    for place in PLACES[: amount(1, len(PLACES))]:
        folder = tmp_path / place
        folder.mkdir()
        with opened(folder) as world:
            seed(world, place)
            process = world.start(place, str(world.spec_file))
            with Profiler(world.living) as profiler:
                text, _ = process.communicate(timeout=300)
            assert process.returncode == 0, text
            stored = json.loads((world.output / "_job" / "summary.json").read_text())["engine"]
        use = UtilizationSummary.of(stored)
        assert use is not None
        assert use.bottleneck == place
        ours = {stage.stage: stage.share for stage in use.stages}
        until_s = use.since_s + use.span_s
        outside = {name: profiler.shares(lines, use.since_s, until_s) for name, lines in PROCESSES.items()}
        delays = ROWS * DELAY_S / (SLOTS * use.span_s) if place == "engine" else 0.0
        outside["engine"] = delays, delays
        shown = ", ".join(
            f"{name} {ours[name]:.1%} (outside {had:.1%}{f' to {wanted:.1%}' if wanted - had > 0.005 else ''})"
            for name, (had, wanted) in outside.items()
        )
        figure(f"slow at {place}: bottleneck {use.bottleneck} over {use.span_s:.1f} s; {shown}")
        for name, (had, wanted) in outside.items():  # one who waits for a CPU that others have is busy or not
            assert had - 0.1 <= ours[name] <= wanted + 0.1, shown
