"""Places, coordinates and seconds as waves: what nano starts from where a number stands behind a token or a patch.

From a random start each of 201 coordinates is a word of its own, and what is learned of one says nothing of its
neighbors. As sines and cosines of several lengths, near numbers start near each other, and one linear map carries a
place in the picture to the coordinate that is written. It is where training starts, not a constraint: all of it learns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.nano.tokens import COORDINATES, SAID_SECONDS, SHOWN_SECONDS, token_ids
from model.network.config import Config
from model.network.qwen3vl import Qwen3VL

CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Waves over the whole of a coordinate's range."""
TABLE_CYCLES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
"""Waves over the position table: the last one has fewer than three of its 16 places to a wave."""
LONG_S = 64
LENGTH = 1.5
"""Of the waves in a token's row, whose other part is as long as a random row."""


def waves(shares: Tensor, cycles: tuple[float, ...] = CYCLES) -> Tensor:
    """[n] shares of a range to [n, 2 * len(cycles)], each row of length 1."""
    turned = 2 * torch.pi * shares[:, None] * torch.tensor(cycles)
    return torch.cat([turned.sin(), turned.cos()], dim=1) / len(cycles) ** 0.5


class Coordinates(nn.Module):
    """Logits of every coordinate, for each of `count` numbers: a linear map of [n, width] onto the waves.

    Returns [n, count, coordinates].
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * 2 * len(CYCLES))
        self.scale = nn.Parameter(torch.tensor(16.0))
        places = torch.arange(len(COORDINATES)) / (len(COORDINATES) - 1)
        self.register_buffer("book", waves(places).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.book, Tensor)
        return self.scale * (self.linear(x).view(len(x), self.count, -1) @ self.book)


def start(network: Qwen3VL) -> None:
    """Lay the waves over what was drawn at random: the position table, and both ends of the vocabulary."""
    with torch.no_grad():
        _table(network.config, network.visual.pos_embed)
        ids = token_ids()
        count = len(COORDINATES)
        seconds = torch.arange(LONG_S) / LONG_S
        _rows(network, [ids[name] for name in COORDINATES], waves(torch.arange(count) / (count - 1)))
        for names in (SHOWN_SECONDS, SAID_SECONDS):
            _rows(network, [ids[name] for name in names], waves(seconds[: len(names)]))


def _table(config: Config, table: nn.Embedding) -> None:
    side = config.vision.grid_side
    along = waves(torch.arange(side) / (side - 1), TABLE_CYCLES)
    code = torch.cat([along[:, None].expand(side, side, -1), along[None].expand(side, side, -1)], dim=2).flatten(0, 1)
    table.weight[:, : code.shape[1]] = 1.8 * code


def _rows(network: Qwen3VL, ids: list[int], code: Tensor) -> None:
    assert isinstance(network.lm_head, nn.Linear)
    for weight in (network.language_model.embed_tokens.weight, network.lm_head.weight):
        onto = nn.init.orthogonal_(torch.empty(code.shape[1], weight.shape[1]))
        weight[ids] = 0.3 * weight[ids] + weight[ids[0]] + LENGTH * code @ onto
