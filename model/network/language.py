"""The language model: a Qwen3 decoder that takes visual features at its first layers.

What is unusual: queries and keys are normalized per head before they are turned (q_norm, k_norm); the head
dimension is its own number, not hidden / heads; DeepStack features are *added* to the hidden states at the
visual tokens after the first layers.

Shapes: B batch, S new tokens, K tokens in all (cached ones too), H heads, G key/value heads, D head dimension,
E hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.attention import attend
from model.network.config import TextConfig
from model.network.embedding import Embedding
from model.network.experts import ExpertMlp
from model.network.rope import rotate, text_frequencies, text_rotary

Rotary = tuple[Tensor, Tensor]
"""cos and sin, as text_rotary gives them."""


class KVCache(Protocol):
    def attend(self, layer: int, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
        """Take up the new keys and values of a layer; [B, H, S, D] attention over those and all before them."""


class LanguageModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.hidden, config.rms_eps)
        # of any layer; an engine puts compiled ones in their place (model/network/compiled.py)
        self.before_attention: Callable[[Layer, Tensor, Rotary], tuple[Tensor, Tensor, Tensor]] = Layer.before_attention
        self.after_attention: Callable[[Layer, Tensor, Tensor], Tensor] = Layer.after_attention

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

        mask: [B, 1, S, S], True where a token may look; None is plain causal. A cache knows by itself where to look.
        deepstack: [visual tokens, E] for each of the first layers, in the order of visual_mask [B, S].
        """
        frequencies, factor = _frequencies(self.config, embeds_BSE.device)
        cos, sin = text_rotary(positions_3BS, frequencies, self.config.mrope_section, factor)
        rotary = (cos.to(embeds_BSE.dtype), sin.to(embeds_BSE.dtype))
        x_BSE = embeds_BSE
        for index, layer in enumerate(cast(list[Layer], self.layers)):
            q_BHSD, k_BGSD, v_BGSD = self.before_attention(layer, x_BSE, rotary)
            if cache is None:
                attended_BHSD = attend(q_BHSD, k_BGSD, v_BGSD, mask)
            else:
                attended_BHSD = cache.attend(index, q_BHSD, k_BGSD, v_BGSD)
            x_BSE = self.after_attention(layer, x_BSE, attended_BHSD.transpose(1, 2).flatten(2))
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
    """In two parts, for attention between them is the cache's."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden, config.rms_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.rms_eps)
        self.self_attn = Attention(config)
        self.mlp = Mlp(config) if config.experts is None else ExpertMlp(config.hidden, config.experts)

    def before_attention(self, x_BSE: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """q [B, H, S, D], k and v [B, G, S, D]."""
        return self.self_attn(self.input_layernorm(x_BSE), rotary)

    def after_attention(self, x_BSE: Tensor, attended: Tensor) -> Tensor:
        """attended: [B, S, H x D], the heads side by side."""
        x_BSE = x_BSE + self.self_attn.o_proj(attended)
        return x_BSE + self.mlp(self.post_attention_layernorm(x_BSE))


class Attention(nn.Module):
    """All but the attention itself, which is between forward and o_proj. qkv_proj: q_proj, k_proj and v_proj as one,
    where an engine has fused them (model/network/fused.py)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.qkv_proj: nn.Module | None = None
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_eps)

    def forward(self, x_BSE: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """q [B, H, S, D], k and v [B, G, S, D]: normalized and turned."""
        if self.qkv_proj is None:
            q, k, v = self.q_proj(x_BSE), self.k_proj(x_BSE), self.v_proj(x_BSE)
        else:
            sizes = [heads * self.head_dim for heads in (self.heads, self.kv_heads, self.kv_heads)]
            q, k, v = self.qkv_proj(x_BSE).split(sizes, dim=-1)
        q_BSHD, k_BSGD, v_BSGD = (part.unflatten(-1, (-1, self.head_dim)) for part in (q, k, v))
        q_BHSD, k_BGSD = self.q_norm(q_BSHD).transpose(1, 2), self.k_norm(k_BSGD).transpose(1, 2)
        return rotate(q_BHSD, *rotary), rotate(k_BGSD, *rotary), v_BSGD.transpose(1, 2)


class Mlp(nn.Module):
    """gate_up_proj: gate_proj and up_proj as one, where an engine has fused them."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.gate_up_proj: nn.Module | None = None
        self.down_proj = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate_up_proj is None:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


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
