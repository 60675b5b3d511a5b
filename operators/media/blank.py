"""Whether a page or picture shows anything at all. Runs in a decoder child."""

from __future__ import annotations

import numpy as np

from model.prompts.rgb import RGB

_CONTRAST = 40
"""Steps of 255 by which foreground differs from its background; less is the grain of a scan."""
_SPECK_PX = 30
_SPECK_SHARE = 1e-5


def is_blank(pixels: RGB) -> bool:
    """Nothing but background and a few specks: [height, width, 3] at the size that the model sees."""
    green = pixels[..., 1]
    background = int(np.median(green[::8, ::8]))
    differing = int(np.count_nonzero((green > background + _CONTRAST) | (green < background - _CONTRAST)))
    return differing <= _SPECK_PX + _SPECK_SHARE * green.size
