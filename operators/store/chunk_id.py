"""The id of a chunk: which slice of the results its rows belong to, which round asked for it, and which units it holds.

    00012-0003-9f86d081884c7d65        slice - round - hash of the units

The same units asked again in a later round are another chunk, so that a late part of an early round lies beside what
took its place and never in its way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"(\d{5,})-(\d{4,})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, order=True)
class ChunkId:
    slice: int
    round: int
    units: str

    @classmethod
    def of(cls, text: str) -> ChunkId:
        """Raises ValueError for what is none."""
        if (form := _FORM.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is no chunk_id")
        return cls(int(form[1]), int(form[2]), form[3])

    def __str__(self) -> str:
        return f"{self.slice:05d}-{self.round:04d}-{self.units}"
