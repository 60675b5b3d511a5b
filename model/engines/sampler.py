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
"""Weight of the likeliest token. 2^18 tokens of it fit into 63 bits; what weighs less than 2^-44 is never drawn."""

LOGITS_ON_CPU = 320_000
"""At once, two rows of Qwen's, so that what lies between two operations stays in the caches of a core."""

_BLOCK = 128
_DIGITS = ((21, 11), (10, 11), (0, 10))
"""Shift and width of the parts of a 32-bit key, from its highest bits on."""


@dataclass(frozen=True)
class Variant:
    """What a step has to do for the rows in it; a row gets the same from any variant that does enough. One captured
    graph each. As plain as it stands here it is greedy.

    width: candidates of the rows that draw from their few likeliest, 0 where none does. everything: some row draws
    from the whole vocabulary; top_k, top_p: and of those some row with that. presence, repetition, grammar: some row
    has it.
    """

    width: int = 0
    everything: bool = False
    top_k: bool = False
    top_p: bool = False
    presence: bool = False
    repetition: bool = False
    grammar: bool = False


@dataclass(frozen=True)
class SamplerState:
    """One row a slot, on the device. SlotSampler (slot_sampler.py) owns and fills it; a step changes drawn, minus and
    seen.

    [S]: temperature float32, 0 is greedy; top_k int64, TOP_K_OFF where off; top_p float64, 1 where off; presence and
    repetition float32, 0 and 1 where off; seed int64; drawn int64, tokens so far. [S, V]: minus float32, the presence
    penalty of the tokens written so far; seen bool, the tokens of prompt and answer where repetition is on. [S, W]
    int32: allowed, bit t % 32 of word t // 32 says whether token t may come next.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    presence: Tensor
    repetition: Tensor
    seed: Tensor
    drawn: Tensor
    minus: Tensor
    seen: Tensor
    allowed: Tensor


def sample(logits_RV: Tensor, slots_R: Tensor, state: SamplerState, variant: Variant) -> tuple[Tensor, Tensor]:
    """Token ids [R] (int64) and their log-probabilities [R] (float32), by the network alone: before penalties,
    grammar and temperature.

    logits_RV: of any float type. slots_R: int64, the row of `state` that belongs to each; several rows of padding may
    share one that nobody uses. A log-probability that is NaN says that nothing could be chosen, because a logit is
    NaN or infinite or the grammar leaves nothing; the id is then some id below V.
    """
    R, V = logits_RV.shape
    few = max(1, LOGITS_ON_CPU // V) if logits_RV.device.type == "cpu" else R
    parts = [
        _sample(logits_RV[start : start + few].float(), slots_R[start : start + few], state, variant)
        for start in range(0, R, few)
    ]
    ids, logprobs = zip(*parts, strict=True)
    return torch.cat(ids), torch.cat(logprobs)


def _sample(logits_RV: Tensor, slots_R: Tensor, state: SamplerState, variant: Variant) -> tuple[Tensor, Tensor]:
    scores_RV = logits_RV
    if variant.repetition:
        penalty_R1 = state.repetition[slots_R, None]
        repeated_RV = torch.where(scores_RV > 0, scores_RV / penalty_R1, scores_RV * penalty_R1)
        scores_RV = torch.where(state.seen[slots_R], repeated_RV, scores_RV)
    if variant.presence:
        scores_RV = scores_RV - state.minus[slots_R]
    if variant.grammar:
        scores_RV = scores_RV.masked_fill(~_allowed(state.allowed[slots_R], scores_RV.shape[1]), -torch.inf)
    best_RB = _blocks(scores_RV).amax(-1)
    ids_R, best_R = _first_best(scores_RV, best_RB)
    if variant.width or variant.everything:
        uniform_R = uniform(state.seed[slots_R], state.drawn[slots_R])
        temperature_R, top_k_R, top_p_R = state.temperature[slots_R], state.top_k[slots_R], state.top_p[slots_R]
        few_R = top_k_R <= WIDTHS[-1]
        if variant.width:
            ids_RC = likeliest(scores_RV, best_RB, variant.width)
            drawn_R = draw_from_few(scores_RV.gather(1, ids_RC), temperature_R, top_k_R, top_p_R, uniform_R)
            ids_R = torch.where((temperature_R > 0) & few_R, ids_RC.gather(1, drawn_R[:, None])[:, 0], ids_R)
        if variant.everything:
            weights_RV = _weights(scores_RV, best_R, temperature_R)
            if variant.top_k:
                weights_RV = keep_likeliest(weights_RV, scores_RV, torch.ones_like(weights_RV), top_k_R)
            if variant.top_p:
                weights_RV = keep_likeliest(weights_RV, scores_RV, weights_RV, _share(weights_RV, top_p_R))
            ids_R = torch.where((temperature_R > 0) & ~few_R, _draw(weights_RV, uniform_R), ids_R)
    chosen_R = logits_RV.log_softmax(-1).gather(1, ids_R[:, None])[:, 0]
    state.drawn.index_add_(0, slots_R, torch.ones_like(slots_R))
    if variant.presence:
        state.minus.index_put_((slots_R, ids_R), state.presence[slots_R])
    if variant.repetition:
        state.seen.index_put_((slots_R, ids_R), torch.ones_like(ids_R, dtype=torch.bool))
    return ids_R, chosen_R.masked_fill(~(best_R + chosen_R).isfinite(), torch.nan)


def draw_from_few(
    scores_RC: Tensor, temperature_R: Tensor, top_k_R: Tensor, top_p_R: Tensor, uniform_R: Tensor
) -> Tensor:
    """Places [R] among candidates that stand in order, for rows whose top-k is at most their number; of others, some
    place."""
    weights_RC = _weights(scores_RC, scores_RC[:, 0], temperature_R)
    rank_C = torch.arange(scores_RC.shape[1], device=scores_RC.device)
    weights_RC = weights_RC.masked_fill(rank_C >= top_k_R[:, None], 0)
    before_RC = weights_RC.cumsum(-1) - weights_RC
    return _draw(weights_RC.masked_fill(before_RC >= _share(weights_RC, top_p_R)[:, None], 0), uniform_R)


def uniform(seed_R: Tensor, drawn_R: Tensor) -> Tensor:
    """[R] float64 in [0, 1): number drawn_R of the sequence that seed_R begins, by SplitMix64 (Steele, Lea, Flood:
    Fast splittable pseudorandom number generators, OOPSLA 2014). The seed is mixed first, so that seeds that lie near
    each other do not begin sequences that do."""
    mixed = _mix(_mix(seed_R) + (drawn_R + 1) * _signed(0x9E3779B97F4A7C15))
    return ((mixed >> 11) & (1 << 53) - 1).double() * 2.0**-53


def likeliest(scores_RV: Tensor, best_RB: Tensor, width: int) -> Tensor:
    """[R, C] ids of the `width` highest scores of every row (all of V where it is smaller), from the highest on, equal
    ones by id. best_RB: the maximum of each block.

    They lie in the `width` blocks of V whose maxima are highest: of a block that is not among these, `width` tokens of
    others come first. So only a few thousand tokens are put in order.
    """
    R, V = scores_RV.shape
    if width >= best_RB.shape[1]:
        return _in_order(scores_RV).topk(min(width, V)).indices
    chosen = _in_order(best_RB).topk(width).indices.sort(-1).values[..., None]
    scores_RC = _blocks(scores_RV).gather(1, chosen.expand(-1, -1, _BLOCK)).view(R, -1)
    ids_RC = (chosen * _BLOCK + torch.arange(_BLOCK, device=chosen.device)).view(R, -1)  # ascending, as the places
    return ids_RC.gather(1, _in_order(scores_RC).topk(width).indices)


def _blocks(scores_RV: Tensor) -> Tensor:
    """[R, B, 128]; the last is filled up with what is never likely."""
    rest = -scores_RV.shape[1] % _BLOCK
    filled = F.pad(scores_RV, (0, rest), value=-torch.inf) if rest else scores_RV
    return filled.reshape(len(scores_RV), -1, _BLOCK)


def _first_best(scores_RV: Tensor, best_RB: Tensor) -> tuple[Tensor, Tensor]:
    """Id and score [R] of the likeliest token, of equal ones the first. NaN, where there is one, is the likeliest."""
    block_R = best_RB.argmax(-1)
    inside = _blocks(scores_RV)[torch.arange(len(block_R), device=block_R.device), block_R].argmax(-1)
    return (block_R * _BLOCK + inside), best_RB.amax(-1)


def _allowed(allowed_RW: Tensor, vocabulary: int) -> Tensor:
    """[R, V] bool."""
    bits = torch.arange(32, dtype=torch.int32, device=allowed_RW.device)
    return ((allowed_RW[..., None] >> bits) & 1).bool().flatten(1)[:, :vocabulary]


def _weights(scores_RN: Tensor, best_R: Tensor, temperature_R: Tensor) -> Tensor:
    """Whole numbers proportional to the probabilities, UNIT for the likeliest. Of a row that has NaN, and of one that
    is greedy, whatever comes out: nobody looks at it."""
    return (((scores_RN - best_R[:, None]) / temperature_R[:, None]).exp() * UNIT).long()


def _share(weights_RN: Tensor, top_p_R: Tensor) -> Tensor:
    """[R] the least whole number that is top-p of all the weight; 1 at least, so that the likeliest stays."""
    return (weights_RN.sum(-1).double() * top_p_R).ceil().long().clamp(min=1)


def _draw(weights_RN: Tensor, uniform_R: Tensor) -> Tensor:
    """[R] the place where the running sum passes the uniform share of all."""
    sums = weights_RN.cumsum(-1)
    aim_R = (sums[:, -1].double() * uniform_R).long().minimum(sums[:, -1] - 1)
    return torch.searchsorted(sums, aim_R[:, None], right=True)[:, 0].clamp(max=weights_RN.shape[1] - 1)


def keep_likeliest(weights_RV: Tensor, scores_RV: Tensor, counts_RV: Tensor, share_R: Tensor) -> Tensor:
    """The weights of the likeliest tokens, 0 for the others: those stay before which, in order of likelihood and then
    of id, less than share_R of the counts lies.

    The key of the last is found digit by digit from the highest, by how much there is of each digit: three passes
    instead of a sort.
    """
    keys_RV = _keys(scores_RV)
    last_R1 = torch.full_like(share_R, -1, dtype=torch.int32)[:, None]  # the leading digits of that key
    above_R1 = torch.zeros_like(share_R)[:, None]
    for shift, width in _DIGITS:
        size = 1 << width
        digits_RV = keys_RV >> shift
        if shift + width < 32:
            counts = counts_RV.masked_fill((keys_RV >> (shift + width)) != last_R1, 0)
            digits_RV = digits_RV & (size - 1)
        else:
            counts, digits_RV = counts_RV, digits_RV + size // 2  # the sign
        bins = counts.new_zeros(len(counts), size).scatter_add_(1, digits_RV.long(), counts).flip(-1)
        sums = bins.cumsum(-1)
        place = torch.searchsorted(sums, share_R[:, None] - above_R1).clamp(max=size - 1)
        above_R1 = above_R1 + (sums - bins).gather(1, place)
        digit = (size - 1 - place).int()
        last_R1 = (last_R1 << width) + digit if shift + width < 32 else digit - size // 2
    ties = counts_RV.masked_fill(keys_RV != last_R1, 0)
    last_RV = (keys_RV == last_R1) & (above_R1 + ties.cumsum(-1) - ties < share_R[:, None])
    return weights_RV.masked_fill(~(last_RV | (keys_RV > last_R1)), 0)


def _keys(scores: Tensor) -> Tensor:
    """int32 in the order of the float32 scores; both zeros are one."""
    bits = (scores + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _in_order(scores_RN: Tensor) -> Tensor:
    """int64 in the order of the scores, of equal ones the first first."""
    return (_keys(scores_RN).long() << 32) - torch.arange(scores_RN.shape[1], device=scores_RN.device)


def _mix(number: Tensor) -> Tensor:
    """The finalizer of SplitMix64 on int64, whose products wrap and whose shifts are made unsigned."""
    number = (number ^ _shifted(number, 30)) * _signed(0xBF58476D1CE4E5B9)
    number = (number ^ _shifted(number, 27)) * _signed(0x94D049BB133111EB)
    return number ^ _shifted(number, 31)


def _shifted(number: Tensor, bits: int) -> Tensor:
    return (number >> bits) & ((1 << 64 - bits) - 1)


def _signed(number: int) -> int:
    return number - (1 << 64)
