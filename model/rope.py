"""Rotary positions: interleaved MRoPE for the language model, 2-D rotary for the vision tower.

What is unusual: the language model's positions have three axes (time, height, width), and its frequencies are
dealt out to them in turn, T H W T H W …, with T alone at the low end, rather than in three blocks as in
Qwen2.5-VL. So every axis sees high and low frequencies.

Shapes: B batch, S tokens, P patches, D head dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor


def text_frequencies(head_dim: int, theta: float) -> Tensor:
    """[D/2] inverse frequencies, float32."""
    return theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def text_rotary(positions: Tensor, frequencies: Tensor, section: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """cos and sin for positions [3, B, S]: each [B, 1, S, D], float32.

    section: frequencies of each axis; height and width take theirs at every third place, from 1 and from 2.
    """
    angles = positions.to(torch.float32)[..., None] * frequencies  # [3, B, S, D/2]
    mixed = angles[0].clone()
    for axis in (1, 2):
        places = slice(axis, section[axis] * 3, 3)
        mixed[..., places] = angles[axis][..., places]
    both = torch.cat((mixed, mixed), dim=-1)[:, None]
    return both.cos(), both.sin()


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
