"""Whether a page or picture shows anything at all. Runs in a decoder child."""

from __future__ import annotations

import numpy as np

from model.prompts.rgb import RGB

_CONTRAST = 40
"""Steps of 255 by which ink differs from its paper; less is the grain of a scan."""
_SPECK_PX = 30
_SPECK_SHARE = 1e-5


def is_blank(pixels: RGB) -> bool:
    """Nothing but paper and a few specks: [height, width, 3] at the size that the model sees."""
    green = pixels[..., 1]
    paper = int(np.median(green[::8, ::8]))
    inked = int(np.count_nonzero((green > paper + _CONTRAST) | (green < paper - _CONTRAST)))
    return inked <= _SPECK_PX + _SPECK_SHARE * green.size
