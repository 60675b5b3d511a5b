"""What training asks of the network: the reply, and two or three things that teach it to look.

Left to the reply's loss alone, the network learns English first and ignores the picture for a long time
(docs/facts/nano-training.md). So heads that are dropped at export supervise what lies between:

- frames: a linear map on the merger's output names the characters under each image token;
- count: another says how many characters began before that token, so that the decoder can find its place;
- things, sides, order, motion: in scenes, others name each token's own place, the shape at it, the side of the shape's
  box where it touches that, the next shape to the right and the leftmost one, and what the shape does, which two
  frames show;
- times: others, on what the decoder's last layer is given, name the second of a clip's token and the one in which the
  shape on it was first seen: only the decoder sees more than two frames;
- wanted: another, there too, names the shape that the prompt asks for at every token that speaks of it: where the last
  corner was helps to find the next one, but not the first;
- attention: some heads of the decoder must look at the image token that holds the next character, or at those that
  lie on the shape now spoken of, when it comes or goes if its time is spoken of; and before that at the word of the
  prompt that asks for it, and a clip's tokens at their timestamp.

Shapes: as in model/nano/batches.py; H heads, D head dimension; V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.nano.batches import CLASSES, IGNORED, NOWHERE, SLOTS, THING_CLASSES, Batch, SceneBatch, normalize
from model.nano.scenes import MOTIONS
from model.nano.sinusoidal import Coordinates
from model.nano.tokens import COORDINATE_STEP, COORDINATES, LONGEST_S, SHOWN_SECONDS, THINGS, token_ids
from model.network.language import Attention, Layer
from model.network.qwen3vl import Qwen3VL, Visual
from model.network.rope import rotate

GUIDED = ((1, 0), (2, 0), (2, 1))
"""(layer, head) of the decoder whose attention is told where to look."""
SCENE_GUIDED = ((2, 0), (2, 1))
"""The same in scenes: which shape comes next takes a layer to find out."""
ASKED_GUIDED = ((1, 1),)
"""The same a layer before, at the name in the prompt of the shape that is asked for."""
STAMP_GUIDED = ((0, 0),)
"""The tokens of clips, at the timestamp before them."""
SPREAD = 1.5
"""Standard deviation, in steps, of the targets about a coordinate: near is better than far."""


class AuxiliaryHeads(nn.Module):
    """The auxiliary heads, and hooks that note what the guided layers are given."""

    def __init__(self, network: Qwen3VL) -> None:
        super().__init__()
        width = network.config.text.hidden
        self.frames = nn.Linear(width, SLOTS * CLASSES)
        self.count = nn.Linear(width, 1)
        self.things = nn.Linear(width, THING_CLASSES)
        self.boxes = Coordinates(width, 4)
        self.middles = Coordinates(width, 2)
        self.following = nn.Linear(width, THING_CLASSES)
        self.leftmost = nn.Linear(width, THING_CLASSES)
        self.motions = nn.Linear(width, len(MOTIONS))
        self.starts = nn.Linear(width, LONGEST_S)
        self.seconds = nn.Linear(width, LONGEST_S)
        self.wanted = nn.Linear(width, len(THINGS))
        ids = token_ids()
        self.register_buffer("thing_ids", torch.tensor([ids[token] for token in THINGS]), persistent=False)
        self.register_buffer("stamp_ids", torch.tensor([ids[token] for token in SHOWN_SECONDS]), persistent=False)
        self.register_buffer("number_ids", torch.tensor([ids[token] for token in COORDINATES]), persistent=False)
        self._inputs: dict[int, tuple[Tensor, tuple[Tensor, Tensor]]] = {}
        self.last = network.config.text.layers - 1
        for layer in {self.last, *(layer for layer, _ in (*STAMP_GUIDED, *GUIDED) if layer < self.last)}:
            _attention(network, layer).register_forward_pre_hook(self._note(layer))

    def _note(self, layer: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._inputs[layer] = inputs[0], inputs[1]

        return hook

    def line_attention(self, network: Qwen3VL, batch: Batch) -> Tensor:
        """Reply tokens shall look at the image token that holds the next character."""
        first = int(batch.token_of.ne(IGNORED).any(0).nonzero()[0])
        wanted = batch.token_of[:, first:]
        looks = torch.zeros(*wanted.shape, batch.token_of.shape[1], dtype=torch.bool, device=wanted.device)
        looks.scatter_(2, wanted.clamp(min=0)[..., None], wanted.ne(IGNORED)[..., None])
        return self._attention_loss(network, GUIDED, first, looks)

    def scene_attention(self, network: Qwen3VL, batch: SceneBatch) -> Tensor:
        """Reply tokens shall look at the tokens on the thing that they speak of, and at the word that asks for it."""
        asked = self._attention_loss(network, ASKED_GUIDED, batch.first, batch.asked)
        return self._attention_loss(network, SCENE_GUIDED, batch.first, batch.looks) + 0.5 * asked

    def stamp_attention(self, network: Qwen3VL, batch: SceneBatch) -> Tensor:
        """The tokens of clips shall look at the timestamp of their frames."""
        assert isinstance(self.stamp_ids, Tensor)
        rows, length = batch.input_ids.shape
        along = torch.arange(length, device=batch.input_ids.device)
        latest = torch.where(torch.isin(batch.input_ids, self.stamp_ids), along, 0).cummax(1).values
        looks = torch.zeros(rows * length, length, dtype=torch.bool, device=along.device)
        looks[batch.shown, latest.flatten()[batch.shown]] = True
        return self._attention_loss(network, STAMP_GUIDED, 0, looks.view(rows, length, length))

    def _attention_loss(
        self, network: Qwen3VL, guided: tuple[tuple[int, int], ...], first: int, looks: Tensor
    ) -> Tensor:
        """-log of the attention mass on looks [B, R, S], mean over the reply tokens that have any, and heads.

        R: the columns of the sequence from `first` on.
        """
        total = looks.new_zeros((), dtype=torch.float32)
        guides = looks.any(2)
        most = network.config.text.heads
        heads = [(layer, head) for layer, head in guided if layer in self._inputs and head < most]
        if not heads or not guides.any():
            return total
        for layer, head in heads:
            x_BSE, (cos, sin) = self._inputs[layer]
            attention = _attention(network, layer)
            size = attention.head_dim
            group = head * attention.kv_heads // attention.heads
            q_weight = attention.q_proj.weight[head * size : (head + 1) * size]
            k_weight = attention.k_proj.weight[group * size : (group + 1) * size]
            q_BRD = rotate(attention.q_norm(F.linear(x_BSE[:, first:], q_weight)), cos[:, 0, first:], sin[:, 0, first:])
            k_BSD = rotate(attention.k_norm(F.linear(x_BSE, k_weight)), cos[:, 0], sin[:, 0])
            scores = (q_BRD @ k_BSD.transpose(1, 2)).float() * size**-0.5
            ahead = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(first + 1)
            everywhere = scores.masked_fill(ahead, -1e9).logsumexp(2)
            there = scores.masked_fill(~looks, -1e9).logsumexp(2)
            total = total + (everywhere - there)[guides].mean()
        return total / len(heads)

    def places_loss(self, embeds: Tensor, batch: SceneBatch) -> tuple[Tensor, Tensor]:
        """On visual tokens [n, E]: of their own places and of the sides in them; and the median error of a side."""
        steps = 1000 / COORDINATE_STEP
        logits = self.middles(embeds).flatten(0, 1).float()
        loss = 0.5 * F.cross_entropy(logits, _near(batch.middles.flatten() * steps))
        known = batch.sides != NOWHERE
        if not known.any():
            return loss, loss.new_zeros(())
        logits = self.boxes(embeds)[known].float()
        sides = batch.sides[known]
        with torch.no_grad():
            expected = logits.softmax(1) @ torch.linspace(0, 1, len(COORDINATES), device=logits.device)
            error = (expected - sides).abs().median()
        return loss + F.cross_entropy(logits, _near(sides * steps)), error

    def times_loss(self, batch: SceneBatch) -> Tensor:
        """On the visual tokens of clips as the decoder's last layer is given them."""
        shown = self._inputs[self.last][0].flatten(0, 1)[batch.shown]
        known = batch.starts != IGNORED
        loss = F.cross_entropy(self.seconds(shown), batch.seconds)
        return loss + F.cross_entropy(self.starts(shown[known]), batch.starts[known])

    def wanted_loss(self, batch: SceneBatch) -> Tensor:
        """On the tokens that speak of a thing that the prompt asks for, as the decoder's last layer is given them."""
        assert isinstance(self.thing_ids, Tensor)
        spoken = batch.asked.any(2)
        if not spoken.any():
            return batch.asked.new_zeros((), dtype=torch.float32)
        names = batch.input_ids.gather(1, batch.asked.int().argmax(2))[spoken]
        inputs = self._inputs[self.last][0][:, batch.first :][spoken]
        return F.cross_entropy(self.wanted(inputs), (names[:, None] == self.thing_ids).int().argmax(1))

    def reply_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits [n, V]; where the label is a coordinate, its neighbors are half right."""
        numbers = self.number_ids
        assert isinstance(numbers, Tensor)
        step = torch.full((logits.shape[1],), -1, device=labels.device)
        step[numbers] = torch.arange(len(numbers), device=labels.device)
        steps = step[labels]
        number = steps >= 0
        loss = F.cross_entropy(logits[~number], labels[~number], reduction="sum")
        if number.any():
            wanted = torch.zeros(int(number.sum()), logits.shape[1], device=labels.device)
            wanted[:, numbers] = _near(steps[number].float())
            loss = loss + F.cross_entropy(logits[number].float(), wanted, reduction="sum")
        return loss / len(labels)


def _near(steps: Tensor) -> Tensor:
    """[n] coordinates in steps to [n, coordinates] targets, a bell about each that sums to one."""
    way = torch.arange(len(COORDINATES), device=steps.device) - steps[:, None]
    return torch.softmax(-0.5 * (way / SPREAD).square(), dim=1)


def _attention(network: Qwen3VL, layer: int) -> Attention:
    return cast(Layer, network.language_model.layers[layer]).self_attn


@dataclass(frozen=True)
class Losses:
    reply: Tensor
    frames: Tensor
    count: Tensor
    attention: Tensor
    frame_errors: Tensor  # share of characters under the tokens that the frame-wise head gets wrong


def losses(network: Qwen3VL, heads: AuxiliaryHeads, batch: Batch, *, decoder: bool = True) -> Losses:
    """All losses of a batch. decoder False leaves the language model out: only the vision tower learns."""
    visual = network.vision(normalize(batch.patches), batch.grid)
    frame_logits = heads.frames(visual.embeds).view(-1, SLOTS, CLASSES)
    frames = F.cross_entropy(frame_logits.flatten(0, 1), batch.slots.flatten())
    with torch.no_grad():
        inked = batch.slots != 0
        wrong = (frame_logits.argmax(-1) != batch.slots) & inked
        frame_errors = wrong.sum() / inked.sum()
    count = F.smooth_l1_loss(heads.count(visual.embeds)[:, 0], batch.counts / 8, beta=0.1)
    nothing = frames.new_zeros(())
    if not decoder:
        return Losses(nothing, frames, count, nothing, frame_errors)
    hidden = network(batch.input_ids, batch.places, visual)
    spoken = batch.labels != IGNORED
    reply = F.cross_entropy(network.logits(hidden[spoken]), batch.labels[spoken])
    return Losses(reply, frames, count, heads.line_attention(network, batch), frame_errors)


@dataclass(frozen=True)
class SceneLosses:
    reply: Tensor
    things: Tensor
    sides: Tensor
    order: Tensor
    motion: Tensor
    times: Tensor
    wanted: Tensor
    attention: Tensor
    thing_errors: Tensor  # share of tokens on things whose color and shape are named wrong
    side_error: Tensor  # median distance of a named side of a box, as a share of the picture


def scene_losses(network: Qwen3VL, heads: AuxiliaryHeads, batch: SceneBatch, *, decoder: bool = True) -> SceneLosses:
    """The same for scenes. What a batch has none of (motions in pictures, order in clips) loses nothing.

    Tokens on things and tokens beside them weigh alike, though there are five times as many beside: averaged over all
    tokens, forty thousand scenes had not taught the colors.
    """
    visual = network.vision(normalize(batch.patches), batch.grid)
    embeds = visual.embeds
    nothing = embeds.new_zeros((), dtype=torch.float32)
    named = heads.things(embeds)
    on_thing = batch.things != 0
    things = F.cross_entropy(named[~on_thing], batch.things[~on_thing])
    sides, side_error = heads.places_loss(embeds, batch)
    order = motion = reply = times = wanted = attention = thing_errors = nothing
    if on_thing.any():
        things = things + 2 * F.cross_entropy(named[on_thing], batch.things[on_thing])
        thing_errors = (named.argmax(-1) != batch.things)[on_thing].float().mean()
    if (batch.leftmost != IGNORED).any():
        order = F.cross_entropy(heads.leftmost(embeds), batch.leftmost)
        if on_thing.any():
            order = order + F.cross_entropy(heads.following(embeds[on_thing]), batch.following[on_thing])
    clips = batch.motions != IGNORED
    if clips.any():
        motion = F.cross_entropy(heads.motions(embeds[clips]), batch.motions[clips])
    if decoder:
        hidden = network(batch.input_ids, batch.places, _repeated(visual, len(batch.grid), batch.questions))
        spoken = batch.labels != IGNORED
        reply = heads.reply_loss(network.logits(hidden[spoken]), batch.labels[spoken])
        attention = heads.scene_attention(network, batch)
        wanted = heads.wanted_loss(batch)
        if clips.any():
            times = heads.times_loss(batch)
            attention = attention + 0.5 * heads.stamp_attention(network, batch)
    return SceneLosses(reply, things, sides, order, motion, times, wanted, attention, thing_errors, side_error)


def _repeated(visual: Visual, scenes: int, times: int) -> Visual:
    """The tokens of each scene so many times."""

    def repeat(tokens: Tensor) -> Tensor:
        return tokens.view(scenes, -1, tokens.shape[1]).repeat_interleave(times, 0).flatten(0, 1)

    return Visual(repeat(visual.embeds), tuple(map(repeat, visual.deepstack)))
