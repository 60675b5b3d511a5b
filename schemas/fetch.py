"""How inputs are fetched from elsewhere: plain numbers that every node gets. Never credentials."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchSettings:
    """Of the web (https://, http://) alone: buckets and the hub have no such bounds. allow_hosts: those that may have a
    private address, and may be asked by http; names or numbers as the addresses write them. max_mb: of one file.
    timeout_s: for one of them, with all that is asked again. use_proxies: whether the environment's are asked."""

    allow_hosts: tuple[str, ...] = ()
    max_mb: int = 10_240
    timeout_s: float = 600.0
    use_proxies: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_hosts", tuple(self.allow_hosts))  # as it comes out of JSON
