"""How long a run still takes, as it says itself: from its answers, and not before there are some."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jobs.display import Display
from pipelines.pace import LEAST_S, WINDOW_S, Pace


def test_the_start_of_the_engine_is_no_part_of_it() -> None:
    pace = Pace()
    assert pace.rates(0.0) is None
    assert pace.left_s(100, 0.0) is None
    for second in range(600, 700):  # ten minutes until the first answer
        pace.add(10, 100, float(second), took_s=5.0)
        if second < 605:  # one answer tells nothing, and neither does what came beside it
            assert pace.left_s(1000, float(second)) is None
    assert pace.rates(700.0) == pytest.approx((10.0, 100.0), rel=0.05)
    assert pace.left_s(1000, 700.0) == pytest.approx(100.0, rel=0.05)
    assert pace.left_s(0, 700.0) is None, "more may be planned while others are answered"


@settings(deadline=None)  # of a busy machine
@given(st.integers(1, 64), st.floats(0.5, 300), st.integers(2, 12), st.randoms())
def test_what_is_left_is_told_from_flocks_of_answers(
    beside: int, takes_s: float, rounds: int, chance: random.Random
) -> None:
    """So many chunks are worked at side by side, each for so long, one after the other."""
    pace, total = Pace(), beside * rounds
    ends_s = sorted(
        1000.0 + takes_s * (number + chance.uniform(0.9, 1.0)) for number in range(rounds) for _ in range(beside)
    )
    for done, end_s in enumerate(ends_s, start=1):
        pace.add(1, 1, end_s, took_s=end_s - 1000.0)
        left_s = pace.left_s(total - done, end_s)
        if left_s is not None and done < total:
            assert left_s <= 2.5 * (ends_s[-1] - end_s) + takes_s + LEAST_S
            assert left_s >= (ends_s[-1] - end_s) / 3 - takes_s


def test_a_change_of_pace_shows_within_the_window_and_a_stop_at_once() -> None:
    pace = Pace()
    for tenth in range(6000):
        pace.add(1, 0, tenth / 10, took_s=1.0)
    for second in range(600, 600 + round(WINDOW_S) + 2):
        pace.add(1, 0, float(second))
    now_s = 601 + WINDOW_S
    assert pace.rates(now_s) == pytest.approx((1.0, 0.0), rel=0.1)
    left_s = pace.left_s(100, now_s)
    later_s = pace.left_s(100, now_s + 30)
    assert left_s is not None
    assert later_s is not None
    assert later_s > left_s
    assert pace.left_s(100, now_s + 3600) is None
    assert len(pace._samples) < 200


BUSY = (
    (76.7, 1),
    (86.2, 2),
    (87.2, 3),
    (127.6, 6),
    (140.9, 7),
    (176.3, 8),
    (181.5, 9),
    (186.6, 10),
    (216.8, 11),
    (221.9, 12),
    (229.1, 13),
    (244.7, 14),
    (250.8, 15),
    (262.1, 16),
    (275.5, 17),
    (284.6, 18),
    (300.3, 19),
    (321.0, 20),
    (330.4, 21),
    (339.9, 22),
    (350.1, 23),
    (377.0, 24),
    (382.3, 25),
    (387.5, 26),
    (418.8, 27),
    (433.3, 29),
    (451.9, 30),
    (464.3, 31),
    (480.8, 32),
    (496.2, 33),
    (507.6, 34),
    (528.6, 35),
    (552.5, 36),
    (558.7, 37),
    (564.9, 38),
    (572.2, 39),
    (596.9, 40),
    (603.0, 41),
    (604.0, 42),
    (626.7, 43),
    (637.0, 44),
    (642.1, 45),
    (655.5, 46),
    (658.6, 47),
)
"""Seconds since the first request, and rows answered by then, as a run of nano told them: 48 pictures with one to four
lines each, 8 slots, on two cores with some thirty other processes at work (28 November 2026). Its chunks of 16 were
committed at 269 s, 488 s, 667 s."""
IDLE = ((1.3, 10), (2.0, 16), (3.32, 19), (4.32, 27), (4.74, 32), (5.32, 35), (5.9, 48))
"""The same job while nothing else ran: what the display was told, about once a second."""


@pytest.mark.parametrize(
    "events", [BUSY, tuple((time_s / 100, rows) for time_s, rows in BUSY), IDLE], ids=["busy", "faster", "idle"]
)
def test_the_first_word_on_what_is_left_is_about_right(events: tuple[tuple[float, int], ...]) -> None:
    """From the tenth answer on, by a recording, within a factor of two; and so are those that follow until the last
    few, but for the last three seconds of the idle one, where each flock of 8 is a third of what is left. faster: what
    a busy machine answered, in a hundredth of the time."""
    pace, (end_s, total) = Pace(), events[-1]
    shown: list[tuple[int, float, float]] = []
    for now_s, rows in events[:-1]:
        pace.reached(rows, rows, now_s, took_s=now_s)
        if (left_s := pace.left_s(total - rows, now_s)) is not None:
            shown.append((rows, left_s, end_s - now_s))
    first, *_ = shown
    assert 10 <= first[0] <= total / 2
    for rows, left_s, truth_s in shown[:1] if events is IDLE else shown:
        if rows <= 0.9 * total:
            assert truth_s / 2 <= left_s <= 2 * truth_s, rows


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    clock = {"now_s": 1000.0}
    monkeypatch.setattr("jobs.display.time.monotonic", lambda: clock["now_s"])
    monkeypatch.setattr("pipelines.pace.time.time", lambda: clock["now_s"])
    return clock


def receipt(since_s: float, rows: int = 10) -> dict[str, Any]:
    return {
        "outcome": "committed", "rows": rows, "output_tokens": 50, "failures": [], "doubtful": 0,
        "engine": {"since_s": since_s},
    }  # fmt: skip


def test_a_line_tells_of_no_time_that_is_not_known(clock: dict[str, float]) -> None:
    printed = io.StringIO()
    display = Display(Console(file=printed, width=100))
    display.planned(1000, 0, 100)
    display.starting("the engine")
    clock["now_s"] += 300
    display.receipt(receipt(clock["now_s"] - 10))
    assert printed.getvalue().splitlines()[-1] == "10/1000 rows, 0 failed"
    for _ in range(20):
        clock["now_s"] += 1
        display.receipt(receipt(clock["now_s"] - 10))
    assert "120/1000 rows, 0 failed, 10.00 rows/s, 50 tokens/s, 0:01:28 to go" in printed.getvalue()


def test_lines_about_what_is_probed_come_ever_more_seldom(clock: dict[str, float]) -> None:
    printed = io.StringIO()
    display = Display(Console(file=printed, width=100))
    for done in range(0, 1_000_000, 512):
        display.probed(done, 1_000_000)
        clock["now_s"] += 0.2
    lines = printed.getvalue().splitlines()
    assert len(lines) < 15  # of 1954, over six minutes
    assert lines[0] == "probed 7680 of 1000000 inputs"


def test_what_is_planned_while_others_are_answered_adds_to_them(clock: dict[str, float]) -> None:
    printed = io.StringIO()
    display = Display(Console(file=printed, width=100))
    for piece in range(1, 1001):
        display.planned(100 * piece, piece, 4 * piece)
        display.receipt(receipt(clock["now_s"] - 1))
        clock["now_s"] += 0.1
    lines = printed.getvalue().splitlines()
    assert len([line for line in lines if "chunks to go" in line]) < 10
    assert lines[0] == "100 rows to have, 1 of them committed before; 4 chunks to go"
    # of 1000 pieces a row each was there before, and ten each have come
    clock["now_s"] += 11
    display.receipt(receipt(clock["now_s"] - 1))
    assert printed.getvalue().splitlines()[-1].startswith("11010/100000 rows, 0 failed, ")
