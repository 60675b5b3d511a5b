"""How much GPU memory a Qwen3-VL checkpoint takes, and how many GPUs that makes. Imports nothing heavy.

Published shapes: docs/facts/qwen3-vl.md §1.9. Memory besides the weights: vLLM's recipes name 564 and 282 GB for the
235B size in BF16 and FP8, which is 1.2 times the weights; the same factor meets their 72 GB for 30B-A3B.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from model.network.config import splits_in_fp8

Precision: TypeAlias = Literal["bf16", "fp8"]

VOCABULARY, HEAD_DIM = 151_936, 128
_MARGIN = 1.2
_BYTES: dict[Precision, int] = {"bf16": 2, "fp8": 1}
_PATCH_VALUES, _POSITIONS, _MERGED, _TAPS = 1536, 2304, 4, 3


@dataclass(frozen=True)
class Vision:
    hidden: int
    ffn: int
    depth: int
    heads: int = 16


_SMALL, _LARGE = Vision(1024, 4096, 24), Vision(1152, 4304, 27)


@dataclass(frozen=True)
class Size:
    """ffn: of the dense layer, or of one expert."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    tied: bool
    vision: Vision
    experts: int = 0

    @property
    def parameters(self) -> int:
        attention = self.hidden * HEAD_DIM * (2 * self.heads + 2 * self.kv_heads) + 2 * HEAD_DIM
        feed = 3 * self.hidden * self.ffn
        if self.experts:
            feed = self.experts * (feed + self.hidden)  # and the router's row for each
        text = self.layers * (attention + feed + 2 * self.hidden) + self.hidden
        text += VOCABULARY * self.hidden * (1 if self.tied else 2)
        return text + _tower(self.vision, self.hidden)


def _tower(vision: Vision, out: int) -> int:
    d, wide = vision.hidden, vision.hidden * _MERGED
    block = 4 * d * d + 4 * d + 2 * d * vision.ffn + vision.ffn + d + 4 * d
    merge = wide * wide + wide + wide * out + out
    entry = _PATCH_VALUES * d + d + _POSITIONS * d
    return entry + vision.depth * block + (merge + 2 * d) + _TAPS * (merge + 2 * wide)


SIZES: dict[str, Size] = {
    "2B": Size(2048, 28, 16, 8, 6144, True, _SMALL),
    "4B": Size(2560, 36, 32, 8, 9728, True, _SMALL),
    "8B": Size(4096, 36, 32, 8, 12288, False, _LARGE),
    "30B-A3B": Size(2048, 48, 32, 4, 768, False, _LARGE, experts=128),
    "32B": Size(5120, 64, 64, 8, 25600, False, _LARGE),
    "235B-A22B": Size(4096, 94, 64, 4, 1536, False, _LARGE, experts=128),
}


def size_of(model: str) -> tuple[str, Precision] | None:
    """Size and precision that a hub name or folder says, as Qwen/Qwen3-VL-8B-Instruct-FP8."""
    match = re.search(
        r"(?<![0-9A-Za-z])(" + "|".join(map(re.escape, SIZES)) + r")(?![0-9A-Za-z])", model, re.IGNORECASE
    )
    if match is None:
        return None
    name = next(size_name for size_name in SIZES if size_name.lower() == match[1].lower())
    return name, "fp8" if re.search("fp8", model, re.IGNORECASE) else "bf16"


def needed_gb(size: Size, precision: Precision) -> float:
    """Gigabytes (10^9) of GPU memory for weights and work, with the least of a KV cache."""
    return _MARGIN * size.parameters * _BYTES[precision] / 1e9


def gpus(size: Size, precision: Precision, gpu_gb: float) -> int | None:
    """The least number of GPUs of that memory that hold it, of 1, 2, 4 and 8; None when eight do not."""
    least = math.ceil(needed_gb(size, precision) / gpu_gb)
    return next((count for count in (1, 2, 4, 8) if count >= least), None)


def splits(size: Size, precision: Precision, count: int) -> bool:
    """Whether tensors of an expert can be cut over so many GPUs. Where not, experts go to GPUs whole."""
    return precision != "fp8" or not size.experts or splits_in_fp8(size.ffn, count)
