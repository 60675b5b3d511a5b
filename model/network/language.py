"""The language model: a Qwen3 decoder that takes visual features at its first layers.

What is unusual: queries and keys are normalized per head before they are turned (q_norm, k_norm); the head
dimension is its own number, not hidden / heads; DeepStack features are *added* to the hidden states at the
visual tokens after the first layers.

Shapes: B batch, S new tokens, K tokens in all (cached ones too), H heads, G key/value heads, D head dimension,
E hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.attention import attend
from model.network.config import TextConfig
from model.network.embedding import Embedding
from model.network.experts import ExpertMlp
from model.network.rope import rotate, text_frequencies, text_rotary


class KVCache(Protocol):
    def attend(self, layer: int, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, mask: Tensor | None) -> Tensor:
        """Take up the new keys and values of a layer; [B, H, S, D] attention over those and all before them."""


class LanguageModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList([Layer(config, index) for index in range(config.layers)])
        self.norm = RMSNorm(config.hidden, config.rms_eps)

    def forward(
        self,
        embeds_BSE: Tensor,
        positions_3BS: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        deepstack: Sequence[Tensor] = (),
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [B, S, E] after the last norm.

        mask: [B, 1, S, K], True where a token may look; None is plain causal (no cache, no padding).
        deepstack: [visual tokens, E] for each of the first layers, in the order of visual_mask [B, S].
        """
        frequencies, factor = _frequencies(self.config, embeds_BSE.device)
        cos, sin = text_rotary(positions_3BS, frequencies, self.config.mrope_section, factor)
        rotary = (cos.to(embeds_BSE.dtype), sin.to(embeds_BSE.dtype))
        x_BSE = embeds_BSE
        for index, layer in enumerate(self.layers):
            x_BSE = layer(x_BSE, rotary, mask, cache)
            if index < len(deepstack):
                assert visual_mask is not None
                added = torch.zeros_like(x_BSE).masked_scatter(visual_mask[..., None], deepstack[index].to(x_BSE.dtype))
                x_BSE = x_BSE + added
        return self.norm(x_BSE)


@functools.lru_cache(maxsize=8)
def _frequencies(config: TextConfig, device: torch.device) -> tuple[Tensor, float]:
    frequencies, factor = text_frequencies(config.head_dim, config.rope_theta, config.yarn)
    return frequencies.to(device), factor


class Layer(nn.Module):
    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden, config.rms_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.rms_eps)
        self.self_attn = Attention(config, index)
        self.mlp = Mlp(config) if config.experts is None else ExpertMlp(config.hidden, config.experts)

    def forward(
        self, x_BSE: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        x_BSE = x_BSE + self.self_attn(self.input_layernorm(x_BSE), rotary, mask, cache)
        return x_BSE + self.mlp(self.post_attention_layernorm(x_BSE))


class Attention(nn.Module):
    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_eps)

    def forward(
        self, x_BSE: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        batch, new = x_BSE.shape[:2]
        q_BHSD = self.q_norm(self.q_proj(x_BSE).view(batch, new, self.heads, self.head_dim)).transpose(1, 2)
        k_BGSD = self.k_norm(self.k_proj(x_BSE).view(batch, new, self.kv_heads, self.head_dim)).transpose(1, 2)
        v_BGSD = self.v_proj(x_BSE).view(batch, new, self.kv_heads, self.head_dim).transpose(1, 2)
        q_BHSD, k_BGSD = rotate(q_BHSD, *rotary), rotate(k_BGSD, *rotary)
        if cache is None:
            out = attend(q_BHSD, k_BGSD, v_BGSD, mask)
        else:
            out = cache.attend(self.index, q_BHSD, k_BGSD, v_BGSD, mask)
        return self.o_proj(out.transpose(1, 2).reshape(batch, new, -1))


class Mlp(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.down_proj = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RMSNorm(nn.Module):
    """Scaled to a root mean square of one over the last axis; computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and x.dtype == self.weight.dtype == torch.float32:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)  # the same, in one kernel where there is one
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)
