"""The vision tower: patches of pictures and clips in, tokens of the language model out.

What is unusual: a learned position table of 48 x 48, interpolated to the picture's grid, *and* 2-D rotary in
every block; attention is full but stays within one temporal patch (two frames); features are tapped after
three blocks (DeepStack) besides the last one, each with a merger of its own. Pictures of several sizes go through it
end to end, without padding.

Footguns: the main merger normalizes before it joins 2 x 2 patches, the DeepStack mergers after; GELU is the
tanh form in the blocks and the exact one in the mergers.

Shapes: P patches of all pictures, in merge-block order (the 4 patches of a token are neighbors); N = P/4
tokens; D hidden; H heads; grid rows are (t, h, w) in patches, a row per picture or clip.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import VisionConfig
from model.network.embedding import Embedding
from model.network.frame_attention import PackedFrames
from model.network.rope import rotate, vision_rotary


class VisionTower(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = Embedding(config.grid_side**2, config.hidden)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.merger = Merger(config, norm_after_join=False)
        self.deepstack_merger_list = nn.ModuleList([Merger(config, norm_after_join=True) for _ in config.deepstack])
        # of any block; an engine puts compiled ones in their place (model/network/compiled.py)
        self.before_attention: Callable[..., tuple[Tensor, Tensor, Tensor]] = Block.before_attention
        self.after_attention: Callable[..., Tensor] = Block.after_attention

    def forward(self, patches_PC: Tensor, grid: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens [N, out_hidden], and the same for each DeepStack tap."""
        shapes = [(int(t), int(h), int(w)) for t, h, w in grid.tolist()]
        x_PD = self.patch_embed(patches_PC)
        x_PD = x_PD + self._positions(shapes).to(x_PD.dtype)
        rows, columns = self._coordinates(shapes, x_PD.device)
        rotary = vision_rotary(rows, columns, self.config.hidden // self.config.heads)
        frames = PackedFrames([h * w for t, h, w in shapes for _ in range(t)], x_PD.device)
        taps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            attended_PHD = frames.attend(*self.before_attention(block, x_PD, rotary))
            x_PD = self.after_attention(block, x_PD, attended_PHD.flatten(1))
            if index in self.config.deepstack:
                # a tap's merger is where config.json names it; what it makes goes on in the order of the blocks
                taps.append(self.deepstack_merger_list[self.config.deepstack.index(index)](x_PD))
        return self.merger(x_PD), tuple(taps)

    def _positions(self, shapes: list[tuple[int, int, int]]) -> Tensor:
        """The position table, sampled bilinearly at each picture's grid with its corners aligned: [P, D]."""
        return torch.cat([self._table_at(h, w).repeat(frames, 1) for frames, h, w in _stretches(shapes)])

    def _table_at(self, height: int, width: int) -> Tensor:
        side = self.config.grid_side
        device = self.pos_embed.weight.device
        y, x = (torch.linspace(0, side - 1, n, device=device) for n in (height, width))
        y0, x0 = y.floor().long(), x.floor().long()
        y1, x1 = (y0 + 1).clamp(max=side - 1), (x0 + 1).clamp(max=side - 1)
        dy, dx = (y - y0)[:, None], (x - x0)[None, :]
        table = self.pos_embed.weight
        total = torch.zeros(height * width, self.config.hidden, dtype=torch.float32, device=device)
        for ys, xs, weight in (
            (y0, x0, (1 - dy) * (1 - dx)),
            (y0, x1, (1 - dy) * dx),
            (y1, x0, dy * (1 - dx)),
            (y1, x1, dy * dx),
        ):
            places = (ys[:, None] * side + xs[None, :]).flatten()
            total = total + table[places] * weight.flatten()[:, None]
        return total[merge_order(height, width, self.config.merge, device)]

    def _coordinates(self, shapes: list[tuple[int, int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
        """Row and column of every patch in its frame, [P] each."""
        rows, columns = [], []
        for frames, h, w in _stretches(shapes):
            order = merge_order(h, w, self.config.merge, device)
            rows.append((order // w).repeat(frames))
            columns.append((order % w).repeat(frames))
        return torch.cat(rows), torch.cat(columns)


def _stretches(shapes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(frames, h, w) of neighbors of one size, together: a batch of pictures costs no more than one."""
    return [(sum(t for t, _, _ in equal), *size) for size, equal in groupby(shapes, key=lambda shape: shape[1:])]


def merge_order(height: int, width: int, merge: int, device: torch.device | str = "cpu") -> Tensor:
    """[h*w] row-major places of a frame's patches in merge-block order."""
    places = torch.arange(height * width, device=device).view(height // merge, merge, width // merge, merge)
    return places.permute(0, 2, 1, 3).flatten()


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel: one linear map of each patch's (channel, frame, y, x) values."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        kernel = (config.temporal_patch, config.patch, config.patch)
        self.proj = nn.Conv3d(config.channels, config.hidden, kernel, stride=kernel, bias=True)

    def forward(self, patches_PC: Tensor) -> Tensor:
        weight = self.proj.weight.flatten(1)
        return F.linear(patches_PC.to(weight.dtype), weight, self.proj.bias)


class Block(nn.Module):
    """In two parts, for attention between them depends on which patches are of one frame."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.attn = Attention(config)
        self.mlp = Mlp(config)

    def before_attention(self, x_PD: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v [P, H, D/H]."""
        return self.attn(self.norm1(x_PD), rotary)

    def after_attention(self, x_PD: Tensor, attended_PD: Tensor) -> Tensor:
        x_PD = x_PD + self.attn.proj(attended_PD)
        return x_PD + self.mlp(self.norm2(x_PD))


class Attention(nn.Module):
    """All but the attention itself, which is between forward and proj."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x_PD: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """q and k are turned in float32, as the reference does; in bfloat16 the angles of far patches would blur."""
        q, k, v = self.qkv(x_PD).view(x_PD.shape[0], 3, self.heads, -1).unbind(1)  # [P, H, D/H]
        return rotate(q.float(), *rotary).to(v.dtype), rotate(k.float(), *rotary).to(v.dtype), v


class Mlp(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(config.hidden, config.ffn)
        self.linear_fc2 = nn.Linear(config.ffn, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))


class Merger(nn.Module):
    """Joins 2 x 2 patches into one token of the language model."""

    def __init__(self, config: VisionConfig, *, norm_after_join: bool) -> None:
        super().__init__()
        self.joined = config.hidden * config.merge**2
        self.norm_after_join = norm_after_join
        self.norm = nn.LayerNorm(self.joined if norm_after_join else config.hidden, eps=1e-6)
        self.linear_fc1 = nn.Linear(self.joined, self.joined)
        self.linear_fc2 = nn.Linear(self.joined, config.out_hidden)

    def forward(self, x_PD: Tensor) -> Tensor:
        if self.norm_after_join:
            x_NJ = self.norm(x_PD.view(-1, self.joined))
        else:
            x_NJ = self.norm(x_PD).view(-1, self.joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(x_NJ)))
