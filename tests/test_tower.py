"""The vision tower over packed pages, plain, through the packed kernel's seam, and compiled."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.nano.shape import config_json
from model.network import frame_attention
from model.network.compiled_tower import Compiled, compile_tower
from model.network.config import Config
from model.network.frame_attention import PackedFrames, runs
from model.network.qwen3vl import Qwen3VL

SIZES = [(4, 6), (4, 6), (8, 2), (2, 2), (12, 10), (4, 6)]


@pytest.fixture
def network() -> Qwen3VL:
    torch.manual_seed(0)
    network = Qwen3VL(
        Config.from_json(config_json(vision_hidden=64, vision_depth=3, text_hidden=64, text_layers=2))
    ).eval()
    with torch.no_grad():
        for value in network.visual.parameters():
            value.normal_(0, 1.0 / value[0].numel() ** 0.5 if value.dim() > 1 else 0.5)
    return network.requires_grad_(False)


def pages(sizes: list[tuple[int, int]], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(sum(h * w for h, w in sizes), 1536, generator=generator)
    return patches, torch.tensor([(1, h, w) for h, w in sizes])


def everything(network: Qwen3VL, patches: Tensor, grid: Tensor) -> Tensor:
    visual = network.vision(patches, grid)
    return torch.stack((visual.embeds, *visual.deepstack))


def test_a_packed_page_reads_as_it_does_alone(network: Qwen3VL) -> None:
    with torch.inference_mode():
        patches, grid = pages(SIZES)
        together = everything(network, patches, grid)
        parts = patches.split([h * w for h, w in SIZES])
        alone = [everything(network, part, row[None]) for part, row in zip(parts, grid, strict=True)]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-4)


def test_runs_of_equal_frames_stand_together() -> None:
    assert runs([5, 5, 3, 5]) == [(0, 5, 2), (10, 3, 1), (13, 5, 1)]
    assert runs([]) == []


def varlen(q: Tensor, k: Tensor, v: Tensor, begin_q: Tensor, begin_k: Tensor, most_q: int, most_k: int) -> Tensor:
    """What the kernel promises, by the plainest means, in float64."""
    assert begin_q.dtype == torch.int32
    assert torch.equal(begin_q, begin_k)
    lengths = begin_q.diff().tolist()
    assert max(lengths) == most_q == most_k
    parts = zip(*(heads.double().split(lengths) for heads in (q, k, v)), strict=True)
    return torch.cat(
        [F.scaled_dot_product_attention(*(x.transpose(0, 1) for x in part)).transpose(0, 1) for part in parts]
    ).to(q.dtype)


@pytest.fixture
def packed_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Frames as on a GPU, with a stand-in for the kernel; what it was called with."""
    calls: list[int] = []

    def kernel(*arguments: Any) -> Tensor:
        calls.append(len(arguments[3]) - 1)
        return varlen(*arguments)

    def frames(lengths: list[int], device: torch.device) -> PackedFrames:
        packed = PackedFrames(lengths, device)
        bounds = list(itertools.accumulate(lengths, initial=0))
        packed._bounds = torch.tensor(bounds, dtype=torch.int32)
        return packed

    monkeypatch.setattr("model.network.vision.PackedFrames", frames)
    monkeypatch.setattr(frame_attention, "_kernel", lambda: kernel)
    frame_attention._tried_kernel.cache_clear()
    yield calls
    frame_attention._tried_kernel.cache_clear()


def test_pages_of_all_sizes_are_one_call_a_block(
    network: Qwen3VL, packed_calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = network.bfloat16()
    patches, grid = pages(SIZES)
    with torch.inference_mode():
        by_kernel = everything(wide, patches, grid)
        assert packed_calls == [3] + [len(SIZES)] * 3, "it is tried once, then called once a block"
        monkeypatch.setattr("model.network.vision.PackedFrames", PackedFrames)
        by_size = everything(wide, patches, grid)
    assert len(packed_calls) == 4
    assert (by_kernel - by_size).float().abs().max() <= 0.05 * by_size.float().abs().max()


def test_float32_and_gradients_do_without_the_kernel(network: Qwen3VL, packed_calls: list[int]) -> None:
    patches, grid = pages(SIZES)
    with torch.inference_mode():
        everything(network, patches, grid)
    everything(network.bfloat16(), patches, grid)
    assert packed_calls == []


@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_a_kernel_that_is_missing_or_wrong_is_not_used(
    network: Qwen3VL,
    packed_calls: list[int],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kernel() -> Any:
        if fault == "missing":
            raise ImportError("no such module")
        return lambda q, *_: q

    monkeypatch.setattr(frame_attention, "_kernel", kernel)
    patches, grid = pages(SIZES)
    wide = network.bfloat16()
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        results = [everything(wide, patches, grid) for _ in range(2)]
    [record] = caplog.records
    assert {"missing": "no such module", "wrong": "it is off by"}[fault] in record.message
    assert torch.equal(*results)


class Counting:
    """A compiler that counts what it is handed, and runs it as it is."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, _: Any) -> Any:
        self.graphs += 1
        return graph.forward


def test_compiled_parts_are_shared_by_all_blocks_and_all_sizes(network: Qwen3VL) -> None:
    torch._dynamo.reset()
    random = Random(0)
    sizes = [[(2 * random.randint(1, 9), 2 * random.randint(1, 9)) for _ in range(n)] for n in (1, 3, 2, 5, 1, 2)]
    with torch.inference_mode():
        wanted = [everything(network, *pages(some)) for some in sizes]
        compiler = Counting()
        compile_tower(network, backend=compiler)
        tried = compiler.graphs
        assert tried <= 4, "a graph for each part, and at most one more for each"
        results = [everything(network, *pages(some)) for some in sizes]
    assert compiler.graphs == tried, "no size and no block compiles anew"
    for result, right in zip(results, wanted, strict=True):
        assert torch.allclose(result, right, atol=1e-4)
    assert network.visual.before_attention.is_compiled
    torch._dynamo.reset()


def test_what_cannot_be_compiled_runs_as_it_is(network: Qwen3VL, caplog: pytest.LogCaptureFixture) -> None:
    torch._dynamo.reset()

    def broken(*_: Any) -> Any:
        raise OSError("no compiler here")

    patches, grid = pages(SIZES)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        wanted = everything(network, patches, grid)
        compile_tower(network, backend=broken)
        assert torch.equal(everything(network, patches, grid), wanted)
    waiting, *reasons = [record.message for record in caplog.records]
    assert waiting.startswith("compiling the vision tower")
    assert len(reasons) == 2, "once for each part"
    assert all("no compiler here" in reason for reason in reasons)
    torch._dynamo.reset()


def test_running_out_of_memory_is_the_requests_matter() -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("none left")

    layer = nn.Linear(2, 2)
    compiled = Compiled(layer.forward, "without code", backend=Counting())
    compiled._code = full
    with pytest.raises(torch.OutOfMemoryError):
        compiled(torch.zeros(1, 2))
    assert compiled.is_compiled
