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
from model.prompts.chat import Grid
from model.prompts.preprocess import MERGE, patchify
from schemas.request import Clip, Picture

KEPT_TOKENS = 16_384
"""Visual tokens that are kept for other requests."""
BATCH_PATCHES = 16_384
"""Patches encoded at once at most (a single frame may have more)."""


@dataclass(eq=False)
class VisualItem:
    """A picture, or one temporal patch of a clip. patches [h*w, 1536] until it is encoded, then made."""

    grid: Grid
    patches: Tensor | None
    made: Visual | None = None

    @property
    def tokens(self) -> int:
        return self.grid[1] * self.grid[2] // MERGE**2


class EncoderCache:
    """Frames by their content; the least recently asked for go first. Used from several threads."""

    def __init__(self, kept_tokens: int = KEPT_TOKENS) -> None:
        self._kept_tokens = kept_tokens
        self._kept: OrderedDict[bytes, tuple[list[VisualItem], Grid]] = OrderedDict()
        self._lock = threading.Lock()

    def preprocess(self, content: Picture | Clip) -> tuple[list[VisualItem], Grid]:
        """Raises ValueError for a picture that is none."""
        key = digest(content)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        patches, (t, h, w) = patchify(content)
        seen = [VisualItem((1, h, w), part) for part in patches.view(t, h * w, -1)], (t, h, w)
        with self._lock:
            if key in self._kept:  # another thread was faster
                return self._kept[key]
            self._kept[key] = seen
            while sum(frame.tokens for frames, _ in self._kept.values() for frame in frames) > self._kept_tokens:
                self._kept.popitem(last=False)
        return seen


class VisualCursor:
    """The visual tokens of one prompt, in order, to be had in stretches. Frames that are used up are let go."""

    def __init__(self, frames: Sequence[VisualItem]) -> None:
        self._frames = list(frames)
        self._used = 0  # tokens of the first frame that are taken

    def pending(self, tokens: int) -> list[VisualItem]:
        """The frames that the next tokens come from."""
        frames, reach = [], -self._used
        for frame in self._frames:
            if reach >= tokens:
                break
            frames.append(frame)
            reach += frame.tokens
        return frames

    def take(self, tokens: int) -> list[Visual]:
        """The next tokens; their frames have been encoded."""
        taken = []
        while tokens:
            frame = self._frames[0]
            assert frame.made is not None
            count = min(tokens, frame.tokens - self._used)
            taken.append(_stretch(frame.made, self._used, self._used + count))
            self._used += count
            tokens -= count
            if self._used == frame.tokens:
                self._frames.pop(0)
                self._used = 0
        return taken


def encode(network: Qwen3VL, frames: Iterable[VisualItem], *, dtype: torch.dtype, device: str) -> None:
    """Run those through the vision tower that have not been yet, BATCH_PATCHES at a time."""
    batch: list[VisualItem] = []
    size = 0
    for frame in dict.fromkeys(frames):
        if frame.patches is None:
            continue
        if batch and size + len(frame.patches) > BATCH_PATCHES:
            _encode(network, batch, dtype, device)
            batch, size = [], 0
        batch.append(frame)
        size += len(frame.patches)
    if batch:
        _encode(network, batch, dtype, device)


def _encode(network: Qwen3VL, batch: list[VisualItem], dtype: torch.dtype, device: str) -> None:
    patches = torch.cat([frame.patches for frame in batch if frame.patches is not None])
    visual = network.vision(patches.to(device, dtype), torch.tensor([frame.grid for frame in batch]))
    start = 0
    for frame in batch:
        frame.made = _copy(_stretch(visual, start, start + frame.tokens)) if len(batch) > 1 else visual
        frame.patches = None
        start += frame.tokens


def _stretch(visual: Visual, start: int, end: int) -> Visual:
    return Visual(visual.embeds[start:end], tuple(tap[start:end] for tap in visual.deepstack))


def _copy(visual: Visual) -> Visual:
    """Of its own, so that one frame does not hold a whole batch in memory."""
    return Visual(visual.embeds.clone(), tuple(tap.clone() for tap in visual.deepstack))


def joined(visuals: Sequence[Visual]) -> Visual | None:
    return join(visuals) if visuals else None


def digest(content: Picture | Clip) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for picture in (content,) if isinstance(content, Picture) else content.frames:
        digest.update(f"{type(content).__name__} {picture.width_px} {picture.height_px} {len(picture.data)} ".encode())
        digest.update(picture.data)
    return digest.digest()
