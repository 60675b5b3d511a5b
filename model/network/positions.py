"""Where each token stands on the three axes of MRoPE. Pure: ids and grids in, numbers out.

Text counts up on all three axes alike. A picture stands still in time and spreads its rows and columns over
the other two; what follows it goes on after its longer side. Every temporal patch of a clip is a picture of
its own: between them stand timestamps, which are text (docs/facts/qwen3-vl.md §1.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def positions(
    input_ids: Sequence[int], grids: Sequence[tuple[int, int, int]], visual_ids: tuple[int, int], merge: int = 2
) -> tuple[Tensor, int]:
    """[3, S] positions of one sequence, and its rope delta: the next token's position is its index plus that.

    grids: (t, h, w) in patches of every picture and clip, in the order of their tokens.
    visual_ids: the pad tokens of images and videos.
    """
    frames = [(h // merge, w // merge) for t, h, w in grids for _ in range(t)]
    places = torch.empty(3, len(input_ids), dtype=torch.long)
    index = next_position = 0
    upcoming = iter(frames)
    while index < len(input_ids):
        if input_ids[index] in visual_ids:
            rows, columns = next(upcoming)
            block = slice(index, index + rows * columns)
            places[0, block] = next_position
            places[1, block] = next_position + torch.arange(rows).repeat_interleave(columns)
            places[2, block] = next_position + torch.arange(columns).repeat(rows)
            index += rows * columns
            next_position += max(rows, columns)
        else:
            end = index + 1
            while end < len(input_ids) and input_ids[end] not in visual_ids:
                end += 1
            places[:, index:end] = torch.arange(next_position, next_position + end - index)
            next_position += end - index
            index = end
    return places, int(places.max()) + 1 - len(input_ids) if len(input_ids) else 0
