"""Who is prefilled next, and how much of it; who has to wait when the KV cache is full: policy without tensors.

Prompts are packed end to end, so a step holds no padding; a prompt that is longer than a step is taken in chunks, and
between two steps of prefill there is one of decode, so that nobody waits for more than one.

Tokens are counted as they are, in blocks of the cache. A sequence is taken in when there is room for its prompt and a
part of its longest answer, not for all of that, since few are as long. Should the cache be full after all, those that
came last are *parked*: what they hold goes to the host, and comes back when others have ended. The one that came first
is never parked, and fits alone, so there is always one that goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

ANSWER_SHARE = 0.25
"""Of the longest answer, what is set aside for a sequence before it has written more."""


@dataclass(eq=False)
class ScheduledSequence(Generic[Key]):
    """prompt_tokens, and with the longest answer total_tokens; prefilled: tokens of the prompt that are done;
    generated: those of the answer."""

    key: Key
    prompt_tokens: int
    total_tokens: int
    prefilled: int = 0
    generated: int = 0
    parked: bool = False

    @property
    def is_decoding(self) -> bool:
        return self.generated > 0 and not self.parked

    @property
    def pending_tokens(self) -> int:
        """What the cache holds of it after the next step at most: all of a prompt, whose chunks are not counted singly;
        then one token more than before."""
        return self.prompt_tokens + self.generated

    @property
    def expected_tokens(self) -> int:
        answer = int(ANSWER_SHARE * (self.total_tokens - self.prompt_tokens))
        return max(self.pending_tokens, self.prompt_tokens + answer)


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
    """slots: sequences at once, parked ones too. step_tokens: bound of one prefill step. cache_tokens: what the KV
    cache holds, in blocks of block_tokens."""

    def __init__(self, slots: int, step_tokens: int, cache_tokens: int, block_tokens: int = 1) -> None:
        self.slots, self.step_tokens = slots, step_tokens
        self._block_tokens = block_tokens
        self._capacity = cache_tokens // block_tokens
        self.waiting: deque[ScheduledSequence[Key]] = deque()
        self.running: list[ScheduledSequence[Key]] = []  # in order of arrival

    @property
    def cache_tokens(self) -> int:
        """Of the longest sequence that can run."""
        return self._capacity * self._block_tokens

    def fits(self, total_tokens: int) -> bool:
        """Whether a sequence of that length can ever run."""
        return total_tokens <= self.cache_tokens

    def submit(self, sequence: ScheduledSequence[Key]) -> None:
        assert self.fits(sequence.total_tokens)
        self.waiting.append(sequence)

    def decoding(self) -> list[ScheduledSequence[Key]]:
        return [sequence for sequence in self.running if sequence.is_decoding]

    def next_parked(self) -> list[ScheduledSequence[Key]]:
        """Who must let its blocks go now, so that the next step of the others has room."""
        parked = []
        active = self._active()
        while len(active) > 1 and self._blocks(one.pending_tokens for one in active) > self._capacity:
            active[-1].parked = True
            parked.append(active.pop())
        return parked

    def next_restored(self) -> list[ScheduledSequence[Key]]:
        """Who gets blocks again. Each that runs has room for a block more then, so nobody is parked at once again."""
        restored = []
        active = self._active()
        for sequence in [one for one in self.running if one.parked]:
            active.append(sequence)
            needed = self._blocks(one.pending_tokens + self._block_tokens for one in active)
            if needed > self._capacity and len(active) > 1:
                break  # nobody overtakes
            sequence.parked = False
            restored.append(sequence)
        return restored

    def next_prefill(self) -> list[Chunk[Key]]:
        """What to prefill now, in order of arrival; empty when nothing waits or nobody can be taken in.

        Nobody overtakes: a long sequence at the head waits until the cache has room for it, and the others behind it.
        """
        chunks: list[Chunk[Key]] = []
        left = self.step_tokens
        for sequence in self._active():
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

    def _active(self) -> list[ScheduledSequence[Key]]:
        return [sequence for sequence in self.running if not sequence.parked]

    def _has_room(self, sequence: ScheduledSequence[Key]) -> bool:
        if not self.running:
            return True
        if len(self.running) == self.slots or len(self._active()) < len(self.running):
            return False
        return self._blocks(one.expected_tokens for one in (*self.running, sequence)) <= self._capacity

    def _blocks(self, tokens: Iterable[int]) -> int:
        return sum(-(-count // self._block_tokens) for count in tokens)

    def _schedule(self, sequence: ScheduledSequence[Key], left: int, chunks: list[Chunk[Key]]) -> int:
        count = min(left, sequence.prompt_tokens - sequence.prefilled)
        chunks.append(Chunk(sequence, sequence.prefilled, count))
        sequence.prefilled += count
        return count
