"""Who is prefilled next, and how much of it: policy without tensors.

Prompts are packed end to end, so a step holds no padding; a prompt that is longer than a step is taken in chunks.
Prefill goes before decode, which keeps the rows full; so at every decode step, all rows in use are whole prompts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass
class Job(Generic[Key]):
    """prompt_tokens, and with the longest answer total_tokens; prefilled: tokens of the prompt that are done."""

    key: Key
    prompt_tokens: int
    total_tokens: int
    prefilled: int = 0


@dataclass(frozen=True)
class Chunk(Generic[Key]):
    """Prompt tokens start … start + count of a job."""

    job: Job[Key]
    start: int
    count: int

    @property
    def is_last(self) -> bool:
        return self.start + self.count == self.job.prompt_tokens


class Scheduler(Generic[Key]):
    """rows: sequences at once. step_tokens: bound of one prefill step. cache_tokens: what the KV cache holds, its
    rows being as long as the longest of them."""

    def __init__(self, rows: int, step_tokens: int, cache_tokens: int) -> None:
        self.rows, self.step_tokens, self.cache_tokens = rows, step_tokens, cache_tokens
        self.waiting: deque[Job[Key]] = deque()
        self.running: list[Job[Key]] = []

    def fits(self, total_tokens: int) -> bool:
        """Whether a job of that length can ever run."""
        return total_tokens <= self.cache_tokens

    def submit(self, job: Job[Key]) -> None:
        assert self.fits(job.total_tokens)
        self.waiting.append(job)

    def next_prefill(self) -> list[Chunk[Key]]:
        """What to prefill now, in order of arrival; empty when nothing waits or nobody can be taken in.

        Nobody overtakes: a long job at the head waits until the cache has room for it, and the others behind it.
        """
        chunks: list[Chunk[Key]] = []
        left = self.step_tokens
        for job in self.running:
            if job.prefilled < job.prompt_tokens and left:
                left -= self._take(job, left, chunks)
        while self.waiting and left and self._has_room(self.waiting[0]):
            job = self.waiting.popleft()
            self.running.append(job)
            left -= self._take(job, left, chunks)
        return chunks

    def end(self, job: Job[Key]) -> None:
        """A job is answered, failed or not wanted any more, wherever it stands."""
        (self.running if job in self.running else self.waiting).remove(job)

    def _has_room(self, job: Job[Key]) -> bool:
        if len(self.running) == self.rows:
            return False
        longest = max(each.total_tokens for each in (*self.running, job))
        return longest * (len(self.running) + 1) <= self.cache_tokens

    def _take(self, job: Job[Key], left: int, chunks: list[Chunk[Key]]) -> int:
        count = min(left, job.prompt_tokens - job.prefilled)
        chunks.append(Chunk(job, job.prefilled, count))
        job.prefilled += count
        return count
