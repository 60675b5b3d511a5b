"""Linear layers with their weights laid out for oneDNN once, instead of at every call: on a CPU, a decode step of a
few rows is then bound by reading the weights, which is all it should cost. The activation of a feed-forward layer is
applied while its product is still in cache.

What is unusual: the two operators are those that torch.compile's CPU backend uses; torch has no public name for
them. Only the engine packs; training and parity run on plain layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.network import language, vision
from model.network.qwen3vl import Qwen3VL

_ROWS = 16
"""The row count that the layout is tuned for."""


class PackedLinear(nn.Module):
    """activation: as oneDNN names it, and its variant."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, activation: tuple[str, str] = ("none", "")) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        self._bias = bias
        self._activation, self._variant = activation

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, self._activation, [], self._variant)


class PackedTextMlp(nn.Module):
    """Of language.Mlp."""

    def __init__(self, plain: language.Mlp) -> None:
        super().__init__()
        self._gate = PackedLinear(plain.gate_proj.weight, activation=("swish", ""))
        self._up, self._down = PackedLinear(plain.up_proj.weight), PackedLinear(plain.down_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self._down(self._gate(x).mul_(self._up(x)))


class PackedVisionMlp(nn.Module):
    """Of vision.Mlp."""

    def __init__(self, plain: vision.Mlp) -> None:
        super().__init__()
        self._up = PackedLinear(plain.linear_fc1.weight, plain.linear_fc1.bias, ("gelu", "tanh"))
        self._down = PackedLinear(plain.linear_fc2.weight, plain.linear_fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._down(self._up(x))


def pack(network: Qwen3VL) -> None:
    """In place. Each plain layer is let go as it is packed; a tied head gets a packed copy of the table.

    Layers stay plain where oneDNN cannot lay them out: in bfloat16 it wants AVX-512 (or AVX-NE-CONVERT) of the CPU.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    in_bfloat16 = network.language_model.embed_tokens.weight.dtype == torch.bfloat16
    if in_bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    if network.lm_head is None:
        network.lm_head = PackedLinear(network.language_model.embed_tokens.weight)
    _pack_below(network)


def _pack_below(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        packed: nn.Module | None = None
        if isinstance(child, language.Mlp):
            packed = PackedTextMlp(child)
        elif isinstance(child, vision.Mlp):
            packed = PackedVisionMlp(child)
        elif isinstance(child, nn.Linear):
            packed = PackedLinear(child.weight, child.bias)
        if packed is None:
            _pack_below(child)
        else:
            setattr(module, name, packed)
