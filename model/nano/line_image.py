"""The one picture geometry that nano reads: a line of text as a picture. Knows nothing of fonts or training.

The network has 32 px tokens. A line of print at 32 px height has two to three characters in each, which it
learns slowly; stretched to twice its width it has about 1.4 (docs/facts/nano-training.md). Training sees type of 15 to
24 px, and line_images of up to about 40 tokens or 52 characters; pieces of 24 tokens stay within that in narrow type
too (cut at 32 tokens, the network lost its place in one line of three).
"""

from __future__ import annotations

from schemas.decode import LineReader

STRIP_HEIGHT_PX = 32
STRETCH = 2.0
TOKEN_SIDE_PX = 32
MAX_TOKENS = 128
"""Longest picture, in tokens."""
MAX_CLIP_TOKENS = 384
"""Largest clip: twelve pairs of frames of 224 x 128 px, or longer ones that are smaller."""

READER = LineReader(
    height_px=STRIP_HEIGHT_PX, em_px=20.0, baseline_px=22.5, stretch=STRETCH, max_width_px=24 * TOKEN_SIDE_PX
)
