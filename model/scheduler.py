"""Who is prefilled next: policy without tensors."""

from __future__ import annotations

from collections.abc import Sequence

LOOK_AHEAD = 64
"""How far down the queue a prefill looks for prompts of like length."""
LIKE = 0.75
"""A prompt joins a prefill when the shorter is at least this share of the longer: padding stays below a quarter."""


def choose_prefill(lengths: Sequence[int], free_rows: int, budget_tokens: int) -> list[int]:
    """Places in the queue (prompt lengths, oldest first) to prefill together; empty when no row is free.

    The oldest always goes, however long; others of like length join while the padded batch stays within the
    budget. So nothing starves, and a batch is bounded.
    """
    if not free_rows or not lengths:
        return []
    chosen = [0]
    shortest = longest = lengths[0]
    for place, length in enumerate(lengths[1:LOOK_AHEAD], start=1):
        if len(chosen) == free_rows:
            break
        low, high = min(shortest, length), max(longest, length)
        if low >= LIKE * high and high * (len(chosen) + 1) <= budget_tokens:
            chosen.append(place)
            shortest, longest = low, high
    return chosen
