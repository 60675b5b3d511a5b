"""Names and shapes of all weights of a network, from its config alone, as checkpoints name them: to hold a checkpoint
against before anything is built. Needs no torch; tests hold it to the network's parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.network.config import Config, TextConfig, VisionConfig

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def weight_shapes(config: Config) -> Shapes:
    yield from _under("model.visual.", _vision(config.vision))
    yield from _under("model.language_model.", _text(config.text))
    if not config.tied:
        yield "lm_head.weight", (config.text.vocabulary, config.text.hidden)


def _vision(config: VisionConfig) -> Shapes:
    wide = config.hidden
    patch = (config.channels, config.temporal_patch, config.patch, config.patch)
    yield "patch_embed.proj.weight", (wide, *patch)
    yield "patch_embed.proj.bias", (wide,)
    yield "pos_embed.weight", (config.grid_side**2, wide)
    for block in range(config.depth):
        for name, shapes in (
            ("norm1", _norm(wide)),
            ("norm2", _norm(wide)),
            ("attn.qkv", _linear(wide, 3 * wide)),
            ("attn.proj", _linear(wide, wide)),
            ("mlp.linear_fc1", _linear(wide, config.ffn)),
            ("mlp.linear_fc2", _linear(config.ffn, wide)),
        ):
            yield from _under(f"blocks.{block}.{name}.", shapes)
    merged = wide * config.merge**2
    yield from _under("merger.", _merger(wide, merged, config.out_hidden))
    for tap in range(len(config.deepstack)):
        yield from _under(f"deepstack_merger_list.{tap}.", _merger(merged, merged, config.out_hidden))


def _merger(normed: int, merged: int, out: int) -> Shapes:
    yield from _under("norm.", _norm(normed))
    yield from _under("linear_fc1.", _linear(merged, merged))
    yield from _under("linear_fc2.", _linear(merged, out))


def _text(config: TextConfig) -> Shapes:
    wide = config.hidden
    yield "embed_tokens.weight", (config.vocabulary, wide)
    yield "norm.weight", (wide,)
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    for layer in range(config.layers):
        for name, shape in (
            ("input_layernorm", (wide,)),
            ("post_attention_layernorm", (wide,)),
            ("self_attn.q_proj", (queries, wide)),
            ("self_attn.k_proj", (keys, wide)),
            ("self_attn.v_proj", (keys, wide)),
            ("self_attn.o_proj", (wide, queries)),
            ("self_attn.q_norm", (config.head_dim,)),
            ("self_attn.k_norm", (config.head_dim,)),
        ):
            yield f"layers.{layer}.{name}.weight", shape
        yield from _under(f"layers.{layer}.mlp.", _feed_forward(config))


def _feed_forward(config: TextConfig) -> Shapes:
    wide, experts = config.hidden, config.experts
    if experts is None:
        yield "gate_proj.weight", (config.ffn, wide)
        yield "up_proj.weight", (config.ffn, wide)
        yield "down_proj.weight", (wide, config.ffn)
    else:  # as x @ W wants them
        yield "gate.weight", (experts.count, wide)
        yield "experts.gate_up_proj", (experts.count, wide, 2 * experts.ffn)
        yield "experts.down_proj", (experts.count, experts.ffn, wide)


def _norm(size: int) -> Shapes:
    yield "weight", (size,)
    yield "bias", (size,)


def _linear(inputs: int, outputs: int) -> Shapes:
    yield "weight", (outputs, inputs)
    yield "bias", (outputs,)


def _under(prefix: str, shapes: Shapes) -> Shapes:
    for name, shape in shapes:
        yield prefix + name, shape
