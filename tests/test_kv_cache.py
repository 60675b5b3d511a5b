"""Keys and values in blocks: what a step over them gives, against attention in float64 over what was put in; what
memory they take; and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network.block_attention import _Rectangle, _slices
from model.network.config import TextConfig
from model.network.kv_blocks import BLOCK_TOKENS, BlockTable, blocks_for
from model.network.kv_cache import BlockCache

CONFIG = TextConfig(
    hidden=32, layers=2, heads=6, kv_heads=2, head_dim=16, ffn=8, vocabulary=8, max_positions=64, rms_eps=1e-6,
    rope_theta=1e4, mrope_section=(4, 2, 2),
)  # fmt: skip


def cache_of(slots: int, tokens: int, config: TextConfig = CONFIG) -> BlockCache:
    cache = BlockCache(config, slots=slots, tokens=tokens, dtype=torch.float32, device="cpu")
    cache._pool_L2NGTD[:, :, 1:] = torch.nan  # what fresh memory may hold
    return cache


class Mirror:
    """A cache, and what was put into it: of every slot [S, heads, D] for each layer."""

    def __init__(self, cache: BlockCache, config: TextConfig, seed: int = 0) -> None:
        self.cache, self.config = cache, config
        self.keys: dict[tuple[int, int], torch.Tensor] = {}
        self.values: dict[tuple[int, int], torch.Tensor] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def _random(self, heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(1, heads, tokens, self.config.head_dim, generator=self._generator)

    def _put(self, slot: int, layer: int, k: torch.Tensor, v: torch.Tensor) -> None:
        for store, new in ((self.keys, k), (self.values, v)):
            store[slot, layer] = torch.cat([store[slot, layer], new], dim=1) if (slot, layer) in store else new

    def step(self, layer: int, attend: Callable[..., torch.Tensor], new: list[tuple[int, int]]) -> float:
        """New tokens of some slots, as a pass takes them: how far its attention is from that in float64."""
        total = sum(count for _, count in new)
        q, k, v = (self._random(heads, total) for heads in (self.config.heads, *[self.config.kv_heads] * 2))
        out = attend(layer, q, k, v)
        worst, start = 0.0, 0
        for slot, count in new:
            here = slice(start, start := start + count)
            self._put(slot, layer, k[0, :, here], v[0, :, here])
            keys, values = self.keys[slot, layer].double(), self.values[slot, layer].double()
            every = keys.shape[1]
            mask = torch.arange(every)[None] <= torch.arange(every - count, every)[:, None]
            exact = F.scaled_dot_product_attention(
                q[:, :, here].double(), keys[None], values[None], attn_mask=mask, enable_gqa=True
            )
            worst = max(worst, float((out[:, :, here] - exact).abs().max()))
        return worst

    def prefill(self, new: list[tuple[int, int]]) -> float:
        step = self.cache.chunks(new)
        return max(self.step(layer, step.attend, new) for layer in range(self.config.layers))

    def decode(self, slots: list[int]) -> float:
        self.cache.grow(dict.fromkeys(slots, 1))
        step = self.cache.decode(slots)
        return max(self.step(layer, step.attend, [(slot, 1) for slot in slots]) for layer in range(self.config.layers))

    def release(self, slot: int) -> None:
        self.cache.release(slot)
        for store in (self.keys, self.values):
            for layer in range(self.config.layers):
                store.pop((slot, layer), None)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_come_and_go_attend_to_what_is_theirs(seed: int) -> None:
    """Prompts in chunks, steps of some rows, ends, and rows that are parked and come back."""
    random = Random(seed)
    config = replace(CONFIG, heads=random.choice((2, 6, 8)), head_dim=random.choice((8, 16, 24)))
    mirror = Mirror(cache_of(5, 60 * BLOCK_TOKENS, config), config, seed)
    table = mirror.cache.host
    for _ in range(30):
        slots = random.sample(range(5), random.randint(1, 5))
        in_use = [slot for slot in slots if table.lengths[slot]]
        match random.choice("ppddder"):
            case "p":
                assert mirror.prefill([(slot, random.choice((1, 255, 256, 257, 600))) for slot in slots]) < 1e-5
            case "d" if in_use:
                for _ in range(random.randint(1, 5)):
                    assert mirror.decode(in_use) < 1e-5
            case "e":
                mirror.release(slots[0])
            case "r" if in_use:
                mirror.cache.park(in_use[0])
                assert not table.blocks(in_use[0])
                mirror.cache.restore(in_use[0])
            case _:
                pass
        for slot in range(5):
            if table.lengths[slot] > 2000:
                mirror.release(slot)
    assert table.free + sum(len(table.blocks(slot)) for slot in range(5)) == 60


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The last bit of a product by MKL depends on where the buffer of its thread begins."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_row_is_bit_equal_whoever_stands_beside_it(one_thread: None) -> None:
    """Its attention over the same keys: alone, and after others have come, grown and gone."""
    cache = cache_of(4, 40 * BLOCK_TOKENS)
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, heads, 700, 16, generator=generator) for heads in (6, 2, 2))
    cache.chunks([(0, 300)]).attend(0, q[:, :, :300], k[:, :, :300], v[:, :, :300])
    cache.grow({0: 1})
    here = slice(300, 301)
    alone = cache.decode([0]).attend(0, q[:, :, here], k[:, :, here], v[:, :, here])
    cache.chunks([(1, 200), (2, 500)]).attend(0, q, k, v)
    cache.release(1)
    cache.chunks([(3, 90)]).attend(0, q[:, :, :90], k[:, :, :90], v[:, :, :90])
    cache.grow({2: 1, 3: 1})
    places = torch.tensor([300, 5, 6])
    together = cache.decode([0, 2, 3]).attend(0, q[:, :, places], k[:, :, places], v[:, :, places])
    assert torch.equal(together[:, :, 0], alone[:, :, 0])


def test_without_a_kernel_a_gpu_gathers_what_the_blocks_hold() -> None:
    """The way that a CPU never goes, over the same blocks."""
    cache = cache_of(3, 20 * BLOCK_TOKENS)
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(1, heads, 600, 16, generator=generator) for heads in (6, 2, 2))
    cache.chunks([(0, 140), (1, 1), (2, 459)]).attend(0, q, k, v)
    keys, values = cache.layer(0)
    lengths = cache.host.lengths[:]
    last = torch.tensor(lengths).cumsum(0) - 1
    out = _Rectangle([cache.host.blocks(slot) for slot in range(3)], lengths, keys)(
        q[0, :, last].transpose(0, 1).reshape(3, 2, 3, 16), keys, values
    )
    start = 0
    for row, length in enumerate(lengths):
        here = slice(start, start := start + length)
        exact = F.scaled_dot_product_attention(
            q[:, :, start - 1 : start].double(), k[:, :, here].double(), v[:, :, here].double(), enable_gqa=True
        )
        assert (out[row].flatten(0, 1) - exact[0, :, 0]).abs().max() < 1e-5


def test_a_long_prompt_takes_its_blocks_and_each_short_one_a_block() -> None:
    """100,000 tokens beside 63 short ones, by the blocks that are handed out, and by what a pool of just that size
    is."""
    lengths = [100_000, *[20 + slot for slot in range(63)]]
    needed = blocks_for(100_000) + 63
    cache = BlockCache(
        replace(CONFIG, layers=1, kv_heads=1, head_dim=1), slots=64, tokens=needed * BLOCK_TOKENS,
        dtype=torch.bfloat16, device="cpu",
    )  # fmt: skip
    cache.grow(dict(enumerate(lengths)))
    assert cache.host.free == 0
    assert cache._pool_L2NGTD.nbytes == (needed + 1) * BLOCK_TOKENS * 2 * 2
    assert needed * BLOCK_TOKENS <= sum(lengths) + 64 * BLOCK_TOKENS
    with pytest.raises(MemoryError, match="0 free blocks, not 1"):
        cache.grow({0: BLOCK_TOKENS})
    cache.release(0)
    assert cache.host.free == blocks_for(100_000)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=60))
def test_a_block_has_one_owner(moves: list[tuple[int, int]]) -> None:
    table = BlockTable(6, 12)
    for slot, tokens in moves:
        before = table.blocks(slot)[:], table.lengths[slot]
        if not tokens:
            table.release(slot)
        elif blocks_for(before[1] + tokens) - len(before[0]) > table.free:
            with pytest.raises(MemoryError):
                table.grow(slot, tokens)
            assert (table.blocks(slot), table.lengths[slot]) == before
        else:
            added = table.grow(slot, tokens)
            assert table.blocks(slot) == before[0] + added
        owned = [block for each in range(6) for block in table.blocks(each)]
        assert len(set(owned)) == len(owned) == 11 - table.free
        assert 0 not in owned
        assert all(len(table.blocks(each)) == blocks_for(table.lengths[each]) for each in range(6))


@settings(max_examples=50)
@given(st.sets(st.integers(0, 60), min_size=1))
def test_slices_hold_every_block_once(blocks: set[int]) -> None:
    pieces = _slices(sorted(blocks))
    covered = [block for piece in pieces for block in range(piece.start, piece.stop)]
    assert sorted(set(covered)) == covered
    assert blocks <= set(covered)
    assert all(piece.start in blocks and piece.stop - 1 in blocks for piece in pieces)
