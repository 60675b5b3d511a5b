"""The shipped checkpoint is a checkpoint like any other: our engine, transformers and vLLM read the same from it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.bench.peer_process import SITE
from model.engines.torch_engine import TorchEngine
from model.nano.fonts import Face
from model.nano.pages import held_out_lines
from model.nano.render import Sample
from model.nano.tokens import OCR_PROMPT
from schemas.checkout import NANO as CHECKPOINT
from schemas.request import Message, Request, Sampling
from tests.support.reference import picture, transformers

LINES = 50
MOST_TOKENS = 64
PROMPT = f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{OCR_PROMPT}<|im_end|>\n<|im_start|>assistant\n"
VLLM = os.environ.get("SIGHTREAD_VLLM_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped"),
]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    kinds = ("prose", "random")  # random strings: replies that no language model would guess
    return [
        sample
        for kind in kinds
        for sample in held_out_lines(
            [Face("Aileron", None, 1.0)], LINES // 2, noise=0.5, seed=31, kind=kind, max_chars=30
        )
    ]


@pytest.fixture(scope="module")
def ours(samples: list[Sample]) -> list[str]:
    async def read() -> list[str]:
        engine = TorchEngine(CHECKPOINT, dtype="float32", slots=16)
        try:
            requests = [
                Request(
                    str(number),
                    (Message("user", (picture(sample.picture), OCR_PROMPT)),),
                    Sampling(max_tokens=MOST_TOKENS),
                )
                for number, sample in enumerate(samples)
            ]
            return [each.text for each in await asyncio.gather(*map(engine.generate, requests))]
        finally:
            await engine.close()

    return asyncio.run(read())


def test_transformers_reads_the_same(samples: list[Sample], ours: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = transformers.Qwen3VLForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
        processor = transformers.AutoProcessor.from_pretrained(CHECKPOINT)
        theirs = []
        for sample in samples:
            inputs = processor(text=[PROMPT], images=[Image.fromarray(np.array(sample.picture))], return_tensors="pt")
            made = network.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
            theirs.append(processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    assert ours == theirs
    assert len(set(ours)) > LINES / 2


@pytest.mark.skipif(VLLM is None, reason="SIGHTREAD_VLLM_PYTHON names no interpreter that has vLLM")
@pytest.mark.timeout(900)
def test_vllm_reads_the_same(samples: list[Sample], ours: list[str], tmp_path: Path) -> None:
    paths = []
    for number, sample in enumerate(samples):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.array(sample.picture)).save(paths[-1])
    order = {"folder": str(CHECKPOINT), "prompt": PROMPT, "pictures": paths, "max_tokens": MOST_TOKENS}
    (tmp_path / "sitecustomize.py").write_text(SITE)
    assert VLLM is not None
    done = subprocess.run(
        [VLLM, str(Path(__file__).parent / "support" / "vllm_lines.py")],
        input=json.dumps(order),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert ours == json.loads(done.stdout.strip().splitlines()[-1])
