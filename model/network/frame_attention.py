"""Attention of the vision tower: each patch looks at all patches of its frame, and frames of several sizes stand end to
end. No weights.

On a GPU one call of torch's FlashAttention for frames of any lengths takes them all. cuDNN's attention is faster where
sizes repeat, but plans for every size that it has not seen, 35 ms each (measured on an H200), which pages of scanned
books would cost at every page.

Shapes: P patches of all frames, H heads, D head dimension.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Packed: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]
"""q, k, v [P, H, D]; for queries and for keys, where frames begin and the last one ends, int32; and the longest."""

_log = logging.getLogger(__name__)


class PackedFrames:
    """lengths: patches of each frame, in order."""

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self._stretches = runs(lengths)
        self._longest = max(lengths, default=0)
        self._bounds: Tensor | None = None
        if device.type == "cuda":
            bounds = list(itertools.accumulate(lengths, initial=0))
            self._bounds = torch.tensor(bounds, dtype=torch.int32, device=device)

    def attend(self, q_PHD: Tensor, k_PHD: Tensor, v_PHD: Tensor) -> Tensor:
        """[P, H, D]."""
        if self._bounds is not None and (packed := _usable_kernel(q_PHD)) is not None:
            return packed(q_PHD, k_PHD, v_PHD, self._bounds, self._bounds, self._longest, self._longest)
        return _by_stretch(q_PHD, k_PHD, v_PHD, self._stretches)


def _by_stretch(q_PHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, stretches: list[tuple[int, int, int]]) -> Tensor:
    """Equal neighbors as one batch: no padding, few calls."""
    out_PHD = torch.empty_like(v_PHD) if not torch.is_grad_enabled() else None
    pieces = []
    # split, not sliced: the gradients of slices are as large as the whole, each
    sizes = [length * count for _, length, count in stretches]
    parts = zip(*(torch.split(heads, sizes) for heads in (q_PHD, k_PHD, v_PHD)), strict=True)
    for (start, length, count), part in zip(stretches, parts, strict=True):
        query, key, value = (heads.unflatten(0, (count, length)).transpose(1, 2) for heads in part)
        piece = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(0, 1)
        if out_PHD is None:
            pieces.append(piece)
        else:
            out_PHD[start : start + length * count] = piece
    return torch.cat(pieces) if out_PHD is None else out_PHD


def runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    """(start, length, count) of neighboring frames of equal length."""
    stretches = []
    start = 0
    for length, equal in itertools.groupby(lengths):
        count = sum(1 for _ in equal)
        stretches.append((start, length, count))
        start += length * count
    return stretches


def _usable_kernel(q_PHD: Tensor) -> Packed | None:
    """None where gradients are wanted, or in float32, which FlashAttention does not take."""
    if torch.is_grad_enabled() or q_PHD.dtype not in (torch.bfloat16, torch.float16):
        return None
    return _tried_kernel(q_PHD.device, q_PHD.dtype, *q_PHD.shape[1:])


def _kernel() -> Packed:
    from torch.nn.attention.varlen import varlen_attn  # not in every build of torch

    return varlen_attn  # type: ignore[return-value]  # a pair only if it is asked for one


@functools.lru_cache(maxsize=8)
def _tried_kernel(device: torch.device, dtype: torch.dtype, heads: int, size: int) -> Packed | None:
    """torch's, which is public, but young, if it comes to the right numbers here; else None, with the reason in the
    log."""
    lengths = [3, 200, 64]
    generator = torch.Generator(device).manual_seed(0)
    shape = (3, sum(lengths), heads, size)
    q, k, v = torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)
    bounds = torch.tensor(list(itertools.accumulate(lengths, initial=0)), dtype=torch.int32, device=device)
    try:
        packed = _kernel()
        error = (packed(q, k, v, bounds, bounds, 200, 200).float() - _by_stretch(q, k, v, runs(lengths)).float()).abs()
        if not error.max().item() < 0.05:
            raise ArithmeticError(f"it is off by {error.max().item():.3g}")
    except Exception as fault:  # noqa: BLE001  torch and drivers have no common error
        reason = f"{type(fault).__name__}: {fault}"[:500]
        _log.warning("the vision tower takes sizes one by one, without packed attention: %s", reason)
        return None
    return packed
