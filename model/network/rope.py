"""Rotary positions: interleaved MRoPE for the language model, 2-D rotary for the vision tower.

What is unusual: the language model's positions have three axes (time, height, width), and its frequencies are
dealt out to them in turn, T H W T H W …, with T alone at the low end, rather than in three blocks as in
Qwen2.5-VL. So every axis sees high and low frequencies.

Shapes: B batch, S tokens, P patches, D head dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.network.config import Yarn


def text_frequencies(head_dim: int, theta: float, yarn: Yarn | None = None) -> tuple[Tensor, float]:
    """[D/2] inverse frequencies, float32, and the factor of cos and sin.

    With YaRN, high frequencies stay, low ones are divided by the factor, and between `yarn_range` one blends
    into the other (arXiv 2309.00071, section 3.2); the axes are dealt out on the result.
    """
    plain = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if yarn is None:
        return plain, 1.0
    low, high = yarn_range(head_dim, theta, yarn)
    stretched = ((torch.arange(head_dim // 2) - low) / (high - low)).clamp(0, 1)  # 0: as it was, 1: divided
    factor = yarn.attention_factor
    if factor is None:
        factor = 0.1 * math.log(yarn.factor) + 1 if yarn.factor > 1 else 1.0
    return plain * (1 - stretched) + plain / yarn.factor * stretched, factor


def yarn_range(head_dim: int, theta: float, yarn: Yarn) -> tuple[float, float]:
    """Between which frequencies the blend runs: those that turn beta_fast and beta_slow times over the positions
    of pretraining, rounded outwards."""

    def place(turns: float) -> float:
        return head_dim * math.log(yarn.original_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(place(yarn.beta_fast)), 0), min(math.ceil(place(yarn.beta_slow)), head_dim - 1)
    return low, high if high != low else high + 0.001


def text_rotary(
    positions: Tensor, frequencies: Tensor, section: tuple[int, int, int], factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """cos and sin for positions [3, B, S]: each [B, 1, S, D], float32, times factor.

    section: frequencies of each axis; height and width take theirs at every third place, from 1 and from 2.
    """
    angles = positions.to(torch.float32)[..., None] * frequencies  # [3, B, S, D/2]
    mixed = angles[0].clone()
    for axis in (1, 2):
        places = slice(axis, section[axis] * 3, 3)
        mixed[..., places] = angles[axis][..., places]
    both = torch.cat((mixed, mixed), dim=-1)[:, None]
    return both.cos() * factor, both.sin() * factor


def vision_rotary(rows: Tensor, columns: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin for patches at rows [P], columns [P] of their frame: each [P, 1, D], float32.

    A quarter of the head turns with the row, a quarter with the column, and both again for the other half.
    """
    frequencies = 10000.0 ** -(
        torch.arange(0, head_dim // 2, 2, dtype=torch.float32, device=rows.device) / (head_dim // 2)
    )
    angles = torch.cat((rows[:, None] * frequencies, columns[:, None] * frequencies), dim=-1)  # [P, D/2]
    both = torch.cat((angles, angles), dim=-1)[:, None]
    return both.cos(), both.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the last axis of x (NeoX halves: feature i is paired with i + D/2). Keeps the dtype of x."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cos + turned * sin).to(x.dtype)
