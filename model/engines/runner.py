"""Steps of the network over the slots of its cache: tensors without policy. Knows nothing of queues or threads.

Shapes: T tokens of a prefill step, all prompts end to end; n sequences; V vocabulary.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.engines.decode_step import Choice, DecodeStep
from model.engines.encoder_cache import VisualCursor, encode, join_all
from model.engines.slot_sampler import SlotSampler
from model.network.decoder import Decoder
from model.network.loaded import load_network
from model.network.qwen3vl import Qwen3VL


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
    slot: int | None = None

    @classmethod
    def of(
        cls, input_ids: list[int], places: Tensor, delta: int, cursor: VisualCursor, visual_ids: tuple[int, int]
    ) -> Sequence:
        pads = torch.isin(torch.tensor(input_ids), torch.tensor(visual_ids))
        return cls(input_ids, places, delta, cursor, torch.cat((torch.zeros(1, dtype=torch.long), pads.cumsum(0))))


class Runner:
    """network: in eval mode, weights on `device`. slots: sequences at once. cache_tokens: what its cache holds of all
    of them together at most; longest: of one, if that is bounded. A sequence has its slot from its first chunk until it
    is released."""

    def __init__(
        self, network: Qwen3VL, *, slots: int, cache_tokens: int, device: str, longest: int | None = None
    ) -> None:
        self.network = network
        self._device = device
        self._dtype = network.language_model.embed_tokens.weight.dtype
        self._decoder = Decoder(network, slots=slots, tokens=cache_tokens, longest=longest, device=device)
        self.cache = self._decoder.cache
        self.sampler = SlotSampler(slots, network.config.text.vocabulary, device)
        self._step = DecodeStep(self._decoder, self.sampler)
        self._free_slots = list(range(slots))  # a heap
        if device != "cpu":
            with torch.inference_mode():
                self._step.prepare_device()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dtype: str,
        device: str,
        slots: int,
        cache_tokens: int | Callable[[int], int],
        longest: int | None = None,
    ) -> Runner:
        """From a checkpoint. dtype: as load_network has it. cache_tokens: or what says how many, of so many bytes each,
        once the weights are there."""
        network = load_network(folder, dtype=dtype, device=device)
        if not isinstance(cache_tokens, int):
            item_bytes = network.language_model.embed_tokens.weight.element_size()
            cache_tokens = cache_tokens(network.config.text.kv_bytes(item_bytes))
        return cls(network, slots=slots, cache_tokens=cache_tokens, device=device, longest=longest)

    @property
    def slots_in_use(self) -> int:
        return self.cache.slots - len(self._free_slots)

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
        attention = self.cache.chunks([(self._slot(sequence), count) for sequence, _, count in chunks])
        hidden = self.network(
            ids_T[None].to(self._device), places_3T[:, None].to(self._device), join_all(visuals), cache=attention
        )
        ends = list(itertools.accumulate(count for _, _, count in chunks))
        return self.network.logits(hidden[0, torch.tensor(ends, device=hidden.device) - 1])

    def begin(self, sequences: list[Sequence], logits_RV: Tensor) -> list[Choice]:
        """The first token of some sequences, by the logits after their prompts. What the sampler shall know of them it
        has been told."""
        slots = self._slots(sequences)
        ids_R, choices = self._step.choose(slots, logits_RV)
        self._decoder.begin(slots, ids_R, *self._extents(sequences))
        return choices

    def decode(self, sequences: list[Sequence]) -> list[Choice]:
        """One more token for some sequences that have begun."""
        return self._step.run(self._slots(sequences))

    def capture(self, sequences: list[Sequence]) -> None:
        """Before the first step, the graphs of steps over such sequences, as DecodeStep has it."""
        self._step.capture(self._slots(sequences))

    def decode_logits(self, sequences: list[Sequence]) -> Tensor:
        """[R, V] after the last of the output_ids of some sequences, whoever chose it; the sampler has no part in
        it."""
        slots = self._slots(sequences)
        last = torch.tensor([sequence.output_ids[-1] for sequence in sequences], device=self._device)
        self._decoder.begin(slots, last, *self._extents(sequences))
        return self._decoder.logits(slots)

    def park(self, sequence: Sequence) -> None:
        """Its keys and values go to the host, and their blocks are free; it keeps its slot."""
        if sequence.slot is not None:
            self.cache.park(sequence.slot)

    def restore(self, sequence: Sequence) -> None:
        if sequence.slot is not None:
            self.cache.restore(sequence.slot)

    def release(self, sequence: Sequence) -> None:
        """It ends, and its slot is free."""
        if sequence.slot is None:
            return  # what it was to be prefilled with failed
        self.cache.release(sequence.slot)
        self.sampler.clear(sequence.slot)
        heapq.heappush(self._free_slots, sequence.slot)
        sequence.slot = None

    def _slot(self, sequence: Sequence) -> int:
        if sequence.slot is None:
            sequence.slot = heapq.heappop(self._free_slots)
        return sequence.slot

    def _slots(self, sequences: list[Sequence]) -> list[int]:
        return [self._slot(sequence) for sequence in sequences]

    def _extents(self, sequences: list[Sequence]) -> tuple[list[int], list[int]]:
        """Tokens in the cache, and deltas."""
        lengths = [self.cache.host.lengths[slot] for slot in self._slots(sequences)]
        return lengths, [sequence.delta for sequence in sequences]
