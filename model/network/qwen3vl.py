"""Qwen3-VL, joined: pictures through the vision tower, their tokens into the language model.

Shapes: B batch, S tokens, V vocabulary, N visual tokens, E hidden; patches as in model/network/vision.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import Config
from model.network.language import KVCache, LanguageModel
from model.network.positions import positions
from model.network.vision import VisionTower


@dataclass(frozen=True)
class Visual:
    """What the vision tower made of pictures: tokens [N, E], and [N, E] for each DeepStack tap."""

    embeds: Tensor
    deepstack: tuple[Tensor, ...]


class Qwen3VL(nn.Module):
    """Parameter names are those of the checkpoint without its leading `model.`; see model/network/checkpoint.py."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTower(config.vision)
        self.language_model = LanguageModel(config.text)
        self.lm_head: nn.Module | None = None
        if not config.tied:
            self.lm_head = nn.Linear(config.text.hidden, config.text.vocabulary, bias=False)

    def positions(self, input_ids: Sequence[int], grids: Sequence[tuple[int, int, int]]) -> tuple[Tensor, int]:
        """[3, S] of one sequence and its rope delta, as in model/network/positions.py."""
        pads = (self.config.image_id, self.config.video_id)
        return positions(input_ids, grids, pads, self.config.vision.merge)

    def vision(self, patches_PC: Tensor, grid: Tensor) -> Visual:
        """patches [P, 1536], grid [pictures, 3] -> their tokens, in order."""
        return Visual(*self.visual(patches_PC, grid))

    def forward(
        self,
        input_ids_BS: Tensor,
        positions_3BS: Tensor,
        visual: Visual | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states [B, S, E]. visual: tokens for the image and video pads of the batch, row by row.

        mask and cache as in LanguageModel.forward.
        """
        embeds = self.language_model.embed_tokens(input_ids_BS)
        if visual is None:
            return self.language_model(embeds, positions_3BS, mask, cache)
        pads = (input_ids_BS == self.config.image_id) | (input_ids_BS == self.config.video_id)
        embeds = embeds.masked_scatter(pads[..., None], visual.embeds.to(embeds.dtype))
        return self.language_model(embeds, positions_3BS, mask, cache, visual.deepstack, pads)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., E] -> [..., V], in the dtype of the weights."""
        if self.lm_head is None:
            return F.linear(hidden, self.language_model.embed_tokens.weight)
        return self.lm_head(hidden)


def join(visuals: Sequence[Visual]) -> Visual:
    """Several visuals as one, in order."""
    return Visual(
        torch.cat([visual.embeds for visual in visuals]),
        tuple(torch.cat(taps) for taps in zip(*(visual.deepstack for visual in visuals), strict=True)),
    )
