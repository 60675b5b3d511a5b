"""The mixture of experts that stands for the feed-forward layer in the 30B-A3B and 235B-A22B sizes.

What is unusual: weights of an expert lie (in, out), as `x @ W` wants them, the other way round than a Linear's;
gate and up are one matrix, gate first; the weights of the chosen experts always sum to one; no expert is shared.

Shapes: N tokens, E hidden, X experts, K experts of a token, F width of an expert.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import Experts


class ExpertMlp(nn.Module):
    def __init__(self, hidden: int, config: Experts) -> None:
        super().__init__()
        self.per_token = config.per_token
        self.gate = nn.Linear(hidden, config.count, bias=False)
        self.experts = ExpertWeights(hidden, config)

    def forward(self, x: Tensor) -> Tensor:
        """[..., E] -> [..., E]. Softmax over all experts in float32, then the best K, renormalized."""
        x_NE = x.reshape(-1, x.shape[-1])
        weights_NK, chosen_NK = self.gate(x_NE).softmax(-1, dtype=torch.float32).topk(self.per_token)
        weights_NK = weights_NK / weights_NK.sum(-1, keepdim=True)
        return self.experts(x_NE, weights_NK.to(x.dtype), chosen_NK).view(x.shape)


class ExpertWeights(nn.Module):
    def __init__(self, hidden: int, config: Experts) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(config.count, hidden, 2 * config.ffn))
        self.down_proj = nn.Parameter(torch.empty(config.count, config.ffn, hidden))

    def forward(self, x_NE: Tensor, weights_NK: Tensor, chosen_NK: Tensor) -> Tensor:
        """Each token once for each of its experts, sorted by expert, in one grouped product a matrix."""
        per_token = chosen_NK.shape[1]
        by_expert = chosen_NK.flatten().argsort(stable=True)  # of the N * K pairs
        tokens = by_expert // per_token
        experts = torch.arange(self.gate_up_proj.shape[0], device=x_NE.device)
        # bincount would have the host wait for its largest number, and so could not be part of a CUDA graph
        ends = torch.searchsorted(chosen_NK.flatten()[by_expert], experts, right=True).to(torch.int32)
        gate, up = F.grouped_mm(x_NE[tokens], self.gate_up_proj, offs=ends).chunk(2, dim=-1)
        outputs = F.grouped_mm(F.silu(gate) * up, self.down_proj, offs=ends)
        outputs = outputs * weights_NK.flatten()[by_expert][:, None]
        return torch.zeros_like(x_NE).index_add(0, tokens, outputs)
