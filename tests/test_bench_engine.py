"""`sightread bench engine` on a shape that takes seconds: the peers agree on every token, the table has all rows; and
what a roofline counts, against numbers worked out by hand.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from jobs.bench.engine_rounds import Result, ratio, same
from jobs.bench.peer_process import VLLM_PYTHON, Process
from jobs.bench.roofline import Work, count, roofline
from jobs.bench.shapes import SHAPES, config_json
from jobs.cli import main
from model.network.config import Config
from model.network.memory import Size, Vision
from schemas.errors import EngineError

LINE = "bench engine --shape small --dtype float32 --prompts 3 --tokens 4 --page 64x96 --rounds 2"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "small", Size(64, 2, 2, 1, 96, True, Vision(64, 96, 2, heads=2)))
    monkeypatch.setenv("COLUMNS", "160")


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("│")[1:-1]] for row in table.splitlines() if "float32" in row]


def test_the_table_has_every_peer_and_they_write_the_same(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv(VLLM_PYTHON, str(broken))
    assert main(LINE.split()) == 0
    out, err = capsys.readouterr()
    # who cannot start is left out, with the reason
    assert "left out: bench engine: vllm: no such library" in err
    found = rows(out)
    assert [row[1] for row in found] == ["sightread", "transformers, batched", "transformers, single"]
    assert all(row[-1] == "100 %" and row[2] == "2" for row in found)
    assert "a page of 50 lines" in out
    # each leg a line, as it ends
    legs = [line for line in err.splitlines() if "prefill" in line and "decode" in line]
    assert len(legs) == 2 * 3
    assert "round 2 of 2: transformers, single, 1 pages" in legs[-1]


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


def test_an_interrupt_shows_what_was_measured(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VLLM_PYTHON, raising=False)
    plain = Process.leg
    legs = []

    def impatient(process: Process, pages: int, tokens: int, batch: int) -> dict[str, object]:
        legs.append(process)
        if len(legs) == 6:  # three warm up, two of the first round are done
            raise KeyboardInterrupt
        return plain(process, pages, tokens, batch)

    monkeypatch.setattr(Process, "leg", impatient)
    assert main(LINE.split()) == 130
    out, err = capsys.readouterr()
    assert [row[1:3] for row in rows(out)] == [["sightread", "1"], ["transformers, batched", "1"]]
    assert "interrupted" in err
    assert all(process._process.poll() is not None for process in legs), "a peer was left running"


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(600)
@pytest.mark.skipif(VLLM_PYTHON not in os.environ, reason=f"{VLLM_PYTHON} names no interpreter that has vLLM")
def test_vllm_stands_beside(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(LINE.split()) == 0
    out, err = capsys.readouterr()
    assert "left out" not in err
    *_, row = rows(out)
    assert (row[1], row[-1]) == ("vllm", "100 %")


def test_a_shape_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "engine", "--shape", "7b"]) == 2
    assert "'7b' is none of 2b, 4b, 8b, 32b" in capsys.readouterr().err


def test_ratios_are_per_token_and_sameness_ends_at_the_first_difference() -> None:
    ours = Result("sightread", "float32", 4, 10, 3, prefill_s=[2.0, 4.0, 3.0], decode_s=[1.0, 1.0, 1.0])
    peer = Result("single", "float32", 1, 10, 3, prefill_s=[1.5, 1.0, 3.0], decode_s=[1.0, 0.5, 2.0])
    assert ratio(peer, ours, "prefill_s") == (4 * 1.5 / 3.0, 4 * 1.0 / 4.0, 4 * 3.0 / 3.0)
    assert ours.prefill_rate == pytest.approx(4 * 10 / 3.0)
    assert peer.decode_rate == pytest.approx(1 * 2 / 1.0)
    assert same([[1, 2, 3, 4], [5, 6]], [[1, 2, 9, 4], [5, 6]]) == 4 / 6


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
    work = count(plain_config(), prompts=3, prompt_tokens=6, patches=16, new_tokens=4, itemsize=2)
    assert work.prefill_flops == 3 * prompt
    # weights once; keys and values of 8 tokens of each prompt: 2 numbers x 1 head each
    assert work.decode_bytes == 2 * (layer + 40) + 3 * 8 * 2 * 2 * 2


def test_a_roofline_of_experts_counts_those_that_are_used() -> None:
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 3}
    attention, router, expert = 16 + 8 + 8 + 16, 8 * 4, 3 * 4 * 3
    sizes = {"prompt_tokens": 6, "patches": 16, "new_tokens": 4, "itemsize": 2}
    dense = count(plain_config(), prompts=1, **sizes)
    work = count(plain_config(**experts), prompts=1, **sizes)
    # two experts and the router stand for the dense layer's three matrices, which are as large as one expert
    assert work.prefill_flops - dense.prefill_flops == 2 * (expert + router) * 6
    cache = 1 * 8 * 2 * 2 * 2
    assert work.decode_bytes == 2 * (attention + router + 2 * expert + 40) + cache
    many = count(plain_config(**experts), prompts=100, **sizes)
    assert many.decode_bytes == 2 * (attention + router + 8 * expert + 40) + 100 * cache


def test_shares_are_of_what_the_device_was_measured_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bench.roofline._matrix_rate", lambda device: 2e12)
    monkeypatch.setattr("jobs.bench.roofline._bandwidth", lambda device: 1e11)
    found = roofline(Work(prefill_flops=1e13, decode_bytes=2e9), prefill_s=10.0, step_s=0.04, device="cuda")
    assert (found.matrix_tflops, found.bandwidth_gbs) == (2.0, 100.0)
    assert (found.prefill_share, found.decode_share) == (0.5, 0.5)


@pytest.mark.gpu
@pytest.mark.timeout(900)
def test_on_a_gpu_the_table_has_a_roofline(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    line = LINE.replace("float32", "bfloat16") + " --device cuda"
    assert main(line.split()) == 0
    out, _ = capsys.readouterr()
    sentence = next(line for line in out.splitlines() if line.startswith("bfloat16: prefill"))
    shares = [int(word) for word in sentence.split() if word.isdigit()]
    assert len(shares) == 4
    assert all(share >= 0 for share in shares)
    assert torch.cuda.get_device_name() in out
