"""Which blocks of the KV cache belong to whom, on the host: lists of whole numbers, no tensors.

A block holds BLOCK_TOKENS tokens. A slot takes blocks as its sequence grows and gives them back when it ends; nothing
is moved for that. Block 0 is nobody's: rows that only fill up a step write there.
"""

from __future__ import annotations

import heapq

BLOCK_TOKENS = 256
"""A sequence wastes half of this on average. Attention on a CPU takes a block at a time, and is slower by more with
smaller ones."""


def blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


class BlockTable:
    """blocks: of the cache, block 0 among them. `lengths[slot]`: tokens whose keys and values it holds."""

    def __init__(self, slots: int, blocks: int) -> None:
        self.lengths = [0] * slots
        self._free = list(range(1, blocks))  # a heap: low numbers first, so that those in use lie close together
        self._blocks: list[list[int]] = [[] for _ in range(slots)]

    @property
    def free(self) -> int:
        return len(self._free)

    def blocks(self, slot: int) -> list[int]:
        """In the order of the tokens."""
        return self._blocks[slot]

    def grow(self, slot: int, tokens: int) -> list[int]:
        """So many more tokens: the blocks that this takes. Raises MemoryError, and changes nothing, if there are too
        few; the scheduler sees to it that there are."""
        wanted = blocks_for(self.lengths[slot] + tokens) - len(self._blocks[slot])
        if wanted > len(self._free):
            raise MemoryError(f"the KV cache has {len(self._free)} free blocks, not {wanted}")
        added = [heapq.heappop(self._free) for _ in range(wanted)]
        self._blocks[slot] += added
        self.lengths[slot] += tokens
        return added

    def release(self, slot: int) -> None:
        for block in self._blocks[slot]:
            heapq.heappush(self._free, block)
        self._blocks[slot], self.lengths[slot] = [], 0
