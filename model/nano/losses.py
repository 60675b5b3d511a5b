"""What training asks of the network: the reply, and two or three things that teach it to look.

Left to the reply's loss alone, the network learns English first and ignores the picture for a long time
(facts/nano-training.md). So heads that are dropped at export supervise what lies between:

- frames: a linear map on the merger's output names the characters under each image token;
- count: another says how many characters began before that token, so that the decoder can find its place;
- things: in scenes, others name the shape at each token and the box that holds it;
- attention: some heads of the decoder must look at the image token that holds the next character, or that lies
  amid the shape now spoken of.

Shapes: as in model/nano/batches.py; H heads, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.language import Attention, Layer
from model.nano.batches import CLASSES, IGNORED, SLOTS, THING_CLASSES, Batch, SceneBatch
from model.qwen3vl import Qwen3VL
from model.rope import rotate

GUIDED = ((1, 0), (2, 0), (2, 1))
"""(layer, head) of the decoder whose attention is told where to look."""


class Teacher(nn.Module):
    """The auxiliary heads, and hooks that note what the guided layers are given."""

    def __init__(self, network: Qwen3VL) -> None:
        super().__init__()
        width = network.config.text.hidden
        self.frames = nn.Linear(width, SLOTS * CLASSES)
        self.count = nn.Linear(width, 1)
        self.things = nn.Linear(width, THING_CLASSES)
        self.boxes = nn.Linear(width, 4)
        self._inputs: dict[int, tuple[Tensor, tuple[Tensor, Tensor]]] = {}
        self._guided = [(layer, head) for layer, head in GUIDED if layer < network.config.text.layers]
        for layer in {layer for layer, _ in self._guided}:
            _attention(network, layer).register_forward_pre_hook(self._note(layer))

    def _note(self, layer: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._inputs[layer] = inputs[0], inputs[1]

        return hook

    def attention_loss(self, network: Qwen3VL, batch: Batch | SceneBatch) -> Tensor:
        """-log of the attention mass on the right image token, mean over reply tokens that have one, and heads."""
        first = int(batch.token_of.ne(IGNORED).any(0).nonzero()[0])
        wanted = batch.token_of[:, first:]
        total = batch.patches.new_zeros(())
        for layer, head in self._guided:
            x_BSE, (cos, sin) = self._inputs[layer]
            attention = _attention(network, layer)
            size = attention.head_dim
            group = head * attention.kv_heads // attention.heads
            q_weight = attention.q_proj.weight[head * size : (head + 1) * size]
            k_weight = attention.k_proj.weight[group * size : (group + 1) * size]
            q_BRD = rotate(attention.q_norm(F.linear(x_BSE[:, first:], q_weight)), cos[:, 0, first:], sin[:, 0, first:])
            k_BSD = rotate(attention.k_norm(F.linear(x_BSE, k_weight)), cos[:, 0], sin[:, 0])
            scores = q_BRD @ k_BSD.transpose(1, 2) * size**-0.5
            ahead = torch.ones(scores.shape[1:], dtype=torch.bool).triu(first + 1)
            scores = scores.masked_fill(ahead.to(scores.device), -1e9)
            total = total + F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        self._inputs.clear()
        return total / max(len(self._guided), 1)


def _attention(network: Qwen3VL, layer: int) -> Attention:
    return cast(Layer, network.language_model.layers[layer]).self_attn


@dataclass(frozen=True)
class Losses:
    reply: Tensor
    frames: Tensor
    count: Tensor
    attention: Tensor
    frame_errors: float  # share of characters under the tokens that the frame-wise head gets wrong


def losses(network: Qwen3VL, teacher: Teacher, batch: Batch, *, decoder: bool = True) -> Losses:
    """All losses of a batch. decoder False leaves the language model out: only the vision tower learns."""
    visual = network.vision(batch.patches, batch.grid)
    frame_logits = teacher.frames(visual.embeds).view(-1, SLOTS, CLASSES)
    frames = F.cross_entropy(frame_logits.flatten(0, 1), batch.slots.flatten())
    with torch.no_grad():
        inked = batch.slots != 0
        wrong = (frame_logits.argmax(-1) != batch.slots) & inked
        frame_errors = float(wrong.sum() / inked.sum())
    count = F.smooth_l1_loss(teacher.count(visual.embeds)[:, 0], batch.counts / 8, beta=0.1)
    nothing = frames.new_zeros(())
    if not decoder:
        return Losses(nothing, frames, count, nothing, frame_errors)
    hidden = network(batch.input_ids, batch.places, visual)
    spoken = batch.labels != IGNORED
    reply = F.cross_entropy(network.logits(hidden[spoken]), batch.labels[spoken])
    return Losses(reply, frames, count, teacher.attention_loss(network, batch), frame_errors)


@dataclass(frozen=True)
class SceneLosses:
    reply: Tensor
    things: Tensor
    boxes: Tensor
    attention: Tensor


def scene_losses(network: Qwen3VL, teacher: Teacher, batch: SceneBatch, *, decoder: bool = True) -> SceneLosses:
    """The same for scenes."""
    visual = network.vision(batch.patches, batch.grid)
    things = F.cross_entropy(teacher.things(visual.embeds), batch.things)
    on_thing = batch.things != 0
    nothing = things.new_zeros(())
    boxes = nothing
    if on_thing.any():
        boxes = F.smooth_l1_loss(teacher.boxes(visual.embeds[on_thing]), batch.boxes[on_thing], beta=0.02)
    if not decoder:
        return SceneLosses(nothing, things, boxes, nothing)
    hidden = network(batch.input_ids, batch.places, visual)
    spoken = batch.labels != IGNORED
    reply = F.cross_entropy(network.logits(hidden[spoken]), batch.labels[spoken])
    guided = bool((batch.token_of != IGNORED).any())
    attention = teacher.attention_loss(network, batch) if guided else nothing
    return SceneLosses(reply, things, boxes, attention)
