"""Sampling against a reference that is slow and plain, and the scheduler's promises."""

from __future__ import annotations

import math
from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engines.sampler import TokenChooser, choose_tokens, distribution
from model.engines.scheduler import ScheduledSequence, Scheduler
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


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 500)), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(1, 2000),
    st.integers(3500, 20_000),
)
def test_every_sequence_is_prefilled_once_in_order_and_within_all_bounds(
    lengths: list[tuple[int, int]], slots: int, step: int, cache: int
) -> None:
    scheduler: Scheduler[int] = Scheduler(slots, step, cache)
    for key, (prompt, answer) in enumerate(lengths):
        scheduler.submit(ScheduledSequence(key, prompt, prompt + answer))
    started: list[int] = []
    prefilled = dict.fromkeys(range(len(lengths)), 0)
    while scheduler.waiting or scheduler.running:
        chunks = scheduler.next_prefill()
        assert sum(chunk.count for chunk in chunks) <= step
        for chunk in chunks:
            assert chunk.count > 0
            assert chunk.start == prefilled[chunk.sequence.key]
            prefilled[chunk.sequence.key] += chunk.count
            started += [chunk.sequence.key] if not chunk.start else []
        running = scheduler.running
        assert len(running) <= slots
        assert len(running) * max(sequence.total_tokens for sequence in running) <= cache
        if not chunks:  # decode: all are whole; one ends
            assert all(sequence.prefilled == sequence.prompt_tokens for sequence in running)
            scheduler.end(running[len(started) % len(running)])
    assert started == list(range(len(lengths)))
    assert prefilled == {key: prompt for key, (prompt, _) in enumerate(lengths)}


def test_a_sequence_larger_than_the_cache_never_fits() -> None:
    scheduler: Scheduler[str] = Scheduler(4, 100, 1000)
    assert scheduler.fits(1000)
    assert not scheduler.fits(1001)
