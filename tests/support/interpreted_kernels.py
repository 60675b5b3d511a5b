"""Our kernels for decode attention, interpreted on the CPU, against attention in float64. tests/test_triton_decode.py
runs this in an interpreter of its own, for what Triton does is decided as it is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
import torch

from model.network import triton_decode
from model.network.kv_blocks import BLOCK_TOKENS
from model.network.kv_cache import BlockCache
from tests.test_kv_cache import CONFIG, Mirror, cache_of


class Interpreted(Mirror):
    """Steps by the kernels, over rows that are padded with nobody's, as in a graph."""

    def __init__(self, cache: BlockCache, seed: int, **config: int) -> None:
        super().__init__(cache, replace(CONFIG, **config), seed)  # type: ignore[arg-type]
        heads, kv_heads, size = self.config.heads, self.config.kv_heads, self.config.head_dim
        self._kernel = triton_decode.DecodeKernel(
            rows=cache.slots + 2, heads=heads, kv_heads=kv_heads, head_dim=size, device="cpu"
        )

    def attend(self, slots: list[int], padding: int) -> Callable[..., torch.Tensor]:
        lengths = [self.cache.host.lengths[slot] - 1 for slot in slots] + [0] * padding
        rows = torch.tensor([*slots, *[self.cache.slots] * padding])
        programs = self._kernel.programs(1 + max(lengths))
        step = self._kernel.over(self.cache, rows, torch.tensor(lengths), programs)

        def padded(layer: int, *new: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = step.attend(
                layer, *(torch.cat([part, torch.ones(1, part.shape[1], padding, part.shape[3])], dim=2) for part in new)
            )
            return out[:, :, : len(slots)]

        return padded

    def decode_by_kernel(self, slots: list[int], padding: int = 0) -> float:
        self.cache.grow(dict.fromkeys(slots, 1))
        attend = self.attend(slots, padding)
        return max(self.step(layer, attend, [(slot, 1) for slot in slots]) for layer in range(self.config.layers))


EDGES = (0, 1, 63, 64, 127, 128, 255, 256, 257)
"""Tokens before the new one, about the ends of tiles, blocks and parts; 0: the new one is all there is."""


def test_the_kernel_is_exact_for_any_rows_lengths_heads_and_groups(
    amount: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some rows as long as all that the cache can hold of one. Few parts, so that long rows have larger ones."""
    monkeypatch.setattr(triton_decode, "SPLITS", 4)
    monkeypatch.setattr(triton_decode, "FEW_SPLITS", 2)
    for seed in range(amount(6, 80)):
        random = Random(seed)
        kv_heads = random.choice((1, 2))
        config = {
            "layers": 1, "kv_heads": kv_heads, "heads": kv_heads * random.choice((1, 2, 4, 5)),
            "head_dim": random.choice((8, 16, 24, 64)),
        }  # fmt: skip
        rows = random.randint(1, 4)
        capacity = random.choice((BLOCK_TOKENS, 3 * BLOCK_TOKENS, 9 * BLOCK_TOKENS))
        lengths = [
            min(capacity - 1, random.choice((*EDGES, capacity - 1, random.randint(0, 1200)))) for _ in range(rows)
        ]
        cache = cache_of(rows, rows * capacity, replace(CONFIG, **config))  # type: ignore[arg-type]
        mirror = Interpreted(cache, seed, **config)
        filled = [(slot, length) for slot, length in enumerate(lengths) if length]
        if filled:
            mirror.prefill(random.sample(filled, len(filled)))
        order = random.sample(range(rows), rows)
        assert mirror.decode_by_kernel(order, padding=random.randint(0, 2)) < 2e-6, (seed, config, lengths)


def test_a_row_is_bit_equal_after_others_came_and_went() -> None:
    cache = cache_of(3, 30 * BLOCK_TOKENS)
    mirror = Interpreted(cache, 0)
    mirror.prefill([(0, 700)])
    cache.grow({0: 1})
    q, k, v = torch.randn(1, 6, 1, 16), torch.randn(1, 2, 1, 16), torch.randn(1, 2, 1, 16)
    alone = mirror.attend([0], 0)(0, q, k, v)
    mirror.prefill([(1, 130), (2, 40)])
    mirror.release(1)
    mirror.prefill([(1, 300)])
    cache.grow({1: 1, 2: 1})
    others = [torch.randn(1, part.shape[1], 2, 16) for part in (q, k, v)]
    beside = (torch.cat([other, part], dim=2) for other, part in zip(others, (q, k, v), strict=True))
    together = mirror.attend([2, 1, 0], 2)(0, *beside)
    assert torch.equal(together[:, :, 2], alone[:, :, 0])
