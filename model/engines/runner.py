"""Steps of the network over the slots of its cache: tensors without policy. Knows nothing of queues or threads.

Shapes: T tokens of a prefill step, all prompts end to end; n sequences; V vocabulary.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.engines.encoder_cache import VisualCursor, encode, join_all
from model.network.checkpoint import load
from model.network.cpu_linear import pack
from model.network.kv_cache import SlotCache
from model.network.qwen3vl import Qwen3VL

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(eq=False)
class Sequence:
    """The tokens of one request. places: [3, S] of the prompt; delta: index of a later token + delta is its position;
    visual_prefix: how many visual tokens stand before each index of the prompt, [S + 1]."""

    input_ids: list[int]
    places: Tensor
    delta: int
    cursor: VisualCursor
    visual_prefix: Tensor
    output_ids: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls, input_ids: list[int], places: Tensor, delta: int, cursor: VisualCursor, visual_ids: tuple[int, int]
    ) -> Sequence:
        pads = torch.isin(torch.tensor(input_ids), torch.tensor(visual_ids))
        return cls(input_ids, places, delta, cursor, torch.cat((torch.zeros(1, dtype=torch.long), pads.cumsum(0))))


class Runner:
    """network: in eval mode, weights on `device`. `sequences[i]` is in slot i of the cache."""

    def __init__(self, network: Qwen3VL, *, slots: int, device: str) -> None:
        self.network = network
        self._device = device
        self._dtype = network.language_model.embed_tokens.weight.dtype
        self.sequences: list[Sequence] = []
        self._cache = SlotCache(network.config.text, slots, dtype=self._dtype, device=device)

    @classmethod
    def load(cls, folder: Path, *, dtype: str, device: str, slots: int) -> Runner:
        """From a checkpoint. dtype: float32, bfloat16, or auto (float32 on the CPU, else bfloat16)."""
        kind = DTYPES["float32" if device == "cpu" else "bfloat16"] if dtype == "auto" else DTYPES[dtype]
        network = load(folder, dtype=kind, device=device)
        if device == "cpu":
            pack(network)
        return cls(network, slots=slots, device=device)

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in all layers."""
        return self.network.config.text.kv_bytes(self._dtype.itemsize)

    def bound(self, cache_tokens: int) -> None:
        """What the cache may hold at most, slots x the longest of them."""
        self._cache.budget_tokens = cache_tokens

    def prefill(self, chunks: list[tuple[Sequence, int, int]]) -> Tensor:
        """The prompt tokens start … start + count of some sequences, new or known; logits [chunks, V] after the last
        token of each."""
        spans = [(sequence, start, start + count) for sequence, start, count in chunks]
        visual_tokens = [
            int(sequence.visual_prefix[end] - sequence.visual_prefix[start]) for sequence, start, end in spans
        ]
        pending = [
            sequence.cursor.pending(tokens) for (sequence, _, _), tokens in zip(spans, visual_tokens, strict=True)
        ]
        encode(self.network, itertools.chain.from_iterable(pending), dtype=self._dtype, device=self._device)
        visuals = [
            visual
            for (sequence, _, _), tokens in zip(spans, visual_tokens, strict=True)
            for visual in sequence.cursor.take(tokens)
        ]
        ids_T = torch.tensor([token for sequence, start, end in spans for token in sequence.input_ids[start:end]])
        places_3T = torch.cat([sequence.places[:, start:end] for sequence, start, end in spans], dim=1)
        self.sequences += [sequence for sequence, _, _ in chunks if sequence not in self.sequences]
        self._cache.begin_chunks([(self.sequences.index(sequence), count) for sequence, _, count in chunks])
        hidden = self.network(
            ids_T[None].to(self._device), places_3T[:, None].to(self._device), join_all(visuals), cache=self._cache
        )
        ends = list(itertools.accumulate(count for _, _, count in chunks))
        return self.network.logits(hidden[0, torch.tensor(ends) - 1])

    def decode(self) -> Tensor:
        """One more token for every sequence: logits [n, V]."""
        ids_n1 = torch.tensor([[sequence.output_ids[-1]] for sequence in self.sequences], device=self._device)
        places_n = torch.tensor(
            [length + sequence.delta for length, sequence in zip(self._cache.lengths, self.sequences, strict=True)],
            device=self._device,
        )
        self._cache.begin_decode()
        mask = self._cache.decode_mask()
        hidden = self.network(ids_n1, places_n.expand(3, -1)[..., None], None, mask, self._cache)
        return self.network.logits(hidden[:, 0])

    def release(self, sequence: Sequence) -> None:
        """It ends; the last one takes its slot, here as in the cache."""
        if sequence not in self.sequences:
            return  # what it was to be prefilled with failed
        index = self.sequences.index(sequence)
        self._cache.release(index)
        self.sequences[index] = self.sequences[-1]
        self.sequences.pop()
