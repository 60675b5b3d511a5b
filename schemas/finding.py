"""One line of `sightread doctor`. Knows nothing of who found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """about: a word or two. message: one sentence. fix: what to do about it; every `fail` has one."""

    level: Literal["ok", "note", "fail"]
    about: str
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        assert self.fix or self.level != "fail", self
