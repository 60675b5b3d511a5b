"""The parts of the vision tower around attention as compiled code, on a GPU: one for all blocks, because their weights
are arguments, and for any number of patches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from model.network.compiled import Compiled, keep_code
from model.network.qwen3vl import Qwen3VL
from model.network.vision import Block, VisionTower

_SIZES = (4, 6), (6, 8), (10, 34)
"""Rows and columns of patches of the pictures that it is tried with; no two are of one length."""

WITHOUT = "the vision tower is not compiled"

_log = logging.getLogger(__name__)


def compile_tower(network: Qwen3VL, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """In place, and tried with pictures of some sizes, so that no request waits for the code."""
    _log.warning("compiling the vision tower, about a minute the first time; kept in %s", keep_code())
    tower = network.visual
    tower.before_attention = Compiled(Block.before_attention, WITHOUT, backend=backend)
    tower.after_attention = Compiled(Block.after_attention, WITHOUT, backend=backend)
    with torch.inference_mode():
        for sizes in ([_SIZES[0]], list(_SIZES[1:])):
            _try(tower, sizes)


def _try(tower: VisionTower, sizes: list[tuple[int, int]]) -> None:
    weight = tower.patch_embed.proj.weight
    patches = torch.zeros((sum(h * w for h, w in sizes), weight[0].numel()), dtype=weight.dtype, device=weight.device)
    tower(patches, torch.tensor([(1, h, w) for h, w in sizes]))
