"""Attention of one new token a row over keys and values in blocks, each row to its own length: Triton kernels, imported
only where there is a CUDA device (and by tests, which interpret them).

A row's keys are split over programs, PIECE tokens each or, in a long row, one of SPLITS equal parts; a second kernel
joins the parts by their running maxima and sums (Flash-Decoding, Dao et al. 2023). How a row is split depends on its
own length alone, so its result does too, to the bit. The heads of a group share a program, which reads keys and values
once.

What is unusual: the step is captured as a CUDA graph, so nothing here depends on numbers that the host knows: the grid
is that of the longest row there can be, and programs beyond the length of theirs end at once.

Shapes: R rows, H query heads, G key/value heads, Q heads of a group, D head dimension, N blocks, T tokens of a block,
W blocks of a row's table, S slots.
"""

from __future__ import annotations

from typing import Protocol

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.network.kv_blocks import BLOCK_TOKENS

SPLITS = 32
"""Programs at most for a row and a key/value head."""
FEW_SPLITS = 8
"""Programs where no row of a step needs more, so that fewer end at once."""
PIECE = 256
"""Tokens at least of a program, a multiple of TILE."""
TILE = 64
"""Tokens that a program takes at once; BLOCK_TOKENS is a multiple of it."""


@triton.jit
def _store(keys, values, table, slots, lengths, k, v, k_row, k_head, v_row, v_head, stride_n, stride_g, stride_t, W,
           T: tl.constexpr, D: tl.constexpr, DP: tl.constexpr):  # fmt: skip
    """The new key and value [R, G, D] of every row to the place that its length says, in its last block."""
    row, head = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + row)
    place = tl.load(lengths + row)
    block = tl.load(table + slot * W + place // T).to(tl.int64)
    d = tl.arange(0, DP)
    to = block * stride_n + head * stride_g + (place % T) * stride_t + d
    tl.store(keys + to, tl.load(k + row * k_row + head * k_head + d, mask=d < D), mask=d < D)
    tl.store(values + to, tl.load(v + row * v_row + head * v_head + d, mask=d < D), mask=d < D)


@triton.jit
def _attend(q, keys, values, table, slots, lengths, maxima, sums, parts, scale, q_row, q_head, G,
            stride_n, stride_g, stride_t, W,
            Q: tl.constexpr, QP: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, T: tl.constexpr, TILE: tl.constexpr,
            PIECE: tl.constexpr, SPLITS: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """One part of a row's keys for the heads of a group: parts [R, G, SPLITS, Q, D], not yet divided by their sums."""
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slot = tl.load(slots + row)
    length = tl.load(lengths + row) + 1  # the new token too
    piece = tl.maximum(PIECE, tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE)
    start = split * piece
    end = tl.minimum(start + piece, length)
    i = tl.arange(0, QP)
    t = tl.arange(0, TILE)
    d = tl.arange(0, DP)
    if start < end:
        query = tl.load(q + row * q_row + (head * Q + i)[:, None] * q_head + d[None, :],
                        mask=(i < Q)[:, None] & (d < D)[None, :], other=0.0)  # fmt: skip
        highest = tl.full([QP], float("-inf"), tl.float32)
        total = tl.zeros([QP], tl.float32)
        mixed = tl.zeros([QP, DP], tl.float32)
        for first in range(start, end, TILE):
            block = tl.load(table + slot * W + first // T).to(tl.int64)
            at = block * stride_n + head * stride_g + (first % T + t)[:, None] * stride_t + d[None, :]
            there = (first + t < end)[:, None] & (d < D)[None, :]
            key = tl.load(keys + at, mask=there, other=0.0)
            score = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
            score = tl.where((first + t < end)[None, :], score, float("-inf"))
            above = tl.maximum(highest, tl.max(score, 1))
            weight = tl.exp(score - above[:, None])
            fade = tl.exp(highest - above)
            value = tl.load(values + at, mask=there, other=0.0)
            mixed = mixed * fade[:, None] + tl.dot(weight.to(value.dtype), value, input_precision=PRECISION)
            total = total * fade + tl.sum(weight, 1)
            highest = above
        base = ((row * G + head) * SPLITS + split) * Q
        tl.store(maxima + base + i, highest, mask=i < Q)
        tl.store(sums + base + i, total, mask=i < Q)
        tl.store(parts + (base + i)[:, None] * D + d[None, :], mixed, mask=(i < Q)[:, None] & (d < D)[None, :])


@triton.jit
def _join(maxima, sums, parts, lengths, out, G, Q: tl.constexpr, QP: tl.constexpr, D: tl.constexpr, DP: tl.constexpr,
          TILE: tl.constexpr, PIECE: tl.constexpr, SPLITS: tl.constexpr):  # fmt: skip
    """The parts of a row, in order: out [R, H, D]."""
    row, head = tl.program_id(0), tl.program_id(1)
    length = tl.load(lengths + row) + 1
    piece = tl.maximum(PIECE, tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE)
    i = tl.arange(0, QP)
    d = tl.arange(0, DP)
    heads = (i < Q)[:, None] & (d < D)[None, :]
    highest = tl.full([QP], float("-inf"), tl.float32)
    total = tl.zeros([QP], tl.float32)
    mixed = tl.zeros([QP, DP], tl.float32)
    for split in range(tl.cdiv(length, piece)):
        base = ((row * G + head) * SPLITS + split) * Q
        here = tl.load(maxima + base + i, mask=i < Q, other=0.0)
        above = tl.maximum(highest, here)
        fade, share = tl.exp(highest - above), tl.exp(here - above)
        part = tl.load(parts + (base + i)[:, None] * D + d[None, :], mask=heads, other=0.0)
        mixed = mixed * fade[:, None] + part * share[:, None]
        total = total * fade + tl.load(sums + base + i, mask=i < Q, other=1.0) * share
        highest = above
    joined = mixed / total[:, None]
    tl.store(out + ((row * G + head) * Q + i)[:, None] * D + d[None, :], joined.to(out.dtype.element_ty), mask=heads)


class Pool(Protocol):
    table_SW: Tensor  # noqa: N815

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values [N, G, T, D]."""


class DecodeKernel:
    """rows: of a step at most. The memory for parts is set aside once, since a graph goes on writing to it."""

    def __init__(self, *, rows: int, heads: int, kv_heads: int, head_dim: int, device: str) -> None:
        self._group = heads // kv_heads
        shape = (rows, kv_heads, SPLITS, self._group)
        self._maxima = torch.empty(shape, dtype=torch.float32, device=device)
        self._sums = torch.empty_like(self._maxima)
        self._parts = torch.empty((*shape, head_dim), dtype=torch.float32, device=device)

    @staticmethod
    def programs(longest: int) -> int:
        """For a row and a key/value head, in a step whose rows have so many tokens at most."""
        return FEW_SPLITS if longest <= FEW_SPLITS * PIECE else SPLITS

    def over(self, pool: Pool, slots_R: Tensor, lengths_R: Tensor, programs: int) -> KernelAttention:
        """For a pass that brings one more token for each of some slots, which held lengths_R before."""
        return KernelAttention(self, pool, slots_R, lengths_R, programs)

    def store(
        self, k_RGD: Tensor, v_RGD: Tensor, keys_NGTD: Tensor, values_NGTD: Tensor,
        table_SW: Tensor, slots_R: Tensor, lengths_R: Tensor,
    ) -> None:  # fmt: skip
        """Take up the new tokens."""
        rows, kv_heads, size = k_RGD.shape
        _store[(rows, kv_heads)](
            keys_NGTD, values_NGTD, table_SW, slots_R, lengths_R,
            k_RGD, v_RGD, *k_RGD.stride()[:2], *v_RGD.stride()[:2], *keys_NGTD.stride()[:3], table_SW.stride(0),
            T=BLOCK_TOKENS, D=size, DP=triton.next_power_of_2(size),
        )  # fmt: skip

    def attend(
        self, q_RHD: Tensor, keys_NGTD: Tensor, values_NGTD: Tensor,
        table_SW: Tensor, slots_R: Tensor, lengths_R: Tensor, programs: int,
    ) -> Tensor:  # fmt: skip
        """[R, H, D]. lengths_R: tokens before the new one, which is at that place. slots_R: the rows of table_SW."""
        rows, _, size = q_RHD.shape
        kv_heads = keys_NGTD.shape[1]
        group = {"Q": self._group, "QP": max(16, triton.next_power_of_2(self._group))}
        width = {"D": size, "DP": max(16, triton.next_power_of_2(size))}
        wide = q_RHD.dtype == torch.float32
        split = {"TILE": TILE, "PIECE": PIECE, "SPLITS": SPLITS}
        out_RHD = torch.empty_like(q_RHD, memory_format=torch.contiguous_format)
        _attend[(rows, kv_heads, programs)](
            q_RHD, keys_NGTD, values_NGTD, table_SW, slots_R, lengths_R,
            self._maxima, self._sums, self._parts, size**-0.5, *q_RHD.stride()[:2], kv_heads,
            *keys_NGTD.stride()[:3], table_SW.stride(0), **group, **width, T=BLOCK_TOKENS, **split,
            # float32 as it is, where tensor cores would round it to 10 bits
            PRECISION="ieee" if wide else "tf32",
            num_stages=2 if wide else 3,  # of keys and values on their way into shared memory
        )  # fmt: skip
        _join[(rows, kv_heads)](
            self._maxima, self._sums, self._parts, lengths_R, out_RHD, kv_heads, **group, **width, **split
        )
        return out_RHD


class KernelAttention:
    """A KVCache of language.py over fixed tensors, for a step of one token a row."""

    def __init__(self, kernel: DecodeKernel, pool: Pool, slots_R: Tensor, lengths_R: Tensor, programs: int) -> None:
        self._kernel, self._pool, self._programs = kernel, pool, programs
        self._rows = (pool.table_SW, slots_R, lengths_R)

    def attend(self, layer: int, q_1HRD: Tensor, k_1GRD: Tensor, v_1GRD: Tensor) -> Tensor:
        keys, values = self._pool.layer(layer)
        q_RHD, k_RGD, v_RGD = (part[0].transpose(0, 1) for part in (q_1HRD, k_1GRD, v_1GRD))
        self._kernel.store(k_RGD, v_RGD, keys, values, *self._rows)
        return self._kernel.attend(q_RHD, keys, values, *self._rows, self._programs).transpose(0, 1)[None]
