"""Choose the next token of every sequence. Order of the steps as in vLLM and transformers: penalties, the grammar
if there is one, temperature, top-k, top-p, draw.

Shapes: n sequences, V vocabulary.
"""

from __future__ import annotations

import secrets

import torch
from torch import Tensor

from model.engines.constraint import Constraint
from schemas.request import Sampling


class TokenChooser:
    """The sampling state of one request: its settings, its random numbers, and the tokens it has seen.

    constraint holds from the start, or from after the token `begins_after` on (the end of a thought).
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: list[int],
        constraint: Constraint | None = None,
        begins_after: int | None = None,
    ) -> None:
        self._constraint, self._begins_after = constraint, begins_after
        self.sampling = sampling
        self._generator = torch.Generator()
        self._generator.manual_seed(sampling.seed if sampling.seed is not None else secrets.randbits(63))
        self._prompt_ids = set(prompt_ids) if sampling.repetition_penalty != 1 else set()
        self._output_ids: set[int] = set()

    @property
    def is_plain_greedy(self) -> bool:
        return self.sampling.temperature == 0 and not self._penalized and not self._constrained

    @property
    def _constrained(self) -> bool:
        return self._constraint is not None and self._begins_after is None

    @property
    def _penalized(self) -> bool:
        return self.sampling.repetition_penalty != 1 or self.sampling.presence_penalty != 0

    def accept(self, token_id: int) -> None:
        """A token was generated."""
        if self._constraint is not None and self._begins_after is None:
            self._constraint.accept(token_id)
        elif token_id == self._begins_after:
            self._begins_after = None
        if self._penalized:
            self._output_ids.add(token_id)

    def choose(self, logits_V: Tensor) -> int:
        """One token from float32 logits on the CPU."""
        if self._penalized:
            logits_V = self._penalize(logits_V)
        if self._constraint is not None and self._constrained:
            logits_V = self._constraint.allow(logits_V)
        if self.sampling.temperature == 0:
            return int(logits_V.argmax())
        probabilities = distribution(logits_V, self.sampling)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))

    def _penalize(self, logits_V: Tensor) -> Tensor:
        logits_V = logits_V.clone()
        seen = torch.tensor(sorted(self._prompt_ids | self._output_ids), dtype=torch.long)
        penalty = self.sampling.repetition_penalty
        if penalty != 1 and len(seen):
            values = logits_V[seen]
            logits_V[seen] = torch.where(values > 0, values / penalty, values * penalty)
        output = torch.tensor(sorted(self._output_ids), dtype=torch.long)
        logits_V[output] -= self.sampling.presence_penalty
        return logits_V


def distribution(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """[V] probabilities after temperature, top-k and top-p. The likeliest token always stays."""
    scores = logits_V / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        threshold = scores.topk(sampling.top_k).values[-1]
        scores = scores.masked_fill(scores < threshold, -torch.inf)
    probabilities = scores.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        # a token goes when those before it already hold top_p of the mass
        gone = order[ordered.cumsum(-1) - ordered >= sampling.top_p]
        gone = gone[gone != order[0]]
        probabilities = probabilities.index_fill(0, gone, 0.0)
        probabilities = probabilities / probabilities.sum()
    return probabilities


def choose_tokens(logits_nV: Tensor, choosers: list[TokenChooser]) -> list[int]:
    """One token per sequence. Greedy ones are one argmax over the batch; only the others are looked at singly."""
    chosen: list[int] = logits_nV.argmax(-1).tolist()
    for row, chooser in enumerate(choosers):
        if not chooser.is_plain_greedy:
            chosen[row] = chooser.choose(logits_nV[row].float().cpu())
        chooser.accept(chosen[row])
    return chosen
