"""The scheduler's promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.engines.scheduler import ScheduledSequence, Scheduler


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 500)), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(1, 2000),
    st.integers(3500, 20_000),
)
def test_every_sequence_is_prefilled_once_in_order_and_within_all_bounds(
    lengths: list[tuple[int, int]], slots: int, step: int, cache: int
) -> None:
    scheduler: Scheduler[int] = Scheduler(slots, step, cache)
    for key, (prompt, answer) in enumerate(lengths):
        scheduler.submit(ScheduledSequence(key, prompt, prompt + answer))
    started: list[int] = []
    prefilled = dict.fromkeys(range(len(lengths)), 0)
    while scheduler.waiting or scheduler.running:
        chunks = scheduler.next_prefill()
        assert sum(chunk.count for chunk in chunks) <= step
        for chunk in chunks:
            assert chunk.count > 0
            assert chunk.start == prefilled[chunk.sequence.key]
            prefilled[chunk.sequence.key] += chunk.count
            started += [chunk.sequence.key] if not chunk.start else []
        running = scheduler.running
        assert len(running) <= slots
        assert len(running) * max(sequence.total_tokens for sequence in running) <= cache
        if not chunks:  # decode: all are whole; one ends
            assert all(sequence.prefilled == sequence.prompt_tokens for sequence in running)
            scheduler.end(running[len(started) % len(running)])
    assert started == list(range(len(lengths)))
    assert prefilled == {key: prompt for key, (prompt, _) in enumerate(lengths)}


def test_a_sequence_larger_than_the_cache_never_fits() -> None:
    scheduler: Scheduler[str] = Scheduler(4, 100, 1000)
    assert scheduler.fits(1000)
    assert not scheduler.fits(1001)
