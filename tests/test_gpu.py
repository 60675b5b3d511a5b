"""The embedded engine on a CUDA device, held against itself on the CPU, which is held against the reference elsewhere.

.venv/bin/python -m pytest -m gpu
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Runner, Sequence
from model.engines.torch_engine import TorchEngine, free_bytes
from model.network.checkpoint import load
from model.network.loaded import DTYPES
from model.network.positions import positions
from model.prompts.chat import Chat
from schemas.errors import EngineError
from schemas.request import Clip, Completion, Message, Request, Sampling
from tests.support.reference import make_checkpoint
from tests.support.tiny import noise_picture, user

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # torch warns while it compiles, of TF32 at least; as an error that would be a reason to go on without
    pytest.mark.filterwarnings("default"),
]

CLIP = Clip(tuple(noise_picture(32, 64, n) for n in range(5)), tuple(n / 2 for n in range(5)))
ASKED = [
    user("What is the theatre, then?"),
    user(noise_picture(64, 96), "Read the text."),
    user(noise_picture(64, 96, 1), "and", noise_picture(96, 32, 2), "Compare the pictures."),
    user(CLIP, "What happens?"),
    user("why? " * 40),
]
VARIANTS = {
    "dense": {},
    "vision heads of 72": {"vision_head_dim": 72},
    "experts, yarn": {"experts": True, "yarn": True},
}


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "-"))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), **VARIANTS[request.param])


def sequence_of(folder: Path, runner: Runner, messages: tuple[Message, ...]) -> Sequence:
    prompt = Chat(folder).encode_with(EncoderCache().preprocess, messages)
    config = runner.network.config
    visual_ids = (config.image_id, config.video_id)
    places, delta = positions(prompt.input_ids, [grid for _, grid in prompt.visuals], visual_ids)
    items = [item for items, _ in prompt.visuals for item in items]
    return Sequence.of(prompt.input_ids, places, delta, VisualCursor(items), visual_ids)


def stepped(folder: Path, device: str, dtype: str, chunk: int, steps: int = 8) -> torch.Tensor:
    """Logits after the prompts and after sequence of some tokens, which are the same for all: [1 + steps, n, V]."""
    if device == "cpu":  # as it says, also where an engine would take float32 for want of instructions
        network = load(folder, dtype=DTYPES[dtype])
        runner = Runner(network, slots=len(ASKED), cache_tokens=4096, device=device)
    else:
        runner = Runner.load(folder, dtype=dtype, device=device, slots=len(ASKED), cache_tokens=4096)
    sequences = [sequence_of(folder, runner, messages) for messages in ASKED]
    made = []
    with torch.inference_mode():
        first = []
        for sequence in sequences:
            length = len(sequence.input_ids)
            for start in range(0, length, chunk):
                logits = runner.prefill([(sequence, start, min(chunk, length - start))])
            first.append(logits)
        made.append(torch.cat(first))
        for step in range(steps):
            for index, sequence in enumerate(sequences):
                sequence.output_ids.append(10 + 7 * step + index)
            made.append(runner.decode_logits(sequences))
    assert all(each.device.type == device for each in made)
    return torch.stack(made).float().cpu()


def test_float32_is_the_cpus_in_one_chunk_and_in_many(folder: Path) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    exact = stepped(folder, "cpu", "float32", 4096)
    for chunk in (4096, 23):
        assert (stepped(folder, "cuda", "float32", chunk) - exact).abs().max() <= 1e-3


def test_bfloat16_strays_no_further_than_the_cpus(folder: Path) -> None:
    exact, rounded = (stepped(folder, "cpu", dtype, 4096) for dtype in ("float32", "bfloat16"))
    for chunk in (4096, 23):
        found = stepped(folder, "cuda", "bfloat16", chunk)
        assert (found - exact).square().mean().sqrt() <= 1.5 * (rounded - exact).square().mean().sqrt()


def ask(engine: TorchEngine, requests: list[Request]) -> list[Completion | BaseException]:
    async def run() -> list[Completion | BaseException]:
        found = await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
        await engine.close()
        return found

    return asyncio.run(run())


def test_the_engine_writes_what_it_writes_on_a_cpu(folder: Path) -> None:
    requests = [Request("r", messages, Sampling(max_tokens=24)) for messages in ASKED]
    requests.append(Request("r", ASKED[1], Sampling(max_tokens=24, temperature=1.0, top_p=0.9, seed=4)))
    found = [
        [each.text for each in ask(TorchEngine(folder, dtype="float32", device=device, slots=3), requests)]  # type: ignore[union-attr]
        for device in ("cpu", "cuda")
    ]
    assert found[0] == found[1]


def test_what_cannot_fit_fails_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device runs out of memory over one long prompt; the others are answered."""
    engine = TorchEngine(folder, dtype="bfloat16", device="cuda", slots=8)
    plain = Runner.prefill

    def greedy(runner: Runner, chunks: list[tuple[Sequence, int, int]]) -> torch.Tensor:
        if any(len(each.input_ids) > 1000 for each, _, _ in chunks):
            torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device="cuda")
        return plain(runner, chunks)

    monkeypatch.setattr(Runner, "prefill", greedy)
    sampling = Sampling(max_tokens=4)
    found = ask(engine, [Request("r", messages, sampling) for messages in (*ASKED, user("why? " * 400))])
    assert all(isinstance(each, Completion) for each in found[:-1])
    assert isinstance(found[-1], EngineError)
    assert found[-1].kind == "out_of_memory"


def test_free_memory_is_the_devices() -> None:
    before = free_bytes("cuda")
    held = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    assert before - free_bytes("cuda") >= 1 << 28
    assert held.is_cuda
