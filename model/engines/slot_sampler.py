"""The sampling state of all slots of an engine: what a request's settings become on the device, and what its grammar
says before every step.

Shapes: S slots, V vocabulary, W words of 32 tokens.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable

import torch

from model.engines.constraint import Constraint, fill
from model.engines.sampler import TOP_K_OFF, WIDTHS, SamplerState, Variant
from schemas.errors import EngineError
from schemas.request import Sampling


class SlotSampler:
    """slots: of requests; one more row, `idle`, is for rows of a step that stand for nobody.

    A request takes a slot with `take` and leaves it with `clear`. In between, for every step and the slots in it:

        variant = sampler.prepare(slots)                                    # the host, no wait
        ids, logprobs = sample(logits, slots_R, sampler.state, variant)     # the device; inside a graph of the variant
        sampler.accept(slot, id, logprob)                                   # the host, for each of the slots

    The tensors of `state` stay where they are for good. Everything runs in the engine's thread.
    """

    def __init__(self, slots: int, vocabulary: int, device: str = "cpu") -> None:
        self.idle = slots
        rows, words = slots + 1, -(-vocabulary // 32)
        self._settings = [Sampling()] * rows
        self._constraints: dict[int, Constraint] = {}
        self.state = SamplerState(
            temperature=torch.zeros(rows, device=device),
            top_k=torch.full((rows,), TOP_K_OFF, device=device),
            top_p=torch.ones(rows, dtype=torch.float64, device=device),
            presence=torch.zeros(rows, device=device),
            repetition=torch.ones(rows, device=device),
            seed=torch.zeros(rows, dtype=torch.int64, device=device),
            drawn=torch.zeros(rows, dtype=torch.int64, device=device),
            minus=torch.zeros(rows, vocabulary, device=device),
            seen=torch.zeros(rows, vocabulary, dtype=torch.bool, device=device),
            allowed=torch.full((rows, words), -1, dtype=torch.int32, device=device),
        )
        on_device = self.state.allowed
        # what llguidance writes to; on a CPU the very tensor that the step reads
        self._allowed_SW = on_device if device == "cpu" else torch.full_like(on_device, -1, device="cpu").pin_memory()

    def take(self, slot: int, sampling: Sampling, prompt_ids: Iterable[int], constraint: Constraint | None) -> None:
        """A request begins in a slot that is clear."""
        state = self.state
        self._settings[slot] = sampling
        state.temperature[slot] = sampling.temperature
        state.top_k[slot] = sampling.top_k or TOP_K_OFF
        state.top_p[slot] = sampling.top_p
        state.presence[slot] = sampling.presence_penalty
        state.repetition[slot] = sampling.repetition_penalty
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        state.seed[slot] = (seed + 2**63) % 2**64 - 2**63  # whatever its size
        state.drawn[slot] = 0
        state.minus[slot] = 0.0
        if sampling.repetition_penalty != 1:
            state.seen[slot] = False
            state.seen[slot, torch.tensor(sorted(set(prompt_ids)), dtype=torch.int64).to(state.seen.device)] = True
        if constraint is not None:
            self._constraints[slot] = constraint

    def clear(self, slot: int) -> None:
        """Nobody is in the slot, or nobody any more."""
        self._settings[slot] = Sampling()
        if self._constraints.pop(slot, None) is not None:
            self._allowed_SW[slot] = -1

    def prepare(self, slots: Iterable[int]) -> Variant:
        """Before a step of the requests in these slots: brings what their grammars allow to the device, and tells what
        the step has to do."""
        settings = [self._settings[slot] for slot in slots]
        held = [(self._constraints[slot], slot) for slot in slots if slot in self._constraints]
        if held:
            fill(held, self._allowed_SW)
            if self._allowed_SW is not self.state.allowed:
                # the step before has been waited for, so nothing reads the old words any more
                self.state.allowed.copy_(self._allowed_SW, non_blocking=True)
        drawn = [sampling for sampling in settings if sampling.temperature > 0]
        few = [sampling.top_k for sampling in drawn if 0 < sampling.top_k <= WIDTHS[-1]]
        many = [sampling for sampling in drawn if not 0 < sampling.top_k <= WIDTHS[-1]]
        return Variant(
            width=next(width for width in WIDTHS if width >= max(few)) if few else 0,
            everything=bool(many),
            top_k=any(sampling.top_k for sampling in many),
            top_p=any(sampling.top_p < 1 for sampling in many),
            presence=any(sampling.presence_penalty != 0 for sampling in settings),
            repetition=any(sampling.repetition_penalty != 1 for sampling in settings),
            grammar=bool(held),
        )

    def accept(self, slot: int, token_id: int, logprob: float) -> None:
        """What a step chose. Raises EngineError if there was nothing to choose from."""
        constraint = self._constraints.get(slot)
        if math.isnan(logprob):
            if constraint is not None:
                constraint.check()
            raise EngineError("engine_error", "no token can be chosen: the network gives no numbers (NaN or infinity)")
        if constraint is not None:
            constraint.accept(token_id)
