"""Pictures and clips on their way to the language model: opened once, encoded in bounded batches, when their tokens
are due, and kept a while for the next task that asks about the same unit.

A clip is a run of frames here: attention of the tower stays within a temporal patch, so each can be encoded alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.qwen3vl import Qwen3VL, Visual, join
from model.prompts.preprocess import MERGE, Grid, frame_pixels, normalize, to_patches
from schemas.request import Clip, Picture

KEPT_TOKENS = 16_384
"""Visual tokens that are kept for other requests."""
BATCH_PATCHES = 16_384
"""Patches encoded at once at most (a single item may have more)."""


@dataclass(eq=False)
class VisualItem:
    """A picture, or one temporal patch of a clip. pixels, uint8 [1, frames, height, width, 1 or 3] on the host, until
    it is encoded."""

    grid: Grid
    pixels: Tensor | None
    encoded: Visual | None = None

    @property
    def patches(self) -> int:
        return self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        return self.patches // MERGE**2


class EncoderCache:
    """Items by their content; the least recently asked for go first. Used from several threads. pinned: pixels wait in
    memory that a CUDA device copies from by itself."""

    def __init__(self, kept_tokens: int = KEPT_TOKENS, *, pinned: bool = False) -> None:
        self._kept_tokens, self._pinned = kept_tokens, pinned
        self._kept: OrderedDict[bytes, tuple[list[VisualItem], Grid]] = OrderedDict()
        self._lock = threading.Lock()

    def preprocess(self, content: Picture | Clip) -> tuple[list[VisualItem], Grid]:
        """Raises ValueError for a picture that is none."""
        key = digest(content)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pixels, (t, h, w) = frame_pixels(content, pinned=self._pinned)
        seen = [VisualItem((1, h, w), part) for part in torch.split(pixels, 1)], (t, h, w)
        with self._lock:
            if key in self._kept:  # another thread was faster
                return self._kept[key]
            self._kept[key] = seen
            while sum(item.tokens for items, _ in self._kept.values() for item in items) > self._kept_tokens:
                self._kept.popitem(last=False)
        return seen


class VisualCursor:
    """The visual tokens of one prompt, in order, to be had in stretches. Items that are used up are let go."""

    def __init__(self, items: Sequence[VisualItem]) -> None:
        self._items = list(items)
        self._used = 0  # tokens of the first item that are taken

    def pending(self, tokens: int) -> list[VisualItem]:
        """The items that the next tokens come from."""
        items, reach = [], -self._used
        for item in self._items:
            if reach >= tokens:
                break
            items.append(item)
            reach += item.tokens
        return items

    def take(self, tokens: int) -> list[Visual]:
        """The next tokens; their items have been encoded."""
        taken = []
        while tokens:
            item = self._items[0]
            assert item.encoded is not None
            count = min(tokens, item.tokens - self._used)
            taken.append(_stretch(item.encoded, self._used, self._used + count))
            self._used += count
            tokens -= count
            if self._used == item.tokens:
                self._items.pop(0)
                self._used = 0
        return taken


def encode(network: Qwen3VL, items: Iterable[VisualItem], *, dtype: torch.dtype, device: str) -> None:
    """Run those through the vision tower that have not been yet, BATCH_PATCHES at a time."""
    batch: list[VisualItem] = []
    size = 0
    for item in dict.fromkeys(items):
        if item.pixels is None:
            continue
        if batch and size + item.patches > BATCH_PATCHES:
            _encode(network, batch, dtype, device)
            batch, size = [], 0
        batch.append(item)
        size += item.patches
    if batch:
        _encode(network, batch, dtype, device)


def _encode(network: Qwen3VL, batch: list[VisualItem], dtype: torch.dtype, device: str) -> None:
    patches = [
        to_patches(item.pixels.to(device, non_blocking=True)) for item in batch if item.pixels is not None
    ]  # bytes all the way, a quarter of what they will be
    visual = network.vision(normalize(torch.cat(patches)).to(dtype), torch.tensor([item.grid for item in batch]))
    start = 0
    for item in batch:
        item.encoded = _copy(_stretch(visual, start, start + item.tokens)) if len(batch) > 1 else visual
        item.pixels = None
        start += item.tokens


def _stretch(visual: Visual, start: int, end: int) -> Visual:
    return Visual(visual.embeds[start:end], tuple(tap[start:end] for tap in visual.deepstack))


def _copy(visual: Visual) -> Visual:
    """Of its own, so that one item does not hold a whole batch in memory."""
    return Visual(visual.embeds.clone(), tuple(tap.clone() for tap in visual.deepstack))


def join_all(visuals: Sequence[Visual]) -> Visual | None:
    return join(visuals) if visuals else None


def digest(content: Picture | Clip) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for picture in (content,) if isinstance(content, Picture) else content.frames:
        digest.update(f"{type(content).__name__} {picture.width_px} {picture.height_px} {len(picture.data)} ".encode())
        digest.update(picture.data)
    return digest.digest()
