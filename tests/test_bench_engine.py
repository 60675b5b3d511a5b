"""`sightread bench engine` on a shape that takes seconds: the peers agree on every token, the tables have all rows and
no ratio outside its own range; and what a roofline counts, against numbers worked out by hand.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.bench.engine_report import as_json, legs, show
from jobs.bench.engine_rounds import Measured, Result, Setting, Spread, ratio, same
from jobs.bench.pages import SIZES, Prompt, answer_lengths, halved
from jobs.bench.peer_process import VLLM_PYTHON, Process
from jobs.bench.roofline import Ceilings, Work, measure_ceilings
from jobs.bench.shapes import config_json
from jobs.cli import main
from model.nano.export import describe
from model.network.config import Config
from schemas.errors import EngineError

LINE = (
    "bench engine --shape tiny --dtype float32 --requests 3 --answers 4-9 --pages 64x96,96x96,32x64 --steps 3 "
    "--rounds 2 --price 2"
)
SETTING = Setting("tiny", "cpu", None, None, "float32", 3, ((64, 96), (96, 96), (32, 64)), (4, 9), 3, {}, 2)


def test_every_peer_is_measured_over_the_same_requests_and_writes_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv(VLLM_PYTHON, str(broken))
    assert main([*LINE.split(), "--json"]) == 0
    out, err = capsys.readouterr()
    # who cannot start is left out, with the reason
    assert "left out: bench engine: vllm: no such library" in err
    [measured] = json.loads(out)["measured"]
    ours, theirs = measured["engines"]
    assert (ours["name"], theirs["name"]) == ("sightread", "transformers")
    assert theirs["version"].startswith("transformers ")
    assert ours["same"] == theirs["same"] == 1.0
    assert [ours["rounds"][n]["output_tokens"] for n in (0, 1)] == [4 + 6 + 9] * 2
    assert set(theirs["ours"]) == {"prefill", "decode", "whole"}
    assert [leg["count"] for leg in measured["legs"]] == [1, 2, 2, 2, 2, 2]
    # each part a line, as it ends; then the table, which names what it was measured on
    parts = [line for line in err.splitlines() if "round" in line and " s" in line and "whole" in line]
    assert "round 2 of 2: transformers: whole" in parts[-1]
    assert torch.backends.cpu.get_cpu_capability() in err
    assert torch.__version__ in err
    price = ours["dollars_per_million_pages"]
    assert price == pytest.approx(2 * 1e6 / 3600 / ours["pages_per_s"])


def test_a_peer_that_is_dead_before_it_is_asked_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            ["sh", "-c", "echo out of luck >&2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
        )
    process.wait()
    with pytest.raises(EngineError, match="bench engine: vllm: out of luck"):
        Process(process, log, "vllm").ask({})
    process.communicate()


class Impatient:
    """A peer whose user has seen enough after some parts."""

    running = 0
    parts_left = 7

    def part(self, name: str, **arguments: Any) -> dict[str, Any]:
        type(self).parts_left -= 1
        if self.parts_left < 0:
            raise KeyboardInterrupt
        if name == "ceilings":
            return {"matrix_flops": 1e12, "bandwidth": 1e10, "peak_mb": 1.0, "version": "1"}
        return {**(LEGS if name == "legs" else WHOLE), "peak_mb": 9.0, "version": "1"}


@contextmanager
def impatient(order: dict[str, Any], folder: Path) -> Iterator[tuple[Impatient, dict[str, Any]]]:
    Impatient.running += 1
    try:
        yield Impatient(), {"tokens": [1, 2], "version": "1", "dtype": "float32"}
    finally:
        Impatient.running -= 1


def test_an_interrupt_shows_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VLLM_PYTHON, raising=False)
    monkeypatch.setattr("jobs.bench.engine_rounds.started", impatient)
    monkeypatch.setattr("jobs.bench.engine_rounds.write_checkpoint", write_no_weights)
    # the ceilings, a round of three parts, of the second round two of ours and the peer's; in the third nothing
    assert main([*LINE.replace("--rounds 2", "--rounds 3").split(), "--json"]) == 130
    out, err = capsys.readouterr()
    [measured] = json.loads(out)["measured"]
    assert [leg["count"] for leg in measured["legs"]] == [2, 2, 2, 2, 2]
    assert measured["engines"][1]["ours"]["whole"]["count"] == 2
    assert "interrupted" in err
    assert "of what its legs add up to" in err
    assert Impatient.running == 0, "a peer was left running"


def write_no_weights(config: dict[str, Any], folder: Path, **rest: Any) -> None:
    describe(folder, picture_px=1 << 20, clip_px=1 << 20)


def measured_so_far(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> Measured:
    measured = Measured(SETTING)
    measured.prompts = [Prompt(width, height, [1], [2, 3]) for width, height in SETTING.sizes]
    measured.ceilings = Ceilings(matrix_flops=1e12, bandwidth=1e10)
    measured.results = [
        Result("sightread", "torch", "float32", 1.0, 1.0),
        Result("transformers", "transformers 5", "float32", 1.0, 1.0),
    ]
    measured.results[0].rounds, measured.results[1].rounds = ours, theirs
    return measured


LEGS = {"prefill_s": 2.0, "step_s": 0.5, "greedy_step_s": 0.4, "one_step_s": 0.1, "step_rows": 3.0}
WHOLE = {"whole_s": 8.0, "output_tokens": 19.0}
PEER = {"prefill_s": 3.0, "step_s": 0.6, "step_rows": 2.0, "whole_s": 16.0, "output_tokens": 19.0}


@pytest.mark.parametrize("parts", range(6))
def test_wherever_it_is_interrupted_there_is_a_table_without_what_is_missing(parts: int) -> None:
    """parts: how many had ended, in the order in which they are measured."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for part in [LEGS, WHOLE, PEER, LEGS, WHOLE][:parts]:
        if part is LEGS:
            ours.append({})
        (theirs if part is PEER else ours)[-1:] = [{**part} if part is not WHOLE else {**ours[-1], **part}]
    measured = measured_so_far(ours, theirs)
    console = Console(file=io.StringIO(), width=200)
    show([measured], 1.0, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert ("transformers 5" in text) == (parts >= 3)
    assert ("1.80" in text) == (parts >= 3)  # its step, a row: 0.6 / 2 beside 0.5 / 3
    assert ("of what its legs add up to" in text) == (parts >= 2)
    assert bool(text) == (parts >= 1)
    assert json.loads(json.dumps(as_json([measured], 1.0)))["measured"]


def test_a_bench_that_is_interrupted_before_the_first_weight_shows_nothing() -> None:
    console = Console(file=io.StringIO())
    show([Measured(SETTING)], 1.0, console)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    assert as_json([Measured(SETTING)], 1.0)["measured"][0]["legs"] == []


SECONDS = st.floats(1e-3, 1e3)


@given(st.lists(SECONDS, max_size=6), st.lists(SECONDS, max_size=6))
def test_no_ratio_lies_outside_its_own_range(mine: list[float], other: list[float]) -> None:
    """Also where one has more rounds than the other; it is of rounds that stood side by side."""
    ours, theirs = Result("sightread", "", "", 1.0, 1.0), Result("transformers", "", "", 1.0, 1.0)
    ours.rounds = [{"whole_s": seconds} for seconds in mine]
    theirs.rounds = [{"whole_s": seconds} for seconds in other]
    found = ratio(theirs, ours, "whole_s")
    pairs = [b / a for a, b in zip(mine, other, strict=False)]
    if not pairs:
        assert found is None
        return
    assert found is not None
    assert found.least <= found.median <= found.most
    assert (found.least, found.most, found.count) == (min(pairs), max(pairs), len(pairs))


def test_a_ratio_is_for_as_many_rows_and_sameness_ends_at_the_first_difference() -> None:
    ours, theirs = Result("sightread", "", "", 1.0, 1.0), Result("transformers", "", "", 1.0, 1.0)
    ours.rounds, theirs.rounds = [{"step_s": 2.0, "step_rows": 8}], [{"step_s": 3.0, "step_rows": 4}]
    assert ratio(theirs, ours, "step_s", "step_rows") == Spread(3.0, 3.0, 3.0, 1)
    assert same([1, 2, 3, 4], [1, 2, 9, 4]) == 0.5


def test_the_whole_is_held_against_what_its_legs_add_up_to() -> None:
    measured = measured_so_far([LEGS | WHOLE], [])
    # answers of 4, 6 and 9 tokens: after the first, three rows for 3 steps, two for 2, one for 3
    assert sorted(measured.answers) == [4, 6, 9]
    expected_s = 2.0 + 3 * 0.5 + 2 * 0.3 + 3 * 0.1
    assert measured.legs_s() == pytest.approx(expected_s)
    whole = legs(measured)[-1]
    assert whole["leg"].startswith("the whole")
    assert whole["share"] == pytest.approx(expected_s / 8.0)


def test_requests_are_of_ten_sizes_and_as_many_lengths() -> None:
    for sizes in (SIZES, halved(SIZES)):
        assert all(side % 32 == 0 for size in sizes for side in size)
        tokens = [width * height // 32**2 for width, height in sizes]
        assert len(set(tokens)) == 10
        assert all(one < other for one, other in pairwise(tokens))
    assert 280 < SIZES[0][0] * SIZES[0][1] / 32**2 < 300
    lengths = answer_lengths(64, 50, 400)
    assert (min(lengths), max(lengths), len(set(lengths))) == (50, 400, 64)
    assert lengths != sorted(lengths)
    assert answer_lengths(1, 5, 9) == [5]


@pytest.mark.parametrize("arguments", ["--answers 1-4", "--answers 9-4", "--pages 64x90", "--price 0", "--requests 0"])
def test_what_makes_no_sense_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "engine", *arguments.split()])
    assert arguments.split()[0] in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(600)
@pytest.mark.skipif(VLLM_PYTHON not in os.environ, reason=f"{VLLM_PYTHON} names no interpreter that has vLLM")
def test_vllm_stands_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LINE.split(), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "left out" not in err
    *_, theirs = json.loads(out)["measured"][0]["engines"]
    assert (theirs["name"], theirs["same"]) == ("vllm", 1.0)
    assert set(theirs["ours"]) == {"prefill", "decode", "whole"}


def test_a_shape_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "engine", "--shape", "7b"]) == 2
    assert "'7b' is none of 2b, 4b, 8b, 32b, tiny" in capsys.readouterr().err


def plain_config(**text: object) -> Config:
    """E 4, one layer, 2 heads of 2 over 1, ffn 3, vocabulary 10; vision: width 8, one block, ffn 5, no taps."""
    data = config_json("2b", text_layers=1, vision_blocks=1)
    data["text_config"] |= {
        "hidden_size": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 3,
        "vocab_size": 10, "rope_parameters": {"rope_theta": 1e4, "mrope_section": [1, 0, 0]}, **text,
    }  # fmt: skip
    data["vision_config"] |= {
        "hidden_size": 8, "intermediate_size": 5, "depth": 1, "num_heads": 2, "out_hidden_size": 4,
        "deepstack_visual_indexes": [], "num_position_embeddings": 4,
    }  # fmt: skip
    if text:
        data["model_type"] = "qwen3_vl_moe"
    return Config.from_json(data)


def test_a_roofline_counts_what_a_pencil_does() -> None:
    # a layer: q 4x4, k and v 2x4 each, o 4x4, gate and up 3x4, down 4x3
    layer = 16 + 8 + 8 + 16 + 12 + 12 + 12
    # the tower: patches of 3 x 2 x 16 x 16 values, qkv 24x8, proj 8x8, mlp 5x8 and 8x5; the merger 32x32 and 4x32
    tower, merger = 1536 * 8 + 192 + 64 + 40 + 40, 1024 + 128
    prompt = (
        2 * tower * 16  # patches
        + 2 * merger * 4  # tokens of the picture
        + 2 * (16 * 16) * 8 * 2  # scores and their sum over values, all to all, width 8
        + 2 * layer * 6  # tokens of the prompt
        + (6 * 6) * 2 * 2 * 2  # the same, half of it masked: 2 products x 2 FLOPs x 36 / 2 cells x 2 heads x 2
        + 2 * 4 * 10  # the head, once
    )
    work = Work(plain_config(), itemsize=2)
    assert work.prefill_flops([(6, 16)]) == prompt
    assert work.prefill_flops([(6, 16), (9, 32)]) == prompt + work.prefill_flops([(9, 32)])
    # weights once; keys and values of rows of 8, 5 and 2 tokens: 2 numbers x 1 head each
    assert work.step_bytes([8, 5, 2]) == 2 * (layer + 40) + 15 * 2 * 2 * 2


def test_a_roofline_of_experts_counts_those_that_are_used() -> None:
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 3}
    attention, router, expert = 16 + 8 + 8 + 16, 8 * 4, 3 * 4 * 3
    dense, work = Work(plain_config(), itemsize=2), Work(plain_config(**experts), itemsize=2)
    # two experts and the router stand for the dense layer's three matrices, which are as large as one expert
    assert work.prefill_flops([(6, 16)]) - dense.prefill_flops([(6, 16)]) == 2 * (expert + router) * 6
    cache = 1 * 8 * 2 * 2 * 2
    assert work.step_bytes([8]) == 2 * (attention + router + 2 * expert + 40) + cache
    assert work.step_bytes([8] * 100) == 2 * (attention + router + 8 * expert + 40) + 100 * cache


def test_shares_are_of_what_the_device_was_measured_to_do() -> None:
    measured = measured_so_far([LEGS | WHOLE], [])
    first, step = legs(measured)[0], legs(measured)[1]
    pages = [(prompt.tokens, prompt.patches) for prompt in measured.prompts]
    assert first["share"] == pytest.approx(measured.work.prefill_flops(pages) / 1e12 / 2.0)
    lengths = [prompt.tokens + 1.5 for prompt in measured.prompts]
    assert step["share"] == pytest.approx(measured.work.step_bytes(lengths) / 1e10 / 0.5)


def test_a_machine_is_measured_to_do_something() -> None:
    found = measure_ceilings("cpu", torch.float32, side=64, size=1 << 16)
    assert found.matrix_flops > 0
    assert found.bandwidth > 0


@pytest.mark.gpu
@pytest.mark.timeout(900)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_every_leg_has_a_share(capsys: pytest.CaptureFixture[str]) -> None:
    line = LINE.replace("float32", "bfloat16") + " --device cuda --json"
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    [measured] = json.loads(out)["measured"]
    assert all(leg["share"] > 0 for leg in measured["legs"])
    assert len(measured["legs"]) == 6
    assert torch.cuda.get_device_name() in measured["hardware"]
    assert torch.cuda.get_device_name() in err
