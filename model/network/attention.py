"""Attention of grouped queries, without a copy of keys or values for each head of a group. No weights, no cache.

Shapes: B sequences, H query heads, G key/value heads, S new tokens, K tokens in all, D head dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MASK_CELLS = 1 << 22
"""Most cells of one mask: queries far into a long prompt are taken a few at a time."""


def attend(q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, mask: Tensor | None = None) -> Tensor:
    """[B, H, S, D]. mask: [B, 1, S, K], True where a token may look; None is causal, the new tokens being the last
    S of K."""
    if q_BHSD.shape[2] == 1:
        return _attend_one(q_BHSD, k_BGKD, v_BGKD, mask)
    if mask is None and q_BHSD.shape[2] != k_BGKD.shape[2]:
        return _attend_last(q_BHSD, k_BGKD, v_BGKD)
    grouped = q_BHSD.shape[1] != k_BGKD.shape[1]
    return F.scaled_dot_product_attention(
        q_BHSD, k_BGKD, v_BGKD, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
    )


def _attend_one(q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, mask: Tensor | None) -> Tensor:
    """One new token: the heads of a group stand where several tokens would, so keys and values are read once."""
    batch, heads, _, size = q_BHSD.shape
    folded = q_BHSD.reshape(batch, k_BGKD.shape[1], -1, size)
    return F.scaled_dot_product_attention(folded, k_BGKD, v_BGKD, attn_mask=mask).reshape(batch, heads, 1, size)


def _attend_last(q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor) -> Tensor:
    """Causal, with tokens before the new ones. torch's own is_causal would take the new ones for the first."""
    new, every = q_BHSD.shape[2], k_BGKD.shape[2]
    if q_BHSD.is_cuda and q_BHSD.element_size() == 2:  # for flash attention, which needs no mask
        from torch.nn.attention.bias import causal_lower_right  # loads torch's compiler

        return F.scaled_dot_product_attention(
            q_BHSD,
            k_BGKD,
            v_BGKD,
            attn_mask=causal_lower_right(new, every),
            enable_gqa=q_BHSD.shape[1] != k_BGKD.shape[1],
        )
    step = max(16, MASK_CELLS // every)
    places = torch.arange(every, device=q_BHSD.device)
    grouped = q_BHSD.shape[1] != k_BGKD.shape[1]
    pieces = []
    for start in range(0, new, step):
        end = min(start + step, new)
        reach = every - new + end
        mask = places[None, :reach] <= places[every - new + start : reach, None]
        pieces.append(
            F.scaled_dot_product_attention(
                q_BHSD[:, :, start:end],
                k_BGKD[:, :, :reach],
                v_BGKD[:, :, :reach],
                attn_mask=mask,
                enable_gqa=grouped,
            )
        )
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
