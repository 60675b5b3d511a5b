"""Who is prefilled next, and how much of it: policy without tensors.

Prompts are packed end to end, so a step holds no padding; a prompt that is longer than a step is taken in chunks.
Prefill goes before decode, which keeps the slots full; so at every decode step, all slots in use hold whole prompts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass
class ScheduledSequence(Generic[Key]):
    """prompt_tokens, and with the longest answer total_tokens; prefilled: tokens of the prompt that are done."""

    key: Key
    prompt_tokens: int
    total_tokens: int
    prefilled: int = 0


@dataclass(frozen=True)
class Chunk(Generic[Key]):
    """Prompt tokens start … start + count of a sequence."""

    sequence: ScheduledSequence[Key]
    start: int
    count: int

    @property
    def is_last(self) -> bool:
        return self.start + self.count == self.sequence.prompt_tokens


class Scheduler(Generic[Key]):
    """slots: sequences at once. step_tokens: bound of one prefill step. cache_tokens: what the KV cache holds, its
    slots being as long as the longest of them."""

    def __init__(self, slots: int, step_tokens: int, cache_tokens: int) -> None:
        self.slots, self.step_tokens, self.cache_tokens = slots, step_tokens, cache_tokens
        self.waiting: deque[ScheduledSequence[Key]] = deque()
        self.running: list[ScheduledSequence[Key]] = []

    def fits(self, total_tokens: int) -> bool:
        """Whether a sequence of that length can ever run."""
        return total_tokens <= self.cache_tokens

    def submit(self, sequence: ScheduledSequence[Key]) -> None:
        assert self.fits(sequence.total_tokens)
        self.waiting.append(sequence)

    def next_prefill(self) -> list[Chunk[Key]]:
        """What to prefill now, in order of arrival; empty when nothing waits or nobody can be taken in.

        Nobody overtakes: a long sequence at the head waits until the cache has room for it, and the others behind it.
        """
        chunks: list[Chunk[Key]] = []
        left = self.step_tokens
        for sequence in self.running:
            if sequence.prefilled < sequence.prompt_tokens and left:
                left -= self._schedule(sequence, left, chunks)
        while self.waiting and left and self._has_room(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.running.append(sequence)
            left -= self._schedule(sequence, left, chunks)
        return chunks

    def end(self, sequence: ScheduledSequence[Key]) -> None:
        """A sequence is answered, failed or not wanted any more, wherever it stands."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)

    def _has_room(self, sequence: ScheduledSequence[Key]) -> bool:
        if len(self.running) == self.slots:
            return False
        longest = max(other.total_tokens for other in (*self.running, sequence))
        return longest * (len(self.running) + 1) <= self.cache_tokens

    def _schedule(self, sequence: ScheduledSequence[Key], left: int, chunks: list[Chunk[Key]]) -> int:
        count = min(left, sequence.prompt_tokens - sequence.prefilled)
        chunks.append(Chunk(sequence, sequence.prefilled, count))
        sequence.prefilled += count
        return count
