"""Pictures and clips as the vision tower takes them: normalized patches in merge-block order.

Sizes are right already (the decoders resize, model/prompts/pixels.py says to what); nothing is resized here.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from model.prompts.pixels import MERGE, PATCH, TEMPORAL
from model.prompts.rgb import unpack
from schemas.request import Clip, Picture

__all__ = ["MERGE", "PATCH", "TEMPORAL", "Grid", "byte_patches", "patchify"]

Grid: TypeAlias = tuple[int, int, int]
"""Temporal patches, rows and columns of patches."""


def patchify(content: Picture | Clip) -> tuple[Tensor, Grid]:
    """Patches [t*h*w, 1536] float32 in -1..1, each (channel, frame, y, x), and the grid (t, h, w) in patches."""
    patches, grid = byte_patches(content)
    return patches.to(torch.float32).div_(127.5).sub_(1.0), grid


def byte_patches(content: Picture | Clip) -> tuple[Tensor, Grid]:
    """The same before they are normalized: uint8 in 0..255.

    A picture stands for two equal frames. A clip of an odd number of frames repeats its last one.
    """
    frames = [content] * TEMPORAL if isinstance(content, Picture) else list(content.frames)
    if len(frames) % TEMPORAL:
        frames.append(frames[-1])
    if len({(frame.height_px, frame.width_px) for frame in frames}) > 1:
        raise ValueError("the frames of a clip differ in size")
    height, width = frames[0].height_px, frames[0].width_px
    if height % (PATCH * MERGE) or width % (PATCH * MERGE):
        raise ValueError(f"{width} x {height} px is not in multiples of {PATCH * MERGE}")
    t, h, w = len(frames) // TEMPORAL, height // PATCH, width // PATCH
    if isinstance(content, Picture):
        stack = np.broadcast_to(unpack(content), (TEMPORAL, height, width, 3))
    else:
        stack = np.stack([unpack(frame) for frame in frames])
    blocks = torch.from_numpy(np.ascontiguousarray(stack)).view(
        t, TEMPORAL, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH, 3
    )
    return blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, -1), (t, h, w)
