"""Keys and values of all sequences that one engine works on: one row per sequence, rows 0 … n-1 in use.

Rows in use stand side by side, so a decode step works on a view of the first n rows and copies nothing; when a
sequence ends, the last row moves into its place.

Shapes: R rows, G key/value heads, C capacity in tokens, D head dimension; S new tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import TextConfig

_STEP = 256
"""Capacity grows in doublings from here; growing copies."""


class RowCache:
    """`lengths[i]`: tokens that row i holds. Set `target` before each forward pass."""

    def __init__(self, config: TextConfig, rows: int, *, dtype: torch.dtype, device: str) -> None:
        self._layers = config.layers
        self._shape = (rows, config.kv_heads, 0, config.head_dim)
        self._keys = [torch.empty(self._shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self._values = [torch.empty(self._shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.lengths: list[int] = []
        self._prefill_from: int | None = None
        self._places: Tensor | None = None
        self._reach = 0

    @property
    def capacity(self) -> int:
        return self._keys[0].shape[2]

    def begin_prefill(self, lengths: list[int]) -> None:
        """The next pass brings new sequences, padded on the right; they take the next free rows."""
        self._reserve(max(lengths))
        self._prefill_from = len(self.lengths)
        self.lengths += lengths

    def begin_decode(self) -> None:
        """The next pass brings one token for every row in use."""
        self._reserve(max(self.lengths) + 1)
        self._prefill_from = None
        self._places = torch.tensor(self.lengths, device=self._keys[0].device)
        self._reach = max(self.lengths) + 1
        self.lengths = [length + 1 for length in self.lengths]

    def decode_mask(self) -> Tensor:
        """[n, 1, 1, K]: each row looks at its own tokens, the new one included. After begin_decode."""
        assert self._places is not None
        reach = torch.arange(self._reach, device=self._places.device)
        return (reach[None, :] <= self._places[:, None])[:, None, None, :]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._keys[layer], self._values[layer]
        if self._prefill_from is not None:
            rows = slice(self._prefill_from, self._prefill_from + k.shape[0])
            keys[rows, :, : k.shape[2]] = k
            values[rows, :, : v.shape[2]] = v
            # attention is causal, so what pads the right of a row is never looked at by its tokens
            return k, v
        rows_in_use = torch.arange(k.shape[0], device=k.device)
        assert self._places is not None
        keys[rows_in_use, :, self._places] = k[:, :, 0]
        values[rows_in_use, :, self._places] = v[:, :, 0]
        return keys[: k.shape[0], :, : self._reach], values[: k.shape[0], :, : self._reach]

    def release(self, row: int) -> None:
        """Row ends; the last row in use takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            length = self.lengths[last]
            for stored in (*self._keys, *self._values):
                stored[row, :, :length] = stored[last, :, :length]
            self.lengths[row] = length
        self.lengths.pop()

    def _reserve(self, tokens: int) -> None:
        if tokens <= self.capacity:
            return
        capacity = max(_STEP, self.capacity)
        while capacity < tokens:
            capacity *= 2
        rows, heads, _, size = self._shape
        used = len(self.lengths)
        for stack in (self._keys, self._values):
            for layer, old in enumerate(stack):
                grown = old.new_empty((rows, heads, capacity, size))
                grown[:used, :, : old.shape[2]] = old[:used]
                stack[layer] = grown
