"""A table of vectors that draws no values where there is no memory for them: on the device `meta` torch runs that draw
in Python and loads its compiler first, 1.5 s of a processor before an engine reads its weights.
"""

from __future__ import annotations

from torch import nn


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()
