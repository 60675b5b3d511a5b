"""Choose the next token of every row in one pass over fixed tensors, on the CPU or inside a CUDA graph. Order of the
steps as in vLLM and transformers: penalties, the grammar if there is one, temperature, top-k, top-p, draw.

What is unusual here: a row draws the same token whoever shares its batch, to the bit. Its uniform number is a function
of its seed and of how many it drew before. Candidates are ordered by logit, ties by id. Probabilities are whole numbers
(the likeliest token's is 2^44), whose sums do not depend on how many terms they have or on who adds them. And whether a
row draws from its few likeliest tokens or from the whole vocabulary is for its own settings to say.

Nothing here waits for the device, and every shape follows from the arguments. Knows nothing of requests.

Shapes: R rows of a step, V vocabulary, W words of 32 tokens, C candidates, B blocks of the vocabulary, S slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (32, 128)
"""How many candidates there are of rows whose top-k is at most that. With a larger one, or none, a row draws from V."""

TOP_K_OFF = 1 << 40

UNIT = 2.0**44
"""Weight of the likeliest token. 2^18 tokens of it fit into 63 bits; what is left out weighs less than 2^-45."""

_BLOCK = 128
_DIGITS = ((21, 11), (10, 11), (0, 10))
"""Shift and width of the parts of a 32-bit key, from its highest bits on."""


@dataclass(frozen=True)
class Variant:
    """What a step has to do for the rows in it; the same answers for each come from any that does enough. One captured
    graph each. As plain as it stands here it is greedy.

    width: candidates of the rows that draw from their few likeliest, 0 where none does. everything: some row draws
    from the whole vocabulary; narrowed: and by a top-k or top-p. penalties, grammar: some row has them.
    """

    width: int = 0
    everything: bool = False
    narrowed: bool = False
    penalties: bool = False
    grammar: bool = False


@dataclass(frozen=True)
class SamplerState:
    """One row a slot, on the device. SlotSampler (slot_sampler.py) owns and fills it; a step changes drawn and output.

    [S]: temperature float32, 0 is greedy; top_k int64, TOP_K_OFF where off; top_p float64, 1 where off; presence and
    repetition float32, 0 and 1 where off; seed int64; drawn int64, tokens so far. [S, V] bool: prompt and output, the
    tokens seen. [S, W] int32: allowed, bit t % 32 of word t // 32 says whether token t may come next.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    presence: Tensor
    repetition: Tensor
    seed: Tensor
    drawn: Tensor
    prompt: Tensor
    output: Tensor
    allowed: Tensor


def sample(logits_RV: Tensor, slots_R: Tensor, state: SamplerState, variant: Variant) -> tuple[Tensor, Tensor]:
    """Token ids [R] (int64) and their log-probabilities [R] (float32), by the network alone: before penalties,
    grammar and temperature.

    logits_RV: of any float type. slots_R: int64, the row of `state` that belongs to each; several rows of padding may
    share one that nobody uses. A log-probability that is NaN says that nothing could be chosen, because a logit is
    NaN or infinite or the grammar leaves nothing; the id is then some id below V.
    """
    logits_RV = logits_RV.float()
    scores_RV = logits_RV
    if variant.penalties:
        scores_RV = _penalize(scores_RV, slots_R, state)
    if variant.grammar:
        scores_RV = scores_RV.masked_fill(~_allowed(state.allowed[slots_R], scores_RV.shape[1]), -torch.inf)
    best_R = scores_RV.amax(-1)
    ids_R = scores_RV.argmax(-1)
    if variant.width or variant.everything:
        uniform_R = uniform(state.seed[slots_R], state.drawn[slots_R])
        temperature_R, top_k_R = state.temperature[slots_R], state.top_k[slots_R]
        settings = (temperature_R, top_k_R, state.top_p[slots_R], uniform_R)
        few_R = top_k_R <= WIDTHS[-1]
        if variant.width:
            few = draw_from_few(scores_RV, *settings, width=variant.width)
            ids_R = torch.where((temperature_R > 0) & few_R, few, ids_R)
        if variant.everything:
            every = draw_from_all(scores_RV, *settings, narrowed=variant.narrowed)
            ids_R = torch.where((temperature_R > 0) & ~few_R, every, ids_R)
    chosen_R = logits_RV.gather(1, ids_R[:, None])[:, 0] - logits_RV.logsumexp(-1)
    logprobs_R = chosen_R.masked_fill(~best_R.isfinite(), torch.nan)
    state.drawn[slots_R] += 1
    if variant.penalties:
        state.output[slots_R, ids_R] = True
    return ids_R, logprobs_R


def draw_from_few(
    scores_RV: Tensor, temperature_R: Tensor, top_k_R: Tensor, top_p_R: Tensor, uniform_R: Tensor, *, width: int
) -> Tensor:
    """Ids [R] for rows whose top-k is at most `width`; of the others, some id."""
    ids_RC = likeliest(scores_RV, width)
    scores_RC = scores_RV.gather(1, ids_RC)
    weights_RC = _weights(scores_RC, scores_RC[:, :1], temperature_R)
    rank_C = torch.arange(ids_RC.shape[1], device=ids_RC.device)
    weights_RC = weights_RC.masked_fill(rank_C >= top_k_R[:, None], 0)
    before_RC = weights_RC.cumsum(-1) - weights_RC
    weights_RC = weights_RC.masked_fill(before_RC >= _share(weights_RC, top_p_R)[:, None], 0)
    return ids_RC.gather(1, _draw(weights_RC, uniform_R))[:, 0]


def draw_from_all(
    scores_RV: Tensor, temperature_R: Tensor, top_k_R: Tensor, top_p_R: Tensor, uniform_R: Tensor, *, narrowed: bool
) -> Tensor:
    """Ids [R]. Without narrowed, top-k and top-p are off. Nothing is sorted."""
    weights_RV = _weights(scores_RV, scores_RV.amax(-1, keepdim=True), temperature_R)
    if narrowed:
        keys_RV = _keys(scores_RV)
        kept_RV = _likeliest_share(keys_RV, torch.ones_like(weights_RV), top_k_R)
        weights_RV = weights_RV.masked_fill(~kept_RV, 0)
        kept_RV = _likeliest_share(keys_RV, weights_RV, _share(weights_RV, top_p_R))
        weights_RV = weights_RV.masked_fill(~kept_RV, 0)
    return _draw(weights_RV, uniform_R)[:, 0]


def uniform(seed_R: Tensor, drawn_R: Tensor) -> Tensor:
    """[R] float64 in [0, 1): number drawn_R of the sequence that seed_R begins, by SplitMix64 (Steele, Lea, Flood:
    Fast splittable pseudorandom number generators, OOPSLA 2014). The seed is mixed first, so that seeds that lie near
    each other do not begin sequences that do."""
    mixed = _mix(_mix(seed_R) + (drawn_R + 1) * _signed(0x9E3779B97F4A7C15))
    return ((mixed >> 11) & (1 << 53) - 1).double() * 2.0**-53


def likeliest(scores_RV: Tensor, width: int) -> Tensor:
    """[R, C] ids of the `width` highest scores of every row (all of V where it is smaller), from the highest on, equal
    ones by id.

    They lie in the `width` blocks of V whose maxima are highest: of a block that is not among these, `width` tokens of
    others come first. So one pass finds the maxima, and only a few thousand tokens are put in order.
    """
    R, V = scores_RV.shape
    B = -(-V // _BLOCK)
    if width >= B:
        return _unique(_keys(scores_RV)).topk(min(width, V)).indices
    blocks_RBb = F.pad(scores_RV, (0, B * _BLOCK - V), value=-torch.inf).view(R, B, _BLOCK)
    best = _unique(_keys(blocks_RBb.amax(-1))).topk(width).indices.sort(-1).values
    inside = best[..., None] * _BLOCK + torch.arange(_BLOCK, device=best.device)
    ids = inside.view(R, width * _BLOCK)  # ascending, so that places stand for ids
    found = blocks_RBb.gather(1, best[..., None].expand(-1, -1, _BLOCK)).view(R, width * _BLOCK)
    return ids.gather(1, _unique(_keys(found)).topk(width).indices)


def _penalize(logits_RV: Tensor, slots_R: Tensor, state: SamplerState) -> Tensor:
    """Repetition over prompt and output, presence over the output."""
    output_RV = state.output[slots_R]
    repetition_R1 = state.repetition[slots_R, None]
    repeated_RV = torch.where(logits_RV > 0, logits_RV / repetition_R1, logits_RV * repetition_R1)
    logits_RV = torch.where(output_RV | state.prompt[slots_R], repeated_RV, logits_RV)
    return logits_RV - output_RV * state.presence[slots_R, None]


def _allowed(allowed_RW: Tensor, vocabulary: int) -> Tensor:
    """[R, V] bool."""
    bits = torch.arange(32, dtype=torch.int32, device=allowed_RW.device)
    return ((allowed_RW[..., None] >> bits) & 1).bool().flatten(1)[:, :vocabulary]


def _weights(scores: Tensor, best_R1: Tensor, temperature_R: Tensor) -> Tensor:
    """Whole numbers proportional to the probabilities, UNIT for the likeliest; nothing for what is not a number."""
    likelihood = ((scores - best_R1) / temperature_R[:, None]).exp()
    return (likelihood.double() * UNIT).nan_to_num(0.0, 0.0, 0.0).round().long()


def _share(weights: Tensor, top_p_R: Tensor) -> Tensor:
    """[R] the least whole number that is top-p of all the weight; 1 at least, so that the likeliest stays."""
    return (weights.sum(-1).double() * top_p_R).ceil().long().clamp(min=1)


def _draw(weights: Tensor, uniform_R: Tensor) -> Tensor:
    """[R, 1] the place where the running sum passes the uniform share of the whole."""
    sums = weights.cumsum(-1)
    aim_R = (sums[:, -1].double() * uniform_R).long().minimum(sums[:, -1] - 1)
    return torch.searchsorted(sums, aim_R[:, None], right=True).clamp(max=weights.shape[1] - 1)


def _likeliest_share(keys_RV: Tensor, weights_RV: Tensor, share_R: Tensor) -> Tensor:
    """[R, V] which tokens stay: every one before which, in order of likelihood and then of id, less than share_R lies.

    The key of the last is found digit by digit from the highest, by how much weight has each digit: three passes
    instead of a sort.
    """
    above_R = torch.zeros_like(share_R)
    last_R1 = torch.zeros_like(share_R)[:, None]  # the digits of that key that are known
    keys_RV = keys_RV.long() + 2**31
    for shift, width in _DIGITS:
        ahead_RV = keys_RV >> shift
        playing_RV = ahead_RV >> width == last_R1
        bins = weights_RV.new_zeros(len(weights_RV), 1 << width)
        bins.scatter_add_(1, ahead_RV & ((1 << width) - 1), weights_RV.masked_fill(~playing_RV, 0))
        from_top = bins.flip(-1).cumsum(-1)
        digit = torch.searchsorted(from_top, (share_R - above_R)[:, None]).clamp(max=bins.shape[1] - 1)
        above_R = above_R + (from_top - bins.flip(-1)).gather(1, digit)[:, 0]
        last_R1 = (last_R1 << width) + (bins.shape[1] - 1 - digit)
    ties_RV = weights_RV.masked_fill(keys_RV != last_R1, 0)
    before_RV = above_R[:, None] + ties_RV.cumsum(-1) - ties_RV
    return (keys_RV > last_R1) | ((keys_RV == last_R1) & (before_RV < share_R[:, None]))


def _keys(scores: Tensor) -> Tensor:
    """int32 in the order of the float32 scores; both zeros are one."""
    bits = (scores + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _unique(keys_RN: Tensor) -> Tensor:
    """int64 in the order of the keys, of equal ones the first first."""
    return (keys_RN.long() << 32) - torch.arange(keys_RN.shape[1], device=keys_RN.device)


def _mix(number: Tensor) -> Tensor:
    """The finalizer of SplitMix64 on int64, whose products wrap and whose shifts are made unsigned."""
    number = (number ^ _shifted(number, 30)) * _signed(0xBF58476D1CE4E5B9)
    number = (number ^ _shifted(number, 27)) * _signed(0x94D049BB133111EB)
    return number ^ _shifted(number, 31)


def _signed(number: int) -> int:
    return number - (1 << 64)


def _shifted(number: Tensor, bits: int) -> Tensor:
    return (number >> bits) & ((1 << 64 - bits) - 1)
