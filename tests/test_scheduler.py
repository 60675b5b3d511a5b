"""The scheduler's promises, kept through whole lives of requests: steps as the engine takes them, without an engine."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from model.engines.scheduler import Chunk, ScheduledSequence, Scheduler


class Life:
    """answers: how long each one's answer comes out; it may be aborted before. Blocks are counted here anew."""

    def __init__(self, scheduler: Scheduler[int], answers: list[int], block_tokens: int, capacity: int) -> None:
        self.scheduler, self.answers = scheduler, answers
        self._block_tokens, self._capacity = block_tokens, capacity
        self.held = dict.fromkeys(range(len(answers)), 0)  # tokens in the cache
        self.parked: set[int] = set()
        self.started: list[int] = []
        self.ended: list[int] = []
        self.parkings = 0

    def step(self) -> list[Chunk[int]]:
        scheduler = self.scheduler
        for sequence in scheduler.next_parked():
            self.parked.add(sequence.key)
            self.parkings += 1
        for sequence in scheduler.next_restored():
            self.parked.remove(sequence.key)
        chunks = scheduler.next_prefill()
        assert sum(chunk.count for chunk in chunks) <= scheduler.step_tokens
        for chunk in chunks:
            key = chunk.sequence.key
            assert chunk.count > 0
            assert chunk.start == self.held[key]
            assert key not in self.parked
            self.started += [key] if not chunk.start else []
            self.held[key] += chunk.count
        self._check_room()
        for chunk in chunks:
            if chunk.is_last:
                self._accept(chunk.sequence)
        decoding = scheduler.decoding()
        for sequence in decoding:
            assert sequence.key not in self.parked
            assert self.held[sequence.key] == sequence.prompt_tokens + sequence.generated - 1
            self.held[sequence.key] += 1
        self._check_room()
        for sequence in decoding:
            self._accept(sequence)
        return chunks

    def end(self, sequence: ScheduledSequence[int]) -> None:
        self.scheduler.end(sequence)
        self.parked.discard(sequence.key)
        self.held[sequence.key] = 0
        self.ended.append(sequence.key)

    def _accept(self, sequence: ScheduledSequence[int]) -> None:
        sequence.generated += 1
        if sequence.generated == self.answers[sequence.key]:
            self.end(sequence)

    def _check_room(self) -> None:
        blocks = sum(-(-tokens // self._block_tokens) for key, tokens in self.held.items() if key not in self.parked)
        assert blocks <= self._capacity
        assert len(self.scheduler.running) <= self.scheduler.slots


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 90), st.floats(0, 1)), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(1, 200),
    st.integers(1, 32),
    st.integers(0, 600),
    st.randoms(use_true_random=False),
)
def test_every_request_comes_to_its_end_in_order_and_within_all_bounds(
    lengths: list[tuple[int, int, float]], slots: int, step: int, block: int, spare: int, random: Random
) -> None:
    """Prompts, longest answers and which part of these is written; a cache from what the longest takes on. Now and then
    one is aborted, wherever it stands. Nobody waits for ever."""
    most = max(prompt + answer for prompt, answer, _ in lengths)
    capacity = -(-most // block) + spare // block
    scheduler: Scheduler[int] = Scheduler(slots, step, capacity * block, block)
    life = Life(scheduler, [max(1, int(share * answer)) for _, answer, share in lengths], block, capacity)
    for key, (prompt, answer, _) in enumerate(lengths):
        scheduler.submit(ScheduledSequence(key, prompt, prompt + answer))
    aborted: set[int] = set()
    steps = 0
    while scheduler.waiting or scheduler.running:
        life.step()
        everybody = [*scheduler.waiting, *scheduler.running]
        if everybody and random.random() < 0.02:
            aborted.add((one := random.choice(everybody)).key)
            life.end(one)
        steps += 1
        assert steps <= sum(-(-prompt // step) + prompt // step + answer + 2 for prompt, answer, _ in lengths)
    assert sorted(life.ended) == list(range(len(lengths)))
    assert [key for key in life.started if key not in aborted] == [
        key for key in range(len(lengths)) if key not in aborted
    ]


def test_short_answers_do_not_wait_for_room_that_long_ones_might_take() -> None:
    """Sixty-four answers of at most 8,192 tokens that take 400, in a cache that holds a tenth of what they might."""
    scheduler: Scheduler[int] = Scheduler(64, 4096, 64 * 4096, 128)
    life = Life(scheduler, [400] * 64, 128, 64 * 32)
    for key in range(64):
        scheduler.submit(ScheduledSequence(key, 1442, 1442 + 8192))
    while scheduler.waiting:
        life.step()
    assert not life.ended
    assert life.parkings == 0


def test_a_long_prompt_stops_nobody_for_more_than_a_step() -> None:
    scheduler: Scheduler[int] = Scheduler(8, 100, 100_000, 128)
    life = Life(scheduler, [60, 5], 128, 100_000 // 128)
    scheduler.submit(ScheduledSequence(0, 10, 80))
    life.step()
    scheduler.submit(ScheduledSequence(1, 5_000, 5_010))
    writer = scheduler.running[0]
    for _ in range(50):
        before = writer.generated
        assert [chunk.count for chunk in life.step()] == [100]
        assert writer.generated == before + 1


def test_those_that_came_last_are_parked_and_come_back_first_of_all() -> None:
    scheduler: Scheduler[int] = Scheduler(4, 1000, 10 * 16, 16)
    life = Life(scheduler, [120, 70, 70, 5], 16, 10)
    for key, (prompt, total) in enumerate(((16, 140), (16, 100), (16, 100), (16, 32))):
        scheduler.submit(ScheduledSequence(key, prompt, total))
    while len(life.ended) < 4:
        started = life.started[:]
        life.step()
        assert 0 not in life.parked
        if life.parked:  # nobody is taken in while others wait to come back
            assert life.started == started
    assert life.parkings > 0
    assert life.ended[0] == 0


def test_a_sequence_larger_than_the_cache_never_fits() -> None:
    scheduler: Scheduler[str] = Scheduler(4, 100, 1000)
    assert scheduler.fits(1000)
    assert not scheduler.fits(1001)
    assert not Scheduler[str](4, 100, 1000, 128).fits(900)  # seven blocks
