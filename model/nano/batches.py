"""Lines in batches of one width, as the tensors that training wants. Knows nothing of losses.

Shapes: B lines of one width; N image tokens each; S tokens of the padded sequence; C characters, padded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from model.nano.fonts import Face
from model.nano.render import Sample, draw_sample
from model.nano.strip import TOKEN_SIDE_PX
from model.nano.tokens import CHARACTERS, prompt_ids, reply_ids
from model.positions import positions
from model.preprocess import MERGE, PATCH, TEMPORAL

SLOTS = 4
"""Characters that the frame-wise head may name under one image token."""
BLANK = 0
CLASS_OF = {character: index for index, character in enumerate(CHARACTERS, 1)}
CLASSES = len(CHARACTERS) + 1
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    patches: Tensor  # [B * 4N, 1536]
    grid: Tensor  # [B, 3]
    input_ids: Tensor  # [B, S]
    labels: Tensor  # [B, S], the next token where it is the reply's, else IGNORED
    places: Tensor  # [3, B, S]
    slots: Tensor  # [B * N, SLOTS] classes of the characters under each image token
    counts: Tensor  # [B * N] characters that begin before the token
    token_of: Tensor  # [B, S] sequence place of the image token that holds the next character, or IGNORED
    characters: int

    @property
    def lines(self) -> int:
        return int(self.grid.shape[0])


def strip_patches(strips: Tensor) -> Tensor:
    """uint8 [B, 32, W, 3] to [B * 4N, 1536]: `model.preprocess.patchify` for many strips of one width."""
    lines, height, width, channels = strips.shape
    blocks = strips.view(lines, height // PATCH // MERGE, MERGE, PATCH, width // PATCH // MERGE, MERGE, PATCH, channels)
    patches = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)  # line, rows, columns, 2, 2, channel, y, x
    doubled = patches.unsqueeze(6).expand(*patches.shape[:6], TEMPORAL, PATCH, PATCH)
    flat = doubled.reshape(-1, channels * TEMPORAL * PATCH * PATCH)
    return flat.to(torch.float32).div_(127.5).sub_(1.0)


def collate(samples: list[Sample]) -> Batch:
    """Tensors of samples that have one width."""
    width_px = samples[0].width_px
    tokens = width_px // TOKEN_SIDE_PX
    prompt = prompt_ids(tokens)
    first_image = 4  # after <|im_start|> user \n <|vision_start|>
    length = len(prompt) + max(len(sample.text) for sample in samples)
    input_ids = torch.zeros(len(samples), length, dtype=torch.long)
    labels = torch.full((len(samples), length), IGNORED)
    token_of = torch.full((len(samples), length), IGNORED)
    slots = torch.full((len(samples), tokens, SLOTS), BLANK)
    counts = torch.zeros(len(samples), tokens)
    for row, sample in enumerate(samples):
        reply = reply_ids(sample.text)
        ids = prompt + reply[:-1]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        speaks = slice(len(prompt) - 1, len(ids))
        labels[row, speaks] = torch.tensor(reply)
        under = [min(int(centre // TOKEN_SIDE_PX), tokens - 1) for centre in sample.centres_px]
        token_of[row, len(prompt) - 1 : len(ids) - 1] = torch.tensor(under) + first_image
        filled = [0] * tokens
        for character, token in zip(sample.text, under, strict=True):
            if filled[token] < SLOTS:
                slots[row, token, filled[token]] = CLASS_OF[character]
            filled[token] += 1
        counts[row] = torch.tensor([0, *filled[:-1]]).cumsum(0)
    places, _ = positions(
        prompt + [0] * (length - len(prompt)), [(1, MERGE, tokens * MERGE)], (prompt[first_image], -1), MERGE
    )
    strips = torch.from_numpy(np.stack([sample.picture for sample in samples]))
    return Batch(
        patches=strip_patches(strips),
        grid=torch.tensor([(1, MERGE, tokens * MERGE)] * len(samples)),
        input_ids=input_ids,
        labels=labels,
        places=places[:, None].expand(3, len(samples), length),
        slots=slots.flatten(0, 1),
        counts=counts.flatten(),
        token_of=token_of,
        characters=sum(len(sample.text) for sample in samples),
    )


class Lines(IterableDataset[Batch]):
    """Endless batches of about `image_tokens` tokens; lines wait in buckets until one is full."""

    def __init__(
        self, faces: list[Face], seed: int, image_tokens: int, max_chars: tuple[int, int], noise: float
    ) -> None:
        self.faces, self.seed, self.image_tokens = faces, seed, image_tokens
        self.max_chars, self.noise = max_chars, noise

    def __iter__(self) -> Iterator[Batch]:
        rng = random.Random(self.seed)
        buckets: dict[int, list[Sample]] = {}
        while True:
            sample = draw_sample(rng, self.faces, rng.randint(*self.max_chars), noise=self.noise)
            tokens = sample.width_px // TOKEN_SIDE_PX
            if tokens > 96:
                continue
            bucket = buckets.setdefault(tokens, [])
            bucket.append(sample)
            if len(bucket) * tokens >= self.image_tokens:
                del buckets[tokens]
                yield collate(bucket)
