"""Linear layers with their weights laid out for oneDNN once, instead of at every call: on a CPU, a decode step of a
few rows is then bound by reading the weights, which is all it should cost.

What is unusual: the two operators are those that torch.compile's CPU backend uses; torch has no public name for
them. Only the engine packs; training and parity run on plain layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.qwen3vl import Qwen3VL

_ROWS = 16
"""The row count that the layout is tuned for."""


class PackedLinear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        self._bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")


def pack(network: Qwen3VL) -> None:
    """In place. Each plain layer is let go as it is packed; a tied head gets a packed copy of the table."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    if network.lm_head is None:
        network.lm_head = PackedLinear(network.language_model.embed_tokens.weight, None)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child.weight, child.bias))
