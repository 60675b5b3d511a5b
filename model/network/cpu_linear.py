"""Linear layers with their weights laid out for oneDNN once, instead of at every call: on a CPU, a decode step of a
few rows is then bound by reading the weights, which is all it should cost.

What is unusual: the two operators are those that torch.compile's CPU backend uses; torch has no public name for
them. Only the engine packs; training and parity run on plain layers.

Which kernel is faster was measured for a core without AVX-512, an AMD EPYC of 2021, in float32: over rows of 2 to 16,
oneDNN with its layout takes 40 to 60 % of the time of a plain product (MKL); from 256 rows on it takes 9 to 18 % more,
and a third more where it applies an activation too. Laying a weight out plainly again costs as much as 30 rows do, so
it is there once.
"""

from __future__ import annotations

import os
import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network import language, vision
from model.network.qwen3vl import Qwen3VL

PLAIN_ROWS = 256
"""From so many rows on, a product in float32 is a plain one where there is no AVX-512."""
_ROWS = 16
"""The row count that the layout is tuned for."""


class PackedLinear(nn.Module):
    """plain_rows: from how many rows on the product is a plain one; None: never."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, plain_rows: int | None = None) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        self._bias = bias
        self._plain_rows = plain_rows

    def is_plain(self, x: Tensor) -> bool:
        return self._plain_rows is not None and x.numel() >= self._plain_rows * x.shape[-1]

    def forward(self, x: Tensor, activation: tuple[str, str] = ("none", "")) -> Tensor:
        """activation: as oneDNN names it, and its variant; applied while the product is in cache. Only of few rows."""
        if self.is_plain(x):
            assert activation == ("none", "")
            return F.linear(x, self._packed.to_dense(), self._bias)
        name, variant = activation
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, name, [], variant)


class PackedTextMlp(nn.Module):
    """Of language.Mlp."""

    def __init__(self, plain: language.Mlp, plain_rows: int | None) -> None:
        super().__init__()
        self._gate, self._up, self._down = (
            PackedLinear(part.weight, plain_rows=plain_rows)
            for part in (plain.gate_proj, plain.up_proj, plain.down_proj)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self._gate(x), inplace=True) if self._gate.is_plain(x) else self._gate(x, ("swish", ""))
        return self._down(gate.mul_(self._up(x)))


class PackedVisionMlp(nn.Module):
    """Of vision.Mlp."""

    def __init__(self, plain: vision.Mlp) -> None:
        super().__init__()
        self._up, self._down = (PackedLinear(part.weight, part.bias) for part in (plain.linear_fc1, plain.linear_fc2))

    def forward(self, x: Tensor) -> Tensor:
        return self._down(self._up(x, ("gelu", "tanh")))


def pack(network: Qwen3VL) -> None:
    """In place. Each plain layer is let go as it is packed; a tied head gets a packed copy of the table. The vision
    tower, whose passes have many rows, stays plain where that is faster.

    Layers stay plain where oneDNN cannot lay them out: in bfloat16 it wants AVX-512 (or AVX-NE-CONVERT) of the CPU.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    in_bfloat16 = network.language_model.embed_tokens.weight.dtype == torch.bfloat16
    if in_bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    plain_rows = None if in_bfloat16 or torch.cpu._is_avx512_supported() else PLAIN_ROWS
    if network.lm_head is None:
        network.lm_head = PackedLinear(network.language_model.embed_tokens.weight, plain_rows=plain_rows)
    else:
        network.lm_head = PackedLinear(network.lm_head.get_parameter("weight"), plain_rows=plain_rows)
    _pack_below(network.language_model, plain_rows)
    if plain_rows is None:
        _pack_below(network.visual, None)


def _pack_below(module: nn.Module, plain_rows: int | None) -> None:
    for name, child in list(module.named_children()):
        packed: nn.Module | None = None
        if isinstance(child, language.Mlp):
            packed = PackedTextMlp(child, plain_rows)
        elif isinstance(child, vision.Mlp):
            packed = PackedVisionMlp(child)
        elif isinstance(child, nn.Linear):
            packed = PackedLinear(child.weight, child.bias, plain_rows=plain_rows)
        if packed is None:
            _pack_below(child, plain_rows)
        else:
            setattr(module, name, packed)


def use_huge_pages() -> None:
    """Memory of tensors that this process will make, in pages of 2 MB where the system has them for who asks: reading
    weights once a step is then a sixth faster. torch looks at its variable once, before its first tensor, so this comes
    before that or has no effect."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def computes_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16. torch does so on others too, by detours that make it slower than float32
    by far."""
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
