"""One more token for each of some slots: a function over tensors that stay where they are, the same on a CPU and on a
GPU. There it asks the host nothing and waits for nothing, so that it can be captured as a graph. Knows nothing of how
tokens are chosen.

Shapes: S slots and one more, which is nobody's; R rows of a step; V vocabulary.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.network.compiled import compile_layers, keep_code
from model.network.kv_cache import BlockCache
from model.network.language import KVCache
from model.network.qwen3vl import Qwen3VL


class Decoder:
    """What it holds of a slot: its last token, how many tokens the cache has of it, and what is added to the index of a
    token for its position. network: in eval mode, weights on the device. slots, tokens, longest: of its cache."""

    def __init__(self, network: Qwen3VL, *, slots: int, tokens: int, longest: int | None, device: str) -> None:
        self._network = network
        dtype = network.language_model.embed_tokens.weight.dtype
        self.cache = BlockCache(
            network.config.text, slots=slots, tokens=tokens, longest=longest, dtype=dtype, device=device
        )
        self.idle, self.device = slots, device
        self._ids_S = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self._lengths_S = torch.zeros_like(self._ids_S)
        self._deltas_S = torch.zeros_like(self._ids_S)
        self._grows_S = torch.ones_like(self._ids_S)  # by how much a step lengthens a slot
        self._grows_S[self.idle] = 0
        self._kernel: Any = None

    def begin(self, slots: Sequence[int], ids_R: Tensor, lengths: Sequence[int], deltas: Sequence[int]) -> None:
        """These slots hold so many tokens each, and go on with these."""
        slots_R, lengths_R, deltas_R = torch.tensor([slots, lengths, deltas], device=self.device)
        self._ids_S[slots_R], self._lengths_S[slots_R], self._deltas_S[slots_R] = ids_R, lengths_R, deltas_R

    def rows(self, slots: Sequence[int]) -> Tensor:
        """[R], after there is room for a token more in each."""
        self.cache.grow(dict.fromkeys(slots, 1))
        return torch.tensor(slots, device=self.device)

    def logits(self, slots: Sequence[int]) -> Tensor:
        """[R, V] after the last token of each, which is taken up. `go_on` says which is next."""
        slots_R = self.rows(slots)
        if self._kernel is None:
            return self._logits(slots_R, self.cache.decode(slots))
        return self.fixed_logits(slots_R, self.programs(slots))

    def programs(self, slots: Sequence[int]) -> int:
        """What `fixed_logits` wants to know of the lengths of these slots."""
        return self._kernel.programs(max((self.cache.host.lengths[slot] for slot in slots), default=1))

    def all_programs(self) -> list[int]:
        """Whatever `programs` may say."""
        return sorted({self._kernel.programs(longest) for longest in (1, self.cache.tokens)})

    def fixed_logits(self, slots_R: Tensor, programs: int) -> Tensor:
        """As `logits`, with no other number of the host's in it; only with the kernel, and after `rows`."""
        return self._logits(slots_R, self._kernel.over(self.cache, slots_R, self._lengths_S[slots_R], programs))

    def go_on(self, slots_R: Tensor, ids_R: Tensor) -> None:
        self._ids_S[slots_R] = ids_R

    def code_folder(self) -> Path:
        return keep_code()

    def use_kernel(self) -> None:
        """Attention by our kernel for a GPU. If that cannot be, an error of any kind, at the first step at the
        latest."""
        config = self._network.config.text
        kernel = importlib.import_module("model.network.triton_decode").DecodeKernel(
            rows=self.idle, heads=config.heads, kv_heads=config.kv_heads, head_dim=config.head_dim,
            device=self.device,
        )  # fmt: skip
        try:
            self._kernel = kernel
            self.try_step(1)
        except Exception:
            self._kernel = None
            raise

    def compile(self) -> None:
        """The parts of a layer. One that cannot be is left as it is, with the reason in the log."""
        compile_layers(self._network)
        # first a number of rows that no other dimension has, for torch takes two that are equal for one and the same
        for rows in (min(3, self.idle), 1, self.idle):
            self.try_step(rows)

    def try_step(self, rows: int) -> None:
        """For nobody; waits until it is done."""
        idle_R = torch.full((rows,), self.idle, device=self.device)
        self.fixed_logits(idle_R, self.programs([])).isnan().any().item()

    def _logits(self, slots_R: Tensor, attention: KVCache) -> Tensor:
        places_R = self._lengths_S[slots_R] + self._deltas_S[slots_R]
        hidden_1RE = self._network(self._ids_S[slots_R][None], places_R.expand(3, 1, -1), cache=attention)
        self._lengths_S[slots_R] += self._grows_S[slots_R]
        return self._network.logits(hidden_1RE[0])
