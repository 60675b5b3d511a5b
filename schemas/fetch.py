"""How inputs are fetched from elsewhere: plain numbers that every node gets. Never credentials."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchSettings:
    """allow_hosts: of https inputs, whose addresses may be private, and which may be asked by http. max_mb: of one such
    input. timeout_s: for one of them, from the first byte asked to the last."""

    allow_hosts: tuple[str, ...] = ()
    max_mb: int = 10_240
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_hosts", tuple(self.allow_hosts))  # as it comes out of JSON
