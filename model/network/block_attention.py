"""Attention of one new token a row over keys and values in blocks, by torch's own operators: the way on a CPU, and on a
GPU where our kernel (triton_decode.py) cannot run.

On a CPU the blocks are a batch: one call gives each block's attention and the logarithm of its sum, and a row is the
mean of its blocks, weighted by those sums (as in Flash-Decoding). So a step makes no copy of keys, no call a row, and
reads what rows hold and not a rectangle as long as the longest.

Shapes: R rows, H query heads, G key/value heads, Q heads of a group, D head dimension, N blocks, T tokens of a block,
n blocks in use, W blocks of the longest row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.kv_blocks import BLOCK_TOKENS

_GAP = 4
"""Blocks of others between two in use that are taken along rather than left out by another call."""


class Pool(Protocol):
    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values [N, G, T, D]."""


class BlockAttention:
    """blocks: of each row, in order. lengths: tokens of each row, the new one among them; it goes to the last place.
    before: the pass before, whose order is taken over if the blocks are the same."""

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        lengths: Sequence[int],
        pool: Pool,
        before: BlockAttention | None = None,
    ) -> None:
        keys, _ = pool.layer(0)
        self._pool = pool
        self._blocks = [list(row) for row in blocks]
        last = torch.tensor([(row[-1], (size - 1) % BLOCK_TOKENS) for row, size in zip(blocks, lengths, strict=True)])
        heads = torch.arange(keys.shape[1])
        # of the new tokens, in a layer taken as [N x G x T, D]
        places_RG = (last[:, :1] * len(heads) + heads) * BLOCK_TOKENS + last[:, 1:]
        self._places = places_RG.flatten().to(keys.device)
        self._order: _Order | None = None
        if keys.device.type != "cpu":
            self._attend: _Stretches | _Rectangle = _Rectangle(self._blocks, lengths, keys)
            return
        if before is not None and before._blocks == self._blocks:
            self._order = before._order
        self._order = self._order or _Order(self._blocks)
        self._attend = _Stretches(self._order, lengths, keys)

    def attend(self, layer: int, q_1HRD: Tensor, k_1GRD: Tensor, v_1GRD: Tensor) -> Tensor:
        keys, values = self._pool.layer(layer)
        heads, rows, size = q_1HRD.shape[1:]
        for stored, new_1GRD in ((keys, k_1GRD), (values, v_1GRD)):
            stored.view(-1, size).index_copy_(0, self._places, new_1GRD[0].transpose(0, 1).reshape(-1, size))
        q_RGQD = q_1HRD[0].transpose(0, 1).reshape(rows, keys.shape[1], -1, size)
        return self._attend(q_RGQD, keys, values).reshape(rows, heads, size).transpose(0, 1)[None]


class _Order:
    """The blocks in use as few slices of the pool, and whose each of them is."""

    def __init__(self, blocks: Sequence[Sequence[int]]) -> None:
        self.slices = _slices(sorted(block for row in blocks for block in row))
        index_of: dict[int, int] = {}  # block -> its place in the slices, one after the other
        start = 0
        for piece in self.slices:
            index_of.update((block, start + block - piece.start) for block in range(piece.start, piece.stop))
            start += piece.stop - piece.start
        self.rows, self.widest = len(blocks), max(map(len, blocks))
        owners, back = [self.rows] * start, [0] * start  # a row that nobody asks for, for blocks between
        table = [[0] * self.widest for _ in blocks]
        for row, mine in enumerate(blocks):
            for place, block in enumerate(mine):
                index = index_of[block]
                owners[index], back[index], table[row][place] = row, row * self.widest + place, index
        counts = torch.tensor([len(mine) for mine in blocks])
        self.owners_n, self.back_n, self.table_RW = torch.tensor(owners), torch.tensor(back), torch.tensor(table)
        self.asked_n = self.owners_n.clamp(max=self.rows - 1)  # whose query it gets
        self.beyond_RW11 = (torch.arange(self.widest) >= counts[:, None])[..., None, None]
        self.last_R = self.table_RW.gather(1, counts[:, None] - 1)[:, 0]
        self.filled_R = (counts - 1) * BLOCK_TOKENS  # tokens before the last block


class _Stretches:
    """A pass over blocks in some order."""

    def __init__(self, order: _Order, lengths: Sequence[int], keys: Tensor) -> None:
        self._order = order
        reach_n = torch.full_like(order.owners_n, BLOCK_TOKENS)
        reach_n[order.last_R] = torch.tensor(lengths) - order.filled_R
        # where nobody has more than a block, only as much of each as the longest fills
        self._reach = BLOCK_TOKENS if order.widest > 1 else max(lengths)
        beyond_nT = torch.arange(self._reach) >= reach_n[:, None]
        mask_nT = torch.zeros(beyond_nT.shape, dtype=keys.dtype).masked_fill(beyond_nT, -torch.inf)
        self._mask_n11T = mask_nT[:, None, None]

    def __call__(self, q_RGQD: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        order = self._order
        q_nGQD = q_RGQD[order.asked_n]
        outs, sums, start = [], [], 0
        for piece in order.slices:
            here = slice(start, start := start + piece.stop - piece.start)
            # torch has no public name for attention that gives the logarithm of its sum; flex_attention compiles
            out, logsum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q_nGQD[here],
                keys[piece, :, : self._reach],
                values[piece, :, : self._reach],
                attn_mask=self._mask_n11T[here],
            )
            outs.append(out)
            sums.append(logsum)
        out_nGQD, logsum_nGQ = _cat(outs), _cat(sums)
        if order.widest == 1:
            return out_nGQD[order.table_RW[:, 0]]
        shares_RWGQ = logsum_nGQ[order.table_RW].masked_fill(order.beyond_RW11, -torch.inf).softmax(1)
        shares_nGQ = shares_RWGQ.flatten(0, 1)[order.back_n]
        total = torch.zeros((order.rows + 1, *q_RGQD.shape[1:]))  # float32, whatever the dtype
        return total.index_add_(0, order.owners_n, out_nGQD * shares_nGQ[..., None])[:-1].to(q_RGQD.dtype)


class _Rectangle:
    """The blocks of every row, copied side by side, as many as the longest has."""

    def __init__(self, blocks: Sequence[Sequence[int]], lengths: Sequence[int], keys: Tensor) -> None:
        widest = max(map(len, blocks))
        table = [[*mine, *itertools.repeat(0, widest - len(mine))] for mine in blocks]
        self._table_RW = torch.tensor(table, device=keys.device)
        places = torch.arange(widest * BLOCK_TOKENS, device=keys.device)
        self._mask = (places < torch.tensor(lengths, device=keys.device)[:, None])[:, None, None]

    def __call__(self, q_RGQD: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = (stored[self._table_RW].transpose(1, 2).flatten(2, 3) for stored in (keys, values))
        return F.scaled_dot_product_attention(q_RGQD, k, v, attn_mask=self._mask)


def _slices(blocks: Sequence[int]) -> list[slice]:
    """Of ascending numbers, with gaps of up to _GAP in them."""
    pieces: list[slice] = []
    for block in blocks:
        if pieces and block - pieces[-1].stop <= _GAP:
            pieces[-1] = slice(pieces[-1].start, block + 1)
        else:
            pieces.append(slice(block, block + 1))
    return pieces


def _cat(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
