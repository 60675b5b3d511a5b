"""Our kernels for decode attention, by Triton's interpreter. Triton is a gigabyte: where it is not installed this is
skipped, and CI has it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

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
