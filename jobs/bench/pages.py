"""What goes to a peer of `sightread bench engine`, pages of noise, and what comes back. Imports nothing, because a
peer may run under another interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

PATCH, MERGE = 16, 2


@dataclass(frozen=True)
class Prompt:
    """A picture, then text. rgb: height_px * width_px * 3 bytes; before and after: token ids around its pads."""

    width_px: int
    height_px: int
    rgb: bytes
    before: list[int]
    after: list[int]

    @property
    def grid(self) -> tuple[int, int, int]:
        return 1, self.height_px // PATCH, self.width_px // PATCH

    def input_ids(self, image_id: int) -> list[int]:
        _, h, w = self.grid
        return [*self.before, *[image_id] * (h * w // MERGE**2), *self.after]


def make_prompts(
    count: int, width_px: int, height_px: int, *, vision_start_id: int, vision_end_id: int, text_tokens: int = 32
) -> list[Prompt]:
    """Each another, and the same ones every time."""
    prompts = []
    for number in range(count):
        random = Random(number)
        text = [random.randrange(1000, 100_000) for _ in range(text_tokens)]
        rgb = random.randbytes(width_px * height_px * 3)
        prompts.append(Prompt(width_px, height_px, rgb, [vision_start_id], [vision_end_id, *text]))
    return prompts


@dataclass(frozen=True)
class Timing:
    """tokens of each prompt, in their order."""

    tokens: list[list[int]]
    prefill_s: float
    decode_s: float
