"""A whole job with the `vllm` engine over the real vLLM, beside the same with the embedded one.

Needs the interpreter of an environment that has vLLM in SIGHTREAD_VLLM_PYTHON: scripts/setup-vllm makes one.
"""

from __future__ import annotations

import os

import pytest

from schemas.checkout import NANO as CHECKPOINT
from tests.support.world import World, write_image, write_pdf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1100),
    pytest.mark.skipif("SIGHTREAD_VLLM_PYTHON" not in os.environ, reason="SIGHTREAD_VLLM_PYTHON names no interpreter"),
]


def test_a_whole_job_gives_the_rows_of_the_embedded_engine(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=2)
    write_image(world.inputs / "b.png")
    (world.inputs / "bad.jpg").write_bytes(b"garbage")
    keys = ("input_uri", "unit_index", "status", "text", "prompt_tokens", "output_tokens", "finish_reason")
    found = []
    for kind in ("torch", "vllm"):
        world.spec["output"] = str(world.folder / kind)
        world.output = world.folder / kind
        world.spec["engine"] = {"kind": kind, "model": str(CHECKPOINT), "dtype": "float32", "slots": 16}
        world.run(timeout_s=500)
        found.append([{key: row[key] for key in keys} for task in ("ocr", "caption") for row in world.rows(task)])
        world.nothing_left()
    assert found[0] == found[1]
    assert [row["status"] for row in found[0]].count("ok") >= 3
