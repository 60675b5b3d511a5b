"""What only a CUDA device runs: the kernel, the captured step, sampling beside it. Held against the same on the CPU,
which is held against the reference elsewhere; and nothing may have fallen back to something slower.

.venv/bin/python -m pytest -m gpu
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from random import Random

import pytest
import torch

from model.engines.decode_step import Choice, DecodeStep
from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Runner, Sequence
from model.engines.sampler import sample
from model.engines.slot_sampler import SlotSampler
from model.engines.step_graphs import CudaCapture
from model.engines.torch_engine import TorchEngine
from model.network.checkpoint import load
from model.network.kv_blocks import BLOCK_TOKENS, blocks_for
from model.prompts.chat import Chat
from schemas.request import Completion, Message, Request, Sampling
from tests.support.reference import make_checkpoint
from tests.support.tiny import noise_picture, user

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # torch warns while it compiles, of TF32 at least; as an error that would be a reason to go on without
    pytest.mark.filterwarnings("default"),
]

PRESET = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
SAMPLINGS = [
    Sampling(),
    Sampling(**PRESET, seed=1),
    Sampling(temperature=1.0, seed=2),
    Sampling(temperature=1.3, top_p=0.6, seed=3),
    Sampling(temperature=1.0, top_k=100, seed=4),
    Sampling(temperature=0.9, top_k=200, top_p=0.9, seed=5),
    Sampling(presence_penalty=1.5, repetition_penalty=1.2),
    Sampling(temperature=0.7, repetition_penalty=1.3, seed=6),
]
TEN_SIZES = [(32, 32), (32, 96), (64, 64), (96, 64), (96, 96), (64, 160), (128, 96), (160, 128), (192, 160), (224, 256)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def sequence_of(folder: Path, runner: Runner, messages: tuple[Message, ...]) -> Sequence:
    prompt = Chat(folder).encode_with(EncoderCache().preprocess, messages)
    config = runner.network.config
    places, delta = runner.network.positions(prompt.input_ids, [grid for _, grid in prompt.visuals])
    items = [item for items, _ in prompt.visuals for item in items]
    return Sequence.of(prompt.input_ids, places, delta, VisualCursor(items), (config.image_id, config.video_id))


def loaded(folder: Path, device: str) -> Runner:
    return Runner.load(folder, dtype="float32", device=device, slots=len(SAMPLINGS), cache_tokens=64 * BLOCK_TOKENS)


def written(folder: Path, runner: Runner, steps: int = 24) -> list[list[Choice]]:
    """By a prompt for each of SAMPLINGS, none as long as another; after some steps they end one by one, so that there
    are steps of every number of rows."""
    prompts = [user(noise_picture(64, 32 + 32 * n, n), "why? " * (1 + 9 * n)) for n in range(len(SAMPLINGS))]
    with torch.inference_mode():
        sequences = [sequence_of(folder, runner, messages) for messages in prompts]
        logits = [runner.prefill([(sequence, 0, len(sequence.input_ids))]) for sequence in sequences]
        for sequence, sampling in zip(sequences, SAMPLINGS, strict=True):
            assert sequence.slot is not None
            runner.sampler.take(sequence.slot, sampling, sequence.input_ids, None)
        answers = [[choice] for choice in runner.begin(sequences, torch.cat(logits))]
        running = list(zip(sequences, answers, strict=True))
        for step in range(steps):
            for (_, answer), choice in zip(running, runner.decode([one for one, _ in running]), strict=True):
                answer.append(choice)
            if step > 8 and len(running) > 1 and step % 2:
                runner.release(running.pop(step % len(running))[0])
        for sequence, _ in running:
            runner.release(sequence)
    return answers


def tokens(answers: list[list[Choice]]) -> list[list[int]]:
    return [[choice.token_id for choice in answer] for answer in answers]


def logprobs(answers: list[list[Choice]]) -> torch.Tensor:
    return torch.tensor([choice.logprob for answer in answers for choice in answer])


def test_graphs_write_what_plain_steps_and_the_cpu_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    with caplog.at_level(logging.WARNING):
        captured = loaded(folder, DEVICE)
        by_graphs = written(folder, captured)
    assert not fallen_back(caplog), "something fell back"
    captured._step._graphs = None
    by_kernel = written(folder, captured)
    monkeypatch.setattr(DecodeStep, "prepare_device", lambda step: None)
    plain, on_cpu = written(folder, loaded(folder, DEVICE)), written(folder, loaded(folder, "cpu"))
    assert tokens(by_graphs) == tokens(by_kernel) == tokens(plain) == tokens(on_cpu)
    for other in (by_kernel, plain, on_cpu):
        assert (logprobs(by_graphs) - logprobs(other)).abs().max() < 1e-3


@pytest.mark.parametrize("heads", [(16, 8, 128), (32, 8, 128), (64, 8, 128), (6, 2, 32)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"]
)
def test_the_kernel_is_exact_to_rounding(heads: tuple[int, int, int], dtype: torch.dtype, most: float) -> None:
    """Against attention in float64 over the same rounded numbers, lengths from 1 to the capacity; a row has the same
    bits alone."""
    from model.network.triton_decode import DecodeKernel

    H, G, D = heads
    random = Random(repr(heads))
    torch.manual_seed(0)
    most_tokens = 12 * BLOCK_TOKENS
    lengths = [0, 1, 127, 128, 255, 256, most_tokens - 1, *(random.randrange(most_tokens) for _ in range(9))]
    R, width = len(lengths), blocks_for(most_tokens)
    order = list(range(1, 1 + R * width))
    random.shuffle(order)
    table_SW = torch.tensor(order, dtype=torch.int32, device=DEVICE).view(R, width)
    keys, values = torch.randn(2, 1 + R * width, G, BLOCK_TOKENS, D, device=DEVICE).to(dtype)
    q = torch.randn(R, H, D, device=DEVICE).to(dtype)
    k, v = torch.randn(2, R, G, D, device=DEVICE).to(dtype)
    kernel = DecodeKernel(rows=R, heads=H, kv_heads=G, head_dim=D, device=DEVICE)
    slots = torch.arange(R, device=DEVICE)
    places = torch.tensor(lengths, device=DEVICE)
    kernel.store(k, v, keys, values, table_SW, slots, places)
    programs = kernel.programs(most_tokens)
    found = kernel.attend(q, keys, values, table_SW, slots, places, programs).clone()
    for row, length in enumerate(lengths):
        blocks = table_SW[row].long()
        key, value = (
            pool[blocks].transpose(0, 1).reshape(G, -1, D)[:, : length + 1].double() for pool in (keys, values)
        )
        assert torch.equal(key[:, -1], k[row].double())
        scores = q[row].double().view(G, H // G, D) @ key.transpose(1, 2) * D**-0.5
        expected = (scores.softmax(-1) @ value).view(H, D)
        assert (found[row].double() - expected).abs().max() < most
        one = slice(row, row + 1)
        alone = kernel.attend(q[one], keys, values, table_SW, slots[one], places[one], kernel.programs(length + 1))
        assert torch.equal(alone[0], found[row])


def test_draws_are_the_cpus_for_equal_logits_and_the_same_alone() -> None:
    V, repeats = 151_936, 8
    samplings = SAMPLINGS * repeats
    torch.manual_seed(0)
    samplers = {device: SlotSampler(len(samplings), V, device) for device in ("cpu", DEVICE)}
    for sampler in samplers.values():
        for slot, sampling in enumerate(samplings):
            sampler.take(slot, sampling, range(slot), None)
    one = SlotSampler(1, V, DEVICE)
    watched = 1
    one.take(0, samplings[watched], range(watched), None)
    slots = list(range(len(samplings)))
    for _ in range(3):
        logits = 3 * torch.randn(len(samplings), V)
        drawn = {}
        for device, sampler in samplers.items():
            variant = sampler.prepare(slots)
            drawn[device] = sample(logits.to(device), torch.tensor(slots, device=device), sampler.state, variant)
        same = drawn[DEVICE][0].cpu() == drawn["cpu"][0]
        # exp differs in its last bit between the two, which a draw in thousands from the whole vocabulary notices
        assert same.sum() >= len(samplings) - 1
        assert torch.allclose(drawn[DEVICE][1].cpu()[same], drawn["cpu"][1][same], atol=1e-4)
        row = logits[watched : watched + 1].to(DEVICE)
        alone, _ = sample(row, torch.tensor([0], device=DEVICE), one.state, one.prepare([0]))
        assert alone[0] == drawn[DEVICE][0][watched]


def test_a_step_that_waits_for_the_device_is_not_captured_and_does_no_harm() -> None:
    capture, before = CudaCapture(), torch.cuda.current_stream()
    fixed = torch.ones(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="synchroniz"):
        capture(lambda: fixed * fixed.sum().item())
    assert torch.cuda.current_stream() == before
    assert torch.cuda.get_sync_debug_mode() == 0
    replay = capture(lambda: fixed * 2)
    fixed.fill_(4)
    assert replay().tolist() == [8, 8, 8]
    assert torch.cuda.current_stream() == before


def prefilled(folder: Path, runner: Runner) -> torch.Tensor:
    """Logits [10, V] after pages of TEN_SIZES, in one step."""
    sequences = [
        sequence_of(folder, runner, user(noise_picture(height, width, n), "Read."))
        for n, (height, width) in enumerate(TEN_SIZES)
    ]
    assert len({len(sequence.input_ids) for sequence in sequences}) == len(TEN_SIZES)
    with torch.inference_mode():
        return runner.prefill([(sequence, 0, len(sequence.input_ids)) for sequence in sequences]).float().cpu()


def test_pages_of_ten_sizes_are_prefilled_together_as_on_the_cpu(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    room = {"slots": len(TEN_SIZES), "cache_tokens": 32 * BLOCK_TOKENS}
    exact = prefilled(folder, Runner.load(folder, dtype="float32", device="cpu", **room))
    found = prefilled(folder, Runner.load(folder, dtype="float32", device=DEVICE, **room))
    assert (found - exact).abs().max() < 1e-3
    # a CPU rounds to bfloat16 as exactly, whether or not an engine would have it do so
    rounded = prefilled(folder, Runner(load(folder, dtype=torch.bfloat16), device="cpu", **room))
    with caplog.at_level(logging.WARNING):
        found = prefilled(folder, Runner.load(folder, dtype="bfloat16", device=DEVICE, **room))
    assert not fallen_back(caplog), "something fell back"
    assert (found - exact).square().mean().sqrt() <= 1.5 * (rounded - exact).square().mean().sqrt()


def fallen_back(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of things that are not as fast as they could be."""
    return [record.message for record in caplog.records if "without" in record.message or "not comp" in record.message]


def test_64_unequal_rows_write_what_they_write_on_a_cpu(folder: Path) -> None:
    """Prompts of 10 to 900 tokens, answers of 1 to 48; in float32, where tokens do not hang on rounding."""
    torch.backends.cuda.matmul.allow_tf32 = False
    random = Random(0)
    requests = [
        Request(
            str(number),
            user(noise_picture(64, 64, number), "why? " * random.randint(1, 200)),
            Sampling(**(PRESET if number % 2 else {}), seed=number, max_tokens=random.randint(1, 48)),
        )
        for number in range(64)
    ]
    replies = [[reply.text for reply in asyncio.run(ask(folder, device, requests))] for device in ("cpu", DEVICE)]
    assert replies[0] == replies[1]


async def ask(folder: Path, device: str, requests: list[Request]) -> list[Completion]:
    engine = TorchEngine(folder, dtype="float32", device=device, slots=64)
    try:
        return await asyncio.gather(*map(engine.generate, requests))
    finally:
        await engine.close()
