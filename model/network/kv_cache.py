"""Keys and values of all sequences that one engine works on: a slot for each, slots 0 … n-1 in use.

Slots in use stand side by side, so a decode step works on a view of the first n and copies nothing; when a sequence
ends, the last one moves into its slot. All slots have the capacity of the longest, so memory is that of a
rectangle; the scheduler keeps it within `budget_tokens`.

Shapes: R slots, H query heads, G key/value heads, C capacity in tokens, D head dimension; S new tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.network.attention import attend
from model.network.config import TextConfig

_STEP = 256
"""Capacity grows in doublings from here; growing copies."""
_APART = 0.75
"""Where less than this share of the rectangle is in use, slots decode one by one rather than padded."""


class SlotCache:
    """`lengths[i]`: tokens that slot i holds. Say what comes (begin_…) before each forward pass.

    budget_tokens: slots x capacity at most; None is no bound.
    """

    def __init__(self, config: TextConfig, slots: int, *, dtype: torch.dtype, device: str) -> None:
        self._slots = slots
        self.budget_tokens: int | None = None
        empty = torch.empty((0, config.kv_heads, 0, config.head_dim), dtype=dtype, device=device)
        self._keys = [empty] * config.layers
        self._values = [empty] * config.layers
        self.lengths: list[int] = []
        self._finite: list[int] = []  # for each slot there is memory for: cells that have been written, ever
        self._pass: _Chunks | _Decode | None = None

    @property
    def capacity(self) -> int:
        return self._keys[0].shape[2]

    def begin_prefill(self, lengths: list[int]) -> None:
        """The next pass brings new sequences, padded on the right; they take the next free slots."""
        first = len(self.lengths)
        self.lengths += lengths
        self._reserve(max(lengths))
        # attention is causal, so what pads the right of a row is never looked at by its tokens
        self._wrote({first + i: max(lengths) for i in range(len(lengths))})
        self._pass = _Chunks([(first + i, 0, max(lengths)) for i in range(len(lengths))], packed=False)

    def begin_chunks(self, chunks: list[tuple[int, int]]) -> None:
        """The next pass brings, packed into one row of the batch, the next tokens of some sequences:
        (slot, how many) each. A slot that is not in use yet is the next free one."""
        placed = []
        for slot, count in chunks:
            if slot == len(self.lengths):
                self.lengths.append(0)
            placed.append((slot, self.lengths[slot], count))
            self.lengths[slot] += count
        self._reserve(max(self.lengths))
        self._wrote({slot: self.lengths[slot] for slot, _, _ in placed})
        self._pass = _Chunks(placed, packed=True)

    def begin_decode(self) -> None:
        """The next pass brings one token for every slot in use."""
        places = torch.tensor(self.lengths, device=self._keys[0].device)
        self.lengths = [length + 1 for length in self.lengths]
        self._reserve(max(self.lengths))
        self._wrote(dict(enumerate(self.lengths)))
        if not self._one_by_one():
            self._fill(max(self.lengths))
        self._pass = _Decode(places, torch.arange(len(self.lengths), device=places.device), max(self.lengths))

    def decode_mask(self) -> Tensor | None:
        """[n, 1, 1, K]: each slot looks at its own tokens, the new one included. After begin_decode. None where no
        mask is needed."""
        assert isinstance(self._pass, _Decode)
        reach = self._pass.reach
        if sum(self.lengths) == reach * len(self.lengths) or self._one_by_one():
            return None
        places = torch.arange(reach, device=self._pass.places.device)
        return (places[None, :] <= self._pass.places[:, None])[:, None, None, :]

    def attend(self, layer: int, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, mask: Tensor | None = None) -> Tensor:
        """Take up the new keys and values of a layer; attention over those and all before them."""
        keys, values = self._keys[layer], self._values[layer]
        if isinstance(self._pass, _Chunks):
            return self._pass.attend(keys, values, q_BHSD, k_BGSD, v_BGSD)
        assert self._pass is not None
        slots, places, reach = self._pass.slots, self._pass.places, self._pass.reach
        keys[slots, :, places] = k_BGSD[:, :, 0]
        values[slots, :, places] = v_BGSD[:, :, 0]
        if not self._one_by_one():
            return attend(q_BHSD, keys[: len(slots), :, :reach], values[: len(slots), :, :reach], mask)
        attended = [
            attend(q_BHSD[i : i + 1], keys[i : i + 1, :, :length], values[i : i + 1, :, :length])
            for i, length in enumerate(self.lengths)
        ]
        return torch.cat(attended)

    def release(self, slot: int) -> None:
        """Its sequence ends; the one in the last slot in use moves into it."""
        last = len(self.lengths) - 1
        if slot != last:
            length = self.lengths[last]
            for stored in (*self._keys, *self._values):
                stored[slot, :, :length] = stored[last, :, :length]
            self.lengths[slot] = length
            self._wrote({slot: length})
        self.lengths.pop()

    def _one_by_one(self) -> bool:
        """Long slots only: short ones are cheaper padded than in a call each."""
        rectangle = len(self.lengths) * max(self.lengths)
        return rectangle > _STEP * len(self.lengths) and sum(self.lengths) < _APART * rectangle

    def _wrote(self, reaches: dict[int, int]) -> None:
        for slot, reach in reaches.items():
            self._finite[slot] = max(self._finite[slot], reach)

    def _fill(self, reach: int) -> None:
        """What pads a slot is masked, but must be numbers: fresh memory may hold NaN, and 0 x NaN is NaN."""
        for slot in range(len(self.lengths)):
            if (start := self._finite[slot]) < reach:
                end = self._finite[slot] = min(self.capacity, reach + _STEP)
                for stored in (*self._keys, *self._values):
                    stored[slot, :, start:end] = 0

    def _reserve(self, tokens: int) -> None:
        slots_now, heads, capacity_now, size = self._keys[0].shape
        slots = len(self.lengths)
        oversized = slots == 1 and capacity_now > max(_STEP, 8 * tokens)  # left by a long sequence that is gone
        if tokens <= capacity_now and slots <= slots_now and not oversized:
            return
        capacity = _STEP
        while capacity < tokens:
            capacity *= 2
        allocated = self._slots
        if self.budget_tokens is not None:
            capacity = max(tokens, min(capacity, self.budget_tokens // slots))
            allocated = max(slots, min(self._slots, self.budget_tokens // capacity))
        self._finite = [min(length, capacity_now) for length in self.lengths] + [0] * (allocated - slots)
        for stack in (self._keys, self._values):
            for layer, old in enumerate(stack):
                grown = old.new_empty((allocated, heads, capacity, size))
                for slot in range(min(slots, slots_now)):
                    used = min(self.lengths[slot], capacity_now)
                    grown[slot, :, :used] = old[slot, :, :used]
                stack[layer] = grown


class _Decode:
    def __init__(self, places: Tensor, slots: Tensor, reach: int) -> None:
        self.places, self.slots, self.reach = places, slots, reach


class _Chunks:
    """chunks: (slot, tokens that it holds already, new ones); packed: side by side in one row of the batch, else in
    a row each."""

    def __init__(self, chunks: list[tuple[int, int, int]], *, packed: bool) -> None:
        self._chunks, self._packed = chunks, packed

    def attend(self, keys: Tensor, values: Tensor, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
        if not self._packed:
            slots = slice(self._chunks[0][0], self._chunks[-1][0] + 1)
            keys[slots, :, : k_BGSD.shape[2]] = k_BGSD
            values[slots, :, : v_BGSD.shape[2]] = v_BGSD
            return attend(q_BHSD, k_BGSD, v_BGSD)
        attended, place = [], 0
        for slot, before, new in self._chunks:
            here, every = slice(place, place + new), slice(before, before + new)
            keys[slot, :, every] = k_BGSD[0, :, here]
            values[slot, :, every] = v_BGSD[0, :, here]
            k_1GKD, v_1GKD = keys[slot, None, :, : before + new], values[slot, None, :, : before + new]
            attended.append(attend(q_BHSD[:, :, here], k_1GKD, v_1GKD))
            place += new
        return attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)
