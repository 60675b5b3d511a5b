"""Pictures and clips as the vision tower takes them: normalized patches in merge-block order.

Sizes are right already (the decoders resize, model/prompts/pixels.py says to what); nothing is resized here. Pixels are
bytes until they are where they are used: a device gets 3 bytes a pixel of a picture, where patches have 24.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from model.prompts.pixels import MERGE, PATCH, TEMPORAL
from model.prompts.rgb import is_gray, unpack
from schemas.request import Clip, Picture

__all__ = ["MERGE", "PATCH", "TEMPORAL", "Grid", "byte_patches", "patchify"]

Grid: TypeAlias = tuple[int, int, int]
"""Temporal patches, rows and columns of patches."""


def patchify(content: Picture | Clip) -> tuple[Tensor, Grid]:
    """Patches [t*h*w, 1536] float32 in -1..1, each (channel, frame, y, x), and the grid (t, h, w) in patches."""
    patches, grid = byte_patches(content)
    return normalize(patches), grid


def byte_patches(content: Picture | Clip) -> tuple[Tensor, Grid]:
    """The same before they are normalized: uint8 in 0..255."""
    pixels, grid = frame_pixels(content)
    return to_patches(pixels), grid


def frame_pixels(content: Picture | Clip, *, pinned: bool = False) -> tuple[Tensor, Grid]:
    """uint8 [t, frames, height, width, channels]: one frame of a picture, which stands for two that are equal, and two
    of each temporal patch of a clip, whose last frame is repeated if their number is odd. One channel where none of
    them has color, else 3. The grid is in patches.

    pinned: in memory that a CUDA device copies from by itself, while this processor does something else.
    Raises ValueError for frames of several sizes, or of one that is not in whole tokens.
    """
    frames = [content] if isinstance(content, Picture) else list(content.frames)
    if isinstance(content, Clip) and len(frames) % TEMPORAL:
        frames.append(frames[-1])
    if len({(frame.height_px, frame.width_px) for frame in frames}) > 1:
        raise ValueError("the frames of a clip differ in size")
    height, width = frames[0].height_px, frames[0].width_px
    if height % (PATCH * MERGE) or width % (PATCH * MERGE):
        raise ValueError(f"{width} x {height} px is not in multiples of {PATCH * MERGE}")
    channels = 1 if all(map(is_gray, frames)) else 3
    pixels = torch.empty((len(frames), height, width, channels), dtype=torch.uint8, pin_memory=pinned)
    for stored, frame in zip(pixels.numpy(), frames, strict=True):
        stored[:] = unpack(frame)[..., :channels]
    t = max(1, len(frames) // TEMPORAL)
    return pixels.view(t, -1, height, width, channels), (t, height // PATCH, width // PATCH)


def to_patches(pixels: Tensor) -> Tensor:
    """Of [t, 1 or 2 frames, height, width, 1 or 3]: patches [t*h*w, 1536] in the same dtype, on the same device."""
    t, _, height, width, _ = pixels.shape
    h, w = height // PATCH, width // PATCH
    pixels = pixels.expand(-1, -1, -1, -1, 3)
    blocks = pixels.view(t, -1, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH, 3)
    blocks = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return blocks.expand(-1, -1, -1, -1, -1, -1, TEMPORAL, -1, -1).reshape(t * h * w, -1)


def normalize(patches: Tensor) -> Tensor:
    """uint8 to float32 in -1..1. The divisor is a tensor, for a device would multiply by the reciprocal of a number,
    which rounds in another way: so every device comes to the same bits."""
    divisor = torch.full((), 127.5, device=patches.device)
    return patches.to(torch.float32).div_(divisor).sub_(1.0)
