"""What goes to a peer of `sightread bench engine`, pages of noise, and what they are asked. Imports nothing, because a
peer may run under another interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

PATCH, MERGE = 16, 2
TOKEN_PX = PATCH * MERGE

SIZES = (
    *((512, 576), (640, 736), (704, 960), (832, 992), (896, 1120)),
    *((1024, 1184), (1024, 1408), (1152, 1536), (1280, 1664), (1408, 1792)),
)
"""Width and height in pixels of ten pages, 288 to 2,464 tokens of picture: what A5 to A3 come to at usual budgets."""

QUESTION = "Read all of the text on this page, in the order in which one reads it, and write it down."


def halved(sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """A quarter of the tokens, for a CPU."""
    return tuple((width // 2 // TOKEN_PX * TOKEN_PX, height // 2 // TOKEN_PX * TOKEN_PX) for width, height in sizes)


@dataclass(frozen=True)
class Prompt:
    """A picture of noise, then text. before and after: token ids around the picture's pads."""

    width_px: int
    height_px: int
    before: list[int]
    after: list[int]

    @property
    def grid(self) -> tuple[int, int, int]:
        return 1, self.height_px // PATCH, self.width_px // PATCH

    @property
    def patches(self) -> int:
        return self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        return len(self.before) + self.patches // MERGE**2 + len(self.after)

    def input_ids(self, image_id: int) -> list[int]:
        return [*self.before, *[image_id] * (self.patches // MERGE**2), *self.after]

    def rgb(self, seed: int) -> bytes:
        """height_px * width_px * 3 bytes, the same for a seed every time."""
        return Random(seed).randbytes(self.width_px * self.height_px * 3)


def answer_lengths(count: int, least: int, most: int) -> list[int]:
    """Tokens of each answer, evenly from the least to the most, in an order that has nothing to do with the pages."""
    lengths = [least + (most - least) * number // max(1, count - 1) for number in range(count)]
    Random(0).shuffle(lengths)
    return lengths
