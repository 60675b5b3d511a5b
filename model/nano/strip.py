"""The one picture geometry that nano reads: a line of text as a strip. Knows nothing of fonts or training.

The network has 32 px tokens. A line of print at 32 px height has two to three characters in each, which it
learns slowly; stretched to twice its width it has about 1.4 (facts/nano-training.md). Whoever cuts lines out
of pages must bring them to this form, and training makes its lines with the same function.
"""

from __future__ import annotations

from PIL import Image

STRIP_HEIGHT_PX = 32
STRETCH = 2.0
TOKEN_SIDE_PX = 32
MAX_TOKENS = 128
"""Longest strip, in tokens. Training sees strips of up to about half of this."""


def strip_width_px(width_px: int, height_px: int) -> int:
    """Width of the stretched line inside its strip, before it is padded to whole tokens."""
    width = round(width_px * STRETCH * STRIP_HEIGHT_PX / height_px)
    return min(max(width, 1), MAX_TOKENS * TOKEN_SIDE_PX)


def line_strip(picture: Image.Image) -> Image.Image:
    """One line of text, as cut from a page, in the form that nano reads.

    picture: the line with a little room above and below: the letters' ascent and descent together should
    take 60 to 95 % of its height (training: an em of 15 to 25 px once it is 32 px high).
    Returns RGB, 32 px high, a multiple of 32 px wide; what padding adds on the right continues the picture's
    last column.
    """
    width_px = strip_width_px(*picture.size)
    scaled = picture.convert("RGB").resize((width_px, STRIP_HEIGHT_PX), Image.Resampling.BICUBIC)
    padded_px = -(-width_px // TOKEN_SIDE_PX) * TOKEN_SIDE_PX
    if padded_px == width_px:
        return scaled
    strip = Image.new("RGB", (padded_px, STRIP_HEIGHT_PX))
    strip.paste(scaled, (0, 0))
    last_column = scaled.crop((width_px - 1, 0, width_px, STRIP_HEIGHT_PX))
    strip.paste(last_column.resize((padded_px - width_px, STRIP_HEIGHT_PX)), (width_px, 0))
    return strip
