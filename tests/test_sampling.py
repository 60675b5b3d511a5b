"""The batched sampler against one row at a time, from the definitions (support/one_row.py); and that a request draws
the same tokens whoever shares its batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engines.sampler import TOP_K_OFF, WIDTHS, SamplerState, Variant, keep_likeliest, likeliest, sample, uniform
from model.engines.slot_sampler import SlotSampler
from schemas.errors import EngineError
from schemas.request import Sampling
from tests.support.one_row import Candidate, candidates, logprob

QWEN = Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5)
KINDS = {
    "temperature": Sampling(temperature=1.3),
    "top-k": Sampling(temperature=1.0, top_k=7),
    "top-k, wide": Sampling(temperature=2.0, top_k=150),
    "top-p": Sampling(temperature=1.0, top_p=0.8),
    "presence": Sampling(temperature=1.0, presence_penalty=1.5),
    "repetition": Sampling(temperature=1.0, repetition_penalty=1.4),
    "top-k, then top-p": Sampling(temperature=0.9, top_k=40, top_p=0.7),
    "wide, then top-p": Sampling(temperature=1.5, top_k=150, top_p=0.9),
    "all": Sampling(temperature=0.7, top_k=20, top_p=0.95, presence_penalty=0.8, repetition_penalty=1.1),
    "Qwen's preset": QWEN,
    "greedy": Sampling(presence_penalty=1.0),
}


def words(allowed: Collection[int], vocabulary: int) -> Tensor:
    """A grammar's bits."""
    numbers = [0] * -(-vocabulary // 32)
    for token in allowed:
        numbers[token // 32] |= 1 << token % 32
    return torch.tensor([number - (1 << 32 if number >> 31 else 0) for number in numbers], dtype=torch.int32)


def taken(vocabulary: int, *requests: Sampling, prompt: Collection[int] = ()) -> SlotSampler:
    """Requests in slots 0, 1, …"""
    sampler = SlotSampler(len(requests), vocabulary)
    for slot, sampling in enumerate(requests):
        sampler.take(slot, sampling, prompt, None)
    return sampler


def many_draws(
    rows: int,
    logits: list[float],
    sampling: Sampling,
    prompt: Collection[int] = (),
    output: Collection[int] = (),
    allowed: Collection[int] | None = None,
) -> tuple[list[int], list[float], list[float]]:
    """What `rows` requests draw, of seeds 0, 1, … and of one past: tokens, their log-probabilities, and the numbers in
    [0, 1) that decided."""
    size = len(logits)
    sampler = taken(size, sampling, prompt=prompt)
    for token in output:
        one = torch.full((1, size), -1e9)
        one[:, token] = 1e9  # no other can be chosen
        sample(one, torch.tensor([0]), sampler.state, sampler.prepare([0]))
    variant = sampler.prepare([0])
    if allowed is not None:
        sampler.state.allowed[0] = words(allowed, size)
        variant = replace(variant, grammar=True)
    fields = {name: tensor[:1].repeat(rows, *[1] * (tensor.dim() - 1)) for name, tensor in vars(sampler.state).items()}
    state = SamplerState(**{**fields, "seed": torch.arange(rows)})
    numbers = uniform(state.seed, state.drawn)
    ids, logprobs = sample(torch.tensor([logits] * rows), torch.arange(rows), state, variant)
    return ids.tolist(), logprobs.tolist(), numbers.tolist()


def expected_token(found: list[Candidate], uniform: float, *, by_id: bool) -> set[int]:
    """Where the running sum passes the number; at an edge, either side."""
    found = sorted(found, key=lambda candidate: candidate.token) if by_id else found
    near, total = set(), 0.0
    for candidate in found:
        if total - 1e-6 <= uniform <= total + candidate.probability + 1e-6:
            near.add(candidate.token)
        total += candidate.probability
    return near


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([1, 2, 5, 40, 200, 300]),
    st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        top_k=st.sampled_from([0, 1, 2, 20, 128, 129, 250, 1000]),
        top_p=st.sampled_from([0.0, 0.05, 0.33, 0.8, 1.0]),
        presence_penalty=st.sampled_from([0.0, 1.5, -2.0]),
        repetition_penalty=st.sampled_from([1.0, 0.5, 1.3]),
    ),
    st.integers(0, 1000),
)
def test_a_row_draws_what_the_definitions_say(size: int, sampling: Sampling, seed: int) -> None:
    """Penalties, grammar, ties among the logits, every filter: each of 20 numbers falls on the token where the running
    sum passes it."""
    chance = Random(seed)
    logits = [chance.randint(-40, 40) / 10 for _ in range(size)]
    prompt = chance.sample(range(size), chance.randint(1, min(size, 9)))
    output = chance.sample(range(size), chance.randint(0, min(size, 3)))
    allowed = chance.sample(range(size), chance.randint(1, size)) if chance.random() < 0.5 else None
    ids, logprobs, numbers = many_draws(20, logits, sampling, prompt, output, allowed)
    right = candidates(logits, sampling, prompt, output, allowed)
    fuller = candidates(logits, replace(sampling, top_p=sampling.top_p + 1e-6), prompt, output, allowed)
    fewer = candidates(logits, replace(sampling, top_p=sampling.top_p - 1e-6), prompt, output, allowed)
    for number, token, found in zip(numbers, ids, logprobs, strict=True):
        by_id = not 0 < sampling.top_k <= WIDTHS[-1]
        # where the mass comes so near top-p that rounding decides, either answer is right
        near = {token for each in (right, fuller, fewer) for token in expected_token(each, number, by_id=by_id)}
        assert token in near
        assert found == pytest.approx(logprob(logits, token), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grammar", [False, True])
def test_draws_follow_the_exact_distribution(kind: str, grammar: bool, amount: Callable[[int, int], int]) -> None:
    """Chi-square at one in a million."""
    rows, size = amount(3000, 30_000), 200
    logits = (torch.randn(size, generator=torch.Generator().manual_seed(1)) * 2).tolist()
    prompt, output = range(0, size, 7), [logits.index(max(logits)), 20, 35]
    allowed = [token for token in range(size) if token % 3] if grammar else None
    ids, _, _ = many_draws(rows, logits, KINDS[kind], prompt, output, allowed)
    counts = Counter(ids)
    right = candidates(logits, KINDS[kind], prompt, output, allowed)
    assert sum(counts[each.token] for each in right) == rows  # nothing else was drawn
    assert chi_square(counts, right, rows) < highest_chi_square(right, rows)


def bins(right: list[Candidate], rows: int) -> list[list[Candidate]]:
    """Tokens that are too rare for the statistic are counted together."""
    often = [each for each in right if each.probability * rows >= 10]
    rare = [each for each in right if each.probability * rows < 10]
    return [[each] for each in often] + ([rare] if rare else [])


def chi_square(counts: Counter[int], right: list[Candidate], rows: int) -> float:
    total = 0.0
    for group in bins(right, rows):
        expected = rows * sum(each.probability for each in group)
        total += (sum(counts[each.token] for each in group) - expected) ** 2 / expected
    return total


def highest_chi_square(right: list[Candidate], rows: int) -> float:
    """What one in a million exceeds (Wilson and Hilferty, 1931)."""
    freedom = max(len(bins(right, rows)) - 1, 1)
    return freedom * (1 - 2 / (9 * freedom) + 4.753 * math.sqrt(2 / (9 * freedom))) ** 3


def test_the_statistic_tells_a_distribution_that_is_a_little_off() -> None:
    rows, logits = 10_000, [0.0, 1.0, 2.0, 3.0]
    ids, _, _ = many_draws(rows, logits, Sampling(temperature=1.1))
    right = candidates(logits, Sampling(temperature=1.0))
    assert chi_square(Counter(ids), right, rows) > highest_chi_square(right, rows)


def test_a_request_draws_the_same_alone_and_in_a_batch_of_64_to_the_bit() -> None:
    """All kinds side by side over logits in bfloat16, which are full of ties; in slots of another order; with rows
    that stand for nobody; 12 steps each."""
    size, steps = 3000, 12
    chance = Random(3)
    requests = [replace(chance.choice(list(KINDS.values())), seed=seed) for seed in range(64)]
    logits = (torch.randn(steps, 64, size, generator=torch.Generator().manual_seed(2)) * 3).bfloat16()

    def drawn(order: list[int], padding: int = 0) -> dict[int, list[int]]:
        sampler = SlotSampler(64, size)
        slots = chance.sample(range(64), len(order))
        for slot, number in zip(slots, order, strict=True):
            sampler.take(slot, requests[number], range(number), None)
        rows = torch.tensor(slots + [sampler.idle] * padding)
        tokens = []
        for step in range(steps):
            batch = torch.cat((logits[step, order], torch.zeros(padding, size).bfloat16()))
            ids, _ = sample(batch, rows, sampler.state, sampler.prepare(slots))
            tokens.append(ids.tolist())
        return {number: [row[place] for row in tokens] for place, number in enumerate(order)}

    together = drawn(chance.sample(range(64), 64), padding=8)
    for number in range(64):
        assert drawn([number])[number] == together[number]


def test_draws_of_a_request_do_not_follow_from_those_before_or_of_the_next_seed() -> None:
    """Uniform, and neither correlated in time nor between seeds that lie side by side."""
    numbers = uniform(torch.arange(400)[:, None], torch.arange(400))
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts = torch.histc(numbers, 100, 0, 1)
    assert float(((counts - 1600) ** 2 / 1600).sum()) < 180
    for first, second in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        pair = torch.stack((first.flatten(), second.flatten()))
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / math.sqrt(pair.shape[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000), st.sampled_from((1, 3, *WIDTHS)), st.integers(0, 1000), st.booleans())
def test_the_likeliest_are_those_of_a_stable_sort(size: int, width: int, seed: int, sparse: bool) -> None:
    """Whole vocabularies of ties, of -inf and of both zeros."""
    scores = torch.randint(-5, 5, (3, size), generator=torch.Generator().manual_seed(seed)) / 2 * -1.0
    if sparse:
        scores[:, 1::3] = -torch.inf
    blocks = torch.nn.functional.pad(scores, (0, -size % 128), value=-torch.inf).view(3, -1, 128)
    right = scores.sort(dim=-1, descending=True, stable=True).indices[:, :width]
    assert torch.equal(likeliest(scores, blocks.amax(-1), width), right)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 60), st.booleans(), st.integers(0, 1000))
def test_what_is_kept_without_sorting_is_what_a_sort_keeps(size: int, percent: int, ones: bool, seed: int) -> None:
    """Among equal scores too, those that stand first; of counts of one, as of weights."""
    chance = torch.Generator().manual_seed(seed)
    scores = torch.randint(-9, 9, (2, size), generator=chance) / 2
    counts = torch.ones_like(scores, dtype=torch.int64) if ones else (scores.exp() * 2**20).long()
    share = (counts.sum(-1) * percent // 50).clamp(min=1)  # more than there is, too
    kept = keep_likeliest(torch.ones_like(counts), scores, counts, share)
    for row in range(2):
        right, before = [0] * size, 0
        for token in scores[row].sort(descending=True, stable=True).indices.tolist():
            right[token] = int(before < share[row])
            before += int(counts[row, token])
        assert kept[row].tolist() == right


def test_a_row_without_numbers_is_named_and_its_neighbors_are_not() -> None:
    requests = [replace(kind, seed=1) for kind in (*KINDS.values(), *KINDS.values())]
    rows = list(range(len(requests)))
    logits = torch.randn(len(requests), 500, generator=torch.Generator().manual_seed(5))
    sampler = taken(500, *requests)
    clean, _ = sample(logits, torch.tensor(rows), sampler.state, sampler.prepare(rows))
    broken = rows[::2]
    logits[broken[::2], 3] = torch.nan
    logits[broken[1::2], 499] = torch.inf
    sampler = taken(500, *requests)
    ids, logprobs = sample(logits, torch.tensor(rows), sampler.state, sampler.prepare(rows))
    assert ((ids >= 0) & (ids < 500)).all()
    for row, (token, value) in enumerate(zip(ids.tolist(), logprobs.tolist(), strict=True)):
        if row in broken:
            with pytest.raises(EngineError, match=r"the network gives no numbers"):
                sampler.accept(row, token, value)
        else:
            sampler.accept(row, token, value)
            assert token == clean[row]


def test_a_grammar_that_leaves_nothing_ends_its_own_row() -> None:
    sampler = taken(40, Sampling(), QWEN, Sampling(temperature=1.0))
    sampler.state.allowed[:2] = 0
    variant = Variant(width=32, everything=True, grammar=True)
    _, logprobs = sample(torch.zeros(3, 40), torch.arange(3), sampler.state, variant)
    assert logprobs.isnan().tolist() == [True, True, False]


def test_a_slot_keeps_nothing_of_who_was_in_it() -> None:
    logits = torch.randn(1, 200, generator=torch.Generator().manual_seed(8))
    found = []
    for before in (KINDS["all"], None):
        sampler = taken(200, QWEN)
        for sampling in filter(None, (before, replace(KINDS["all"], seed=4))):
            sampler.clear(0)
            sampler.take(0, sampling, [1, 2, 3], None)
            tokens = [int(sample(logits, torch.tensor([0]), sampler.state, sampler.prepare([0]))[0]) for _ in range(30)]
        found.append(tokens)
    assert found[0] == found[1]


def test_a_step_is_told_to_do_no_more_than_its_rows_need() -> None:
    requests = [
        Sampling(),
        QWEN,
        Sampling(temperature=1.0, top_k=100, repetition_penalty=1.1),
        Sampling(temperature=1.0),
        Sampling(temperature=1.0, top_p=0.9),
        Sampling(temperature=1.0, top_k=500),
        Sampling(top_p=0.5, top_k=3),
    ]
    sampler = taken(1000, *requests)
    assert [sampler.prepare([slot]) for slot in range(len(requests))] == [
        Variant(),
        Variant(width=32, presence=True),
        Variant(width=128, repetition=True),
        Variant(everything=True),
        Variant(everything=True, top_p=True),
        Variant(everything=True, top_k=True),
        Variant(),
    ]
    assert sampler.prepare(range(6)) == Variant(
        128, everything=True, top_k=True, top_p=True, presence=True, repetition=True
    )
    assert int(sampler.state.top_k[3]) == TOP_K_OFF


def test_no_step_asks_what_its_numbers_are() -> None:
    """A graph is captured once: on tensors that have shapes and no numbers, whatever looks at one fails."""
    size, rows = 2000, 4
    fields = vars(taken(size, QWEN).state)
    state = SamplerState(**{name: tensor.to("meta") for name, tensor in fields.items()})
    logits, slots = torch.empty(rows, size, device="meta"), torch.zeros(rows, dtype=torch.int64, device="meta")
    full = Variant(32, everything=True, top_k=True, top_p=True, presence=True, repetition=True, grammar=True)
    for variant in (Variant(), full):
        ids, logprobs = sample(logits, slots, state, variant)
        assert ids.shape == logprobs.shape == (rows,)


@pytest.mark.gpu
def test_a_captured_step_on_a_gpu_draws_as_one_that_is_not_alone_as_in_a_batch() -> None:
    """Rows of all kinds at V = 151,936: replayed from a graph, as they come, each alone, and as on the CPU."""
    size, steps = 151_936, 6
    requests = [replace(kind, seed=seed) for seed, kind in enumerate([*KINDS.values()] * 6)][:64]
    logits = (torch.randn(steps, 64, size, generator=torch.Generator().manual_seed(2)) * 3).bfloat16()

    def fresh(device: str) -> SlotSampler:
        sampler = SlotSampler(64, size, device)
        for slot, sampling in enumerate(requests):
            sampler.take(slot, sampling, range(slot), None)
        return sampler

    def plain(rows: list[int], device: str) -> Tensor:
        sampler, slots = fresh(device), torch.tensor(rows, device=device)
        batches = logits[:, rows].to(device)
        return torch.stack([sample(batch, slots, sampler.state, sampler.prepare(rows))[0].cpu() for batch in batches])

    def replayed() -> Tensor:
        sampler, slots = fresh("cuda"), torch.arange(64, device="cuda")
        variant = sampler.prepare(range(64))
        fixed = logits[0].cuda()
        spare = fresh("cuda")
        sample(fixed, slots, spare.state, variant)  # what a first call sets up is not to be captured
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            ids, _ = sample(fixed, slots, sampler.state, variant)
        found = []
        for batch in logits:
            fixed.copy_(batch)
            graph.replay()
            found.append(ids.cpu())
        return torch.stack(found)

    together = plain(list(range(64)), "cuda")
    assert torch.equal(replayed(), together)
    for row in range(0, 64, 3):
        assert torch.equal(plain([row], "cuda")[:, 0], together[:, row])
    # exp differs in its last bit between the two, which a draw in millions notices
    assert (plain(list(range(64)), "cpu") != together).sum() <= 1
