"""Our kernels for decode attention, by Triton's interpreter. Triton is a gigabyte: where it is not installed this is
skipped, and CI has it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model.network.kv_blocks import BLOCK_TOKENS
from schemas.checkout import ROOT

CHECKS = "tests/support/interpreted_kernels.py"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: no kernel is tested")
def test_kernels_are_exact_and_bit_equal_whoever_comes_and_goes(request: pytest.FixtureRequest) -> None:
    """The checks in CHECKS."""
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CHECKS]
    line += ["--whole"] if request.config.getoption("--whole") else []
    done = subprocess.run(
        line, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: no kernel is compiled")
@pytest.mark.parametrize(("dtype", "stages"), [("bf16", 3), ("fp32", 2)])
def test_kernels_compile_for_a_gpu_that_is_not_here(
    dtype: str, stages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an H100, at the shape of 8B, as they are called: keys and values go to shared memory 16 bytes at a time, in
    bfloat16 to the matrix units, and nothing is spilled."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # Triton 3.9 warns where it is not set
    triton = importlib.import_module("triton")
    kernels = importlib.import_module("model.network.triton_decode")
    backends, compiler = (importlib.import_module(f"triton.{name}.compiler") for name in ("backends", "compiler"))
    numbers = {
        "T": BLOCK_TOKENS, "D": 128, "DP": 128, "Q": 4, "QP": 16, "TILE": kernels.TILE, "PIECE": kernels.PIECE,
        "SPLITS": kernels.SPLITS, "PRECISION": "ieee" if dtype == "fp32" else "tf32",
    }  # fmt: skip
    types = dict.fromkeys(("slots", "lengths"), "*i64") | {"table": "*i32", "scale": "fp32"}
    types |= dict.fromkeys(("maxima", "sums", "parts"), "*fp32")
    types |= dict.fromkeys(("q", "k", "v", "keys", "values", "out"), f"*{dtype}")
    for name in ("_store", "_attend", "_join"):
        kernel = getattr(kernels, name)
        fixed = {param.name: numbers[param.name] for param in kernel.params if param.is_constexpr}
        signature = {each: "constexpr" if each in fixed else types.get(each, "i32") for each in kernel.arg_names}
        even = [each not in fixed and each not in ("G", "W", "scale") for each in kernel.arg_names]
        source = compiler.ASTSource(
            fn=kernel,
            signature=signature,
            constexprs={(kernel.arg_names.index(each),): value for each, value in fixed.items()},
            attrs={(index,): [["tt.divisibility", 16]] for index, is_even in enumerate(even) if is_even},
        )
        target = backends.GPUTarget("cuda", 90, 32)
        ptx = triton.compile(source, target=target, options={"num_stages": stages}).asm["ptx"]
        assert ".local" not in ptx
        if name == "_attend":
            copies = re.findall(r"cp\.async\.c[ag]\.shared\.global.*?, (0x\w+)", ptx)
            assert copies.count("0x10") >= 16
            assert ("mma.sync" in ptx) == (dtype == "bf16")
