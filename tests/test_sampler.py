"""Sampling against a reference that is slow and plain."""

from __future__ import annotations

import math
from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engines.sampler import TokenChooser, choose_tokens, distribution
from schemas.request import Sampling

logit_lists = st.lists(st.integers(-80, 80).map(lambda n: n / 10), min_size=1, max_size=30)


def slow_distribution(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """Token by token, from the definition: the k likeliest (ties with the last stay), then the fewest likeliest
    of those that hold top_p of the mass."""
    scores = [value / temperature for value in logits]
    if 0 < top_k < len(scores):
        least = sorted(scores, reverse=True)[top_k - 1]
        scores = [value if value >= least else -math.inf for value in scores]
    highest = max(scores)
    weights = [math.exp(value - highest) for value in scores]
    total = sum(weights)
    probabilities = [weight / total for weight in weights]
    kept, mass = set(), 0.0
    for token in sorted(range(len(scores)), key=lambda i: (-probabilities[i], i)):
        if mass >= top_p and kept:
            break
        kept.add(token)
        mass += probabilities[token]
    total = sum(probabilities[token] for token in kept)
    return [probabilities[token] / total if token in kept else 0.0 for token in range(len(scores))]


@settings(max_examples=200, deadline=None)
@given(logit_lists, st.sampled_from([0.3, 0.7, 1.0, 2.0]), st.integers(0, 35), st.sampled_from([0.05, 0.33, 0.8, 1.0]))
def test_distribution_is_the_slow_one(logits: list[float], temperature: float, top_k: int, top_p: float) -> None:
    found = distribution(
        torch.tensor(logits, dtype=torch.float64), Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    )
    expected = slow_distribution(logits, temperature, top_k, top_p)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9) or _at_an_edge(
        logits, temperature, top_k, top_p
    )


def _at_an_edge(logits: list[float], temperature: float, top_k: int, top_p: float) -> bool:
    """Whether the mass comes so near top_p that rounding decides whether one more token stays."""
    fuller = slow_distribution(logits, temperature, top_k, min(top_p + 1e-9, 1.0))
    fewer = slow_distribution(logits, temperature, top_k, top_p - 1e-9)
    return [each > 0 for each in fuller] != [each > 0 for each in fewer]


@given(logit_lists, st.sets(st.integers(0, 29), max_size=10), st.sampled_from([0.5, 1.3]), st.sampled_from([0.0, 1.5]))
def test_penalties_are_those_of_the_formula(
    logits: list[float], prompt: set[int], repetition: float, presence: float
) -> None:
    """Repetition: over prompt and output, divides what is positive, multiplies the rest. Presence: over output."""
    size = len(logits)
    inside = sorted(token for token in prompt if token < size)
    output = [token for token in (0, size // 2) if token < size]
    chooser = TokenChooser(Sampling(repetition_penalty=repetition, presence_penalty=presence), inside)
    for token in output:
        chooser.accept(token)
    expected = list(logits)
    for token in {*inside, *output}:
        expected[token] = expected[token] / repetition if expected[token] > 0 else expected[token] * repetition
    for token in set(output):
        expected[token] -= presence
    found = chooser._penalize(torch.tensor(logits, dtype=torch.float64))
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64))


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    chooser = TokenChooser(Sampling(temperature=1.0, seed=3), [])
    drawn = Counter(choose_tokens(logits[None], [chooser])[0] for _ in range(4000))
    for token, probability in enumerate(logits.softmax(-1).tolist()):
        # five standard deviations
        assert abs(drawn[token] / 4000 - probability) < 5 * math.sqrt(probability * (1 - probability) / 4000)
