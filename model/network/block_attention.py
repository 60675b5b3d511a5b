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
    """blocks: of each row, in order. lengths: tokens of each row, the new one among them; it goes to the last place."""

    def __init__(self, blocks: Sequence[Sequence[int]], lengths: Sequence[int], pool: Pool) -> None:
        device = pool.layer(0)[0].device
        self._pool = pool
        self._blocks, self._lengths = blocks, lengths
        self._last_R = torch.tensor([row[-1] for row in blocks], device=device)
        self._places_R = torch.tensor([(length - 1) % BLOCK_TOKENS for length in lengths], device=device)
        self._shared: _Stretches | _Rectangle | None = None  # by all layers

    def attend(self, layer: int, q_1HRD: Tensor, k_1GRD: Tensor, v_1GRD: Tensor) -> Tensor:
        keys, values = self._pool.layer(layer)
        keys[self._last_R, :, self._places_R] = k_1GRD[0].transpose(0, 1)
        values[self._last_R, :, self._places_R] = v_1GRD[0].transpose(0, 1)
        if self._shared is None:
            on_cpu = keys.device.type == "cpu"
            self._shared = (_Stretches if on_cpu else _Rectangle)(self._blocks, self._lengths, keys)
        heads, rows, size = q_1HRD.shape[1:]
        q_RGQD = q_1HRD[0].transpose(0, 1).reshape(rows, keys.shape[1], -1, size)
        return self._shared.attend(q_RGQD, keys, values).reshape(rows, heads, size).transpose(0, 1)[None]


class _Stretches:
    """The blocks in use as few slices of the pool."""

    def __init__(self, blocks: Sequence[Sequence[int]], lengths: Sequence[int], keys: Tensor) -> None:
        used = sorted((block, row, place) for row, mine in enumerate(blocks) for place, block in enumerate(mine))
        self._slices = _slices([block for block, _, _ in used])
        index_of: dict[int, int] = {}  # block -> its place in the slices, one after the other
        start = 0
        for piece in self._slices:
            index_of.update((block, start + block - piece.start) for block in range(piece.start, piece.stop))
            start += piece.stop - piece.start
        self._owners_n = torch.full((start,), len(blocks))  # a row that nobody asks for, for blocks between
        reach_n = torch.zeros(start, dtype=torch.long)
        widest = max(map(len, blocks))
        self._table_RW = torch.zeros(len(blocks), widest, dtype=torch.long)
        self._beyond_RW = torch.ones(len(blocks), widest, dtype=torch.bool)
        self._back_n = torch.zeros(start, dtype=torch.long)
        for row, mine in enumerate(blocks):
            at = torch.tensor([index_of[block] for block in mine])
            self._owners_n[at], reach_n[at] = row, BLOCK_TOKENS
            reach_n[at[-1]] = lengths[row] - (len(mine) - 1) * BLOCK_TOKENS
            self._table_RW[row, : len(mine)], self._beyond_RW[row, : len(mine)] = at, False
            self._back_n[at] = row * widest + torch.arange(len(mine))
        beyond_nT = torch.arange(BLOCK_TOKENS) >= reach_n.clamp(min=1)[:, None]
        self._mask_n11T = torch.zeros(beyond_nT.shape, dtype=keys.dtype).masked_fill(beyond_nT, -torch.inf)[
            :, None, None
        ]
        self._rows = len(blocks)
        self._in_order = len(self._slices) == 1 and torch.equal(self._owners_n, torch.arange(len(blocks)))

    def attend(self, q_RGQD: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self._in_order:  # a block each
            return F.scaled_dot_product_attention(
                q_RGQD, keys[self._slices[0]], values[self._slices[0]], attn_mask=self._mask_n11T
            )
        q_nGQD = q_RGQD[self._owners_n.clamp(max=self._rows - 1)]
        outs, sums, start = [], [], 0
        for piece in self._slices:
            here = slice(start, start := start + piece.stop - piece.start)
            # torch has no public name for attention that gives the logarithm of its sum; flex_attention compiles
            out, logsum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q_nGQD[here], keys[piece], values[piece], attn_mask=self._mask_n11T[here]
            )
            outs.append(out)
            sums.append(logsum)
        out_nGQD, logsum_nGQ = _cat(outs), _cat(sums)
        shares_RWGQ = logsum_nGQ[self._table_RW].masked_fill(self._beyond_RW[..., None, None], -torch.inf).softmax(1)
        shares_nGQ = shares_RWGQ.flatten(0, 1)[self._back_n]
        total = torch.zeros((self._rows + 1, *q_RGQD.shape[1:]))  # float32, whatever the dtype
        return total.index_add_(0, self._owners_n, out_nGQD * shares_nGQ[..., None])[:-1].to(q_RGQD.dtype)


class _Rectangle:
    """The blocks of every row, copied side by side, as many as the longest has."""

    def __init__(self, blocks: Sequence[Sequence[int]], lengths: Sequence[int], keys: Tensor) -> None:
        widest = max(map(len, blocks))
        table = [[*mine, *itertools.repeat(0, widest - len(mine))] for mine in blocks]
        self._table_RW = torch.tensor(table, device=keys.device)
        places = torch.arange(widest * BLOCK_TOKENS, device=keys.device)
        self._mask = (places < torch.tensor(lengths, device=keys.device)[:, None])[:, None, None]

    def attend(self, q_RGQD: Tensor, keys: Tensor, values: Tensor) -> Tensor:
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
