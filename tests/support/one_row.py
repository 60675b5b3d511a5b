"""Sampling of one row, token by token and from the definitions, in Python's float64: what the batched sampler must
agree with."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from schemas.request import Sampling


@dataclass(frozen=True)
class Candidate:
    token: int
    probability: float


def candidates(
    logits: list[float],
    sampling: Sampling,
    prompt: Collection[int] = (),
    output: Collection[int] = (),
    allowed: Collection[int] | None = None,
) -> list[Candidate]:
    """What may come next and how likely, the likeliest first, of equal ones the first. temperature 0: one token."""
    scores = list(logits)
    for token in {*prompt, *output}:
        factor = sampling.repetition_penalty
        scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
    for token in set(output):
        scores[token] -= sampling.presence_penalty
    order = sorted(
        (token for token in range(len(scores)) if allowed is None or token in allowed),
        key=lambda token: (-scores[token], token),
    )
    if sampling.temperature == 0:
        return [Candidate(order[0], 1.0)]
    order = order[: sampling.top_k or None]
    weights = [math.exp((scores[token] - scores[order[0]]) / sampling.temperature) for token in order]
    kept, before = [], 0.0
    for token, weight in zip(order, weights, strict=True):
        if kept and before >= sampling.top_p * sum(weights):
            break
        kept.append((token, weight))
        before += weight
    return [Candidate(token, weight / before) for token, weight in kept]


def logprob(logits: list[float], token: int) -> float:
    """Of a token, by the logits alone."""
    highest = max(logits)
    return logits[token] - highest - math.log(math.fsum(math.exp(value - highest) for value in logits))
