"""Keys and values of all sequences that one engine works on, in blocks out of one pool (PagedAttention, arXiv
2309.06180): a sequence has its slot for life, and memory for what it holds and less than a block more.

A forward pass over it is a KVCache of language.py: `chunks` for prompts, `decode` for one more token a row.

Shapes: L layers, N blocks, G key/value heads, T tokens of a block, D head dimension, S new tokens, H query heads,
R rows of a decode step, W blocks of the longest table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.attention import attend
from model.network.block_attention import BlockAttention
from model.network.config import TextConfig
from model.network.kv_blocks import BLOCK_TOKENS, BlockTable, blocks_for


def tokens_for(lengths: Iterable[int]) -> int:
    """What a cache has to hold for sequences of these lengths: full blocks."""
    return BLOCK_TOKENS * sum(map(blocks_for, lengths))


class BlockCache:
    """tokens: what all slots hold together at most; longest: what one does, if that is bounded. The pool is set aside
    at once; on a CPU the system gives it memory as it is written, low blocks first.

    table_SW, on the device: the blocks of every slot, and of one more that is nobody's, at all times in block 0.
    """

    def __init__(
        self,
        config: TextConfig,
        *,
        slots: int,
        tokens: int,
        longest: int | None = None,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        if longest is not None:
            tokens = min(tokens, slots * tokens_for([longest]))
        blocks = 1 + tokens // BLOCK_TOKENS
        self.slots, self.device = slots, device
        self.tokens, self.block_tokens = (blocks - 1) * BLOCK_TOKENS, BLOCK_TOKENS
        self._decoded: BlockAttention | None = None  # the last step
        self._parked: dict[int, tuple[Tensor, int]] = {}  # by slot: keys and values, and of how many tokens
        self.host = BlockTable(slots, blocks)
        self._pool_L2NGTD = torch.empty(
            (config.layers, 2, blocks, config.kv_heads, BLOCK_TOKENS, config.head_dim), dtype=dtype, device=device
        )
        self._pool_L2NGTD[:, :, 0] = 0
        self.table_SW = torch.zeros((slots + 1, max(1, blocks - 1)), dtype=torch.int32, device=device)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values [N, G, T, D] each: views."""
        return self._pool_L2NGTD[index, 0], self._pool_L2NGTD[index, 1]

    def chunks(self, chunks: Sequence[tuple[int, int]]) -> ChunkPass:
        """A pass that brings, packed into one row of the batch, the next tokens of some slots: (slot, how many)."""
        before = [self.host.lengths[slot] for slot, _ in chunks]
        self.grow(dict(chunks))
        spans = [
            _Span(torch.tensor(self.host.blocks(slot), device=self.device), start, count)
            for (slot, count), start in zip(chunks, before, strict=True)
        ]
        return ChunkPass(self, spans)

    def decode(self, slots: Sequence[int]) -> BlockAttention:
        """A pass that brings one more token for each of some slots, by the operators of torch. After `grow`."""
        blocks = [self.host.blocks(slot) for slot in slots]
        lengths = [self.host.lengths[slot] for slot in slots]
        self._decoded = BlockAttention(blocks, lengths, self, self._decoded)
        return self._decoded

    def grow(self, tokens: dict[int, int]) -> None:
        """Room for so many more tokens of each slot. What pads the last block of a slot is masked, but must be numbers:
        fresh memory may hold NaN, and 0 x NaN is NaN."""
        placed: list[tuple[int, int, int]] = []  # slot, place in its table, block
        padded: list[int] = []
        for slot, count in tokens.items():
            added = self.host.grow(slot, count)
            if not added:
                continue
            first = len(self.host.blocks(slot)) - len(added)
            placed += [(slot, first + index, block) for index, block in enumerate(added)]
            padded.append(added[-1])
        if placed:
            rows, places, blocks = torch.tensor(placed, device=self.device).unbind(1)
            self.table_SW[rows, places] = blocks.int()
            self._pool_L2NGTD.index_fill_(2, torch.tensor(padded, device=self.device), 0)

    def release(self, slot: int) -> None:
        """Its sequence ends. Its row of the table goes on naming blocks that are another's now; nobody reads them by it
        before `grow` has named new ones."""
        self.host.release(slot)
        self._parked.pop(slot, None)

    def park(self, slot: int) -> None:
        """Copy what a slot holds to the host, and let its blocks go."""
        blocks = torch.tensor(self.host.blocks(slot), dtype=torch.int64, device=self.device)
        kept = self._pool_L2NGTD.index_select(2, blocks).cpu(), self.host.lengths[slot]
        self.release(slot)
        self._parked[slot] = kept

    def restore(self, slot: int) -> None:
        """Bit for bit what was parked, into other blocks."""
        stored, length = self._parked.pop(slot)
        self.grow({slot: length})
        blocks = torch.tensor(self.host.blocks(slot), dtype=torch.int64, device=self.device)
        self._pool_L2NGTD.index_copy_(2, blocks, stored.to(self.device))


@dataclass(frozen=True)
class _Span:
    """New tokens of one slot: its blocks, the tokens that it held before, and how many are new."""

    blocks: Tensor
    before: int
    new: int


class ChunkPass:
    """Prompts, packed end to end: each attends to itself and to what its slot holds."""

    def __init__(self, cache: BlockCache, spans: list[_Span]) -> None:
        self._cache, self._spans = cache, spans
        places = [torch.arange(span.before, span.before + span.new, device=cache.device) for span in spans]
        self._blocks_S = torch.cat(
            [span.blocks[place // BLOCK_TOKENS] for span, place in zip(spans, places, strict=True)]
        )
        self._places_S = torch.cat(places) % BLOCK_TOKENS

    def attend(self, layer: int, q_1HSD: Tensor, k_1GSD: Tensor, v_1GSD: Tensor) -> Tensor:
        keys, values = self._cache.layer(layer)
        keys[self._blocks_S, :, self._places_S] = k_1GSD[0].transpose(0, 1)
        values[self._blocks_S, :, self._places_S] = v_1GSD[0].transpose(0, 1)
        attended = []
        starts = itertools.accumulate((span.new for span in self._spans), initial=0)
        for start, span in zip(starts, self._spans, strict=False):
            here = slice(start, start + span.new)
            k, v = k_1GSD[:, :, here], v_1GSD[:, :, here]
            if span.before:
                k, v = (_in_order(stored, span.blocks)[:, :, : span.before + span.new] for stored in (keys, values))
            attended.append(attend(q_1HSD[:, :, here], k, v))
        return attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)


def _in_order(stored_NGTD: Tensor, blocks: Tensor) -> Tensor:
    """[1, G, blocks x T, D]: a copy."""
    return stored_NGTD.transpose(0, 1).index_select(1, blocks).flatten(1, 2)[None]
