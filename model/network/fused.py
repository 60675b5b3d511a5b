"""Products with the same input as one: q, k and v of attention, gate and up of the feed-forward layer. On a GPU a step
of few rows then has fewer kernels, each of them larger. Only the engine fuses; training and parity run on plain layers,
and a checkpoint knows no other.
"""

from __future__ import annotations

import torch
from torch import nn

from model.network.language import Attention, Mlp
from model.network.qwen3vl import Qwen3VL


def fuse(network: Qwen3VL) -> None:
    """In place. The plain layers of each are let go as they are fused, so at most one layer is there twice."""
    for module in network.language_model.modules():
        if isinstance(module, Attention):
            module.qkv_proj = _as_one(module, ("q_proj", "k_proj", "v_proj"))
        elif isinstance(module, Mlp):
            module.gate_up_proj = _as_one(module, ("gate_proj", "up_proj"))


def _as_one(module: nn.Module, names: tuple[str, ...]) -> nn.Linear:
    weight = torch.cat([module.get_submodule(name).get_parameter("weight") for name in names])
    for name in names:
        delattr(module, name)
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
