"""What a decoder may cost: time by its work and not by the wall, and whatever it raises or does, one unit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from operators.media import patience, sandbox
from operators.media.decoder_child import _as_input_error
from operators.media.decoder_wire import DECODED, PROBED
from operators.media.patience import Patience
from operators.media.progress import Progress
from operators.media.sandbox import HURRY_AFTER, Sandbox
from operators.media.source import Source
from operators.processes.child import Child, Scheduled, spawn
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.unit import Indexed, Locator

SETTINGS = DecodeSettings(memory_mb=512, timeout_s=20.0)


@contextmanager
def odd(
    monkeypatch: pytest.MonkeyPatch, *acts: str, started: Any = lambda _: None, **changes: Any
) -> Iterator[tuple[Sandbox, list[Child]]]:
    """A sandbox whose children do that to the pages, and the children. started: is shown each."""
    children: list[Child] = []

    def start(_: str, *, variables: dict[str, str], **options: Any) -> Child:
        child = spawn("tests.support.odd_child", variables={**variables, "ODD_DOES": ",".join(acts)}, **options)
        children.append(child)
        started(child)
        return child

    monkeypatch.setattr(sandbox, "spawn", start)
    box = Sandbox(replace(SETTINGS, **changes))
    try:
        yield box, children
    finally:
        box.close()
    assert not any(child.running for child in children)


def decode(box: Sandbox, count: int, path: str = __file__) -> list[dict[str, Any] | None]:
    """The errors of so many pages."""
    pages = [Locator(page=number) for number in range(1, count + 1)]
    batches = list(box.decode(path, "document", pages))
    assert all(batch.num_rows == 1 for batch in batches)
    return [batch.to_pylist()[0]["error"] for batch in batches]


def kinds(errors: list[dict[str, Any] | None]) -> list[str | None]:
    return [error and error["kind"] for error in errors]


# what is raised


def test_an_exception_costs_its_unit_and_not_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    acts = ("raises", "reads", "errs", "reads", "cannot_read", "is_malformed", "raises", "raises", "raises", "reads")
    with odd(monkeypatch, *acts) as (box, children):
        errors = decode(box, len(acts))
    assert len(children) == 1
    assert kinds(errors) == [
        *("malformed", None, "malformed", None, "malformed", "malformed"),
        *("malformed", "malformed", "malformed", None),
    ]
    assert errors[0] is not None
    assert errors[0]["message"].startswith("ValueError at odd_child.py:")
    assert errors[0]["message"].endswith(": odd")
    assert errors[4] is not None
    assert errors[4]["message"] == "the disk is odd"


def test_a_mistake_of_ours_is_called_one() -> None:
    def error_of(does: Callable[[], object]) -> InputError:
        try:
            does()
        except TypeError as error:
            return _as_input_error(error, "2.png: ")
        raise AssertionError

    ours = error_of(lambda: Source(None, "").head(1))  # type: ignore[arg-type]
    assert ours.kind == "internal"
    assert str(ours).startswith("2.png: TypeError at source.py:")
    theirs = error_of(lambda: json.loads(3))  # type: ignore[arg-type]
    assert theirs.kind == "malformed"
    assert "TypeError at __init__.py:" in str(theirs)


def test_what_is_raised_about_a_file_is_true_of_all_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd(monkeypatch, "condemns", "reads", "reads") as (box, children):
        errors = decode(box, 3)
    assert kinds(errors) == ["encrypted"] * 3
    with odd(monkeypatch, "reads", "condemns", "reads") as (box, children):
        errors = decode(box, 3)
    assert kinds(errors) == [None, "encrypted", None]
    assert len(children) == 1


@pytest.mark.parametrize(("does", "kind"), [("raises", "malformed"), ("errs", "malformed"), ("condemns", "encrypted")])
def test_an_exception_in_a_probe_is_the_inputs_error(does: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with odd(monkeypatch, does) as (box, children):
        answer = box.probe(__file__, "document")
        first = box.child_pid
        box.probe(__file__, "document")
        assert box.child_pid == first
    assert answer["error"]["kind"] == kind
    assert len(children) == 1


def test_a_unit_that_runs_out_of_memory_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    acts = ("eats", "eats", "eats", "eats", "reads")
    with odd(monkeypatch, *acts) as (box, _):
        errors = decode(box, len(acts))
    assert kinds(errors) == ["out_of_memory"] * 4 + [None]


# what dies or hangs


def test_units_that_die_or_hang_condemn_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    acts = ("dies", "reads", "hangs", "dies", "reads", "dies", "dies", "hangs", "reads", "reads")
    with odd(monkeypatch, *acts, timeout_s=3.0) as (box, _):
        errors = decode(box, len(acts))
    assert [act for act, error in zip(acts, errors, strict=True) if error is None] == ["reads"] * 4
    assert kinds(errors)[2] == kinds(errors)[7] == "timeout"
    assert errors[2] is not None
    assert errors[2]["message"] == "the decoder gave no sign of progress within 3 s (decode.timeout_s)"


def test_a_file_that_hangs_its_decoder_often_is_in_a_hurry_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LONGEST", 4)
    with odd(monkeypatch, *["hangs"] * 40, "reads", timeout_s=0.5) as (box, children):
        errors = decode(box, 41)
    assert None not in errors
    assert kinds(errors)[:HURRY_AFTER] == ["timeout"] * HURRY_AFTER
    assert "hung or crashed before" in str(errors[HURRY_AFTER])
    assert "not tried" in str(errors[-1])
    # of 4 x 0.5 s, three take 0.5 s and the others 0.05 s
    assert len(children) <= HURRY_AFTER + 0.5 / 0.05 + 1


def test_a_child_that_does_not_start_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Child] = []

    def stop(child: Child) -> None:
        if not stopped:
            os.kill(child.pid, 19)
            stopped.append(child)

    monkeypatch.setattr(sandbox, "START_S", 10.0)
    with odd(monkeypatch, "reads", started=stop) as (box, children):
        monkeypatch.setattr(sandbox, "START_S", 1.0)
        waiting = threading.Timer(1.5, lambda: monkeypatch.setattr(sandbox, "START_S", 30.0))
        waiting.start()
        assert decode(box, 1) == [None]
        waiting.join()
    assert len(children) == 2


# how long a child is kept


@pytest.mark.parametrize(("does", "orders", "starts"), [("reads", 12, 1), ("leaks:40", 12, 3), ("leaks:4", 12, 1)])
def test_a_child_is_replaced_for_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, does: str, orders: int, starts: int
) -> None:
    """Looked at in every fourth order: by then it holds 120 MB more than after its first, or 12."""
    monkeypatch.setattr(sandbox, "ORDERS_PER_LOOK", 4)
    looks = Counter[int]()
    look = Child.address_space_mb
    assert isinstance(look, property)
    assert look.fget is not None
    monkeypatch.setattr(
        Child, "address_space_mb", property(lambda child: (looks.update([child.pid]), look.fget(child))[1])
    )
    with odd(monkeypatch, does, memory_mb=512) as (box, children):
        assert [decode(box, 1) for _ in range(orders)] == [[None]] * orders
    assert len(children) == starts
    assert sum(looks.values()) <= starts + orders // 4


def test_a_child_is_replaced_after_very_many_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "ORDERS_PER_CHILD", 5)
    with odd(monkeypatch, "reads") as (box, children):
        assert [decode(box, 1) for _ in range(11)] == [[None]] * 11
    assert len(children) == 3


# time


def test_a_child_that_answers_soon_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Counter[int]()
    scheduled = Child.scheduled
    monkeypatch.setattr(Child, "scheduled", lambda child: (looks.update([child.pid]), scheduled(child))[1])
    with odd(monkeypatch, *["reads"] * 50, "works:1") as (box, _):
        decode(box, 1)
        looks.clear()
        # a machine may be full for a moment
        assert decode(box, 50) == [None] * 50
        assert looks.total() < 50
        looks.clear()
        assert decode(box, 51) == [None] * 51
        assert looks.total() > 0


class FakeChild:
    """And the time around it. passes: all of it as the kernel says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.was = Scheduled()
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now_s)

    def scheduled(self) -> Scheduled:
        return self.was

    def passes(
        self,
        left: Patience,
        seconds: float,
        *,
        ran: float = 0.0,
        waited: float = 0.0,
        state: str = "S",
        look_s: float = 0.5,
    ) -> float:
        for _ in range(round(seconds / look_s)):
            self.now_s += look_s
            ran_s, waited_s = self.was.ran_s + ran * look_s, self.was.waited_s + waited * look_s
            self.was = Scheduled(ran_s, waited_s, state)
            left.left_s()
        return left.left_s()


def test_time_without_a_processor_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    child = FakeChild(monkeypatch)
    left = Patience(child, idle_s=10, whole_s=50)
    assert child.passes(left, 8, ran=0.5, waited=0.5) == pytest.approx(6)
    left.restart_idle()
    assert child.passes(left, 30, ran=0.02, waited=0.98) == pytest.approx(7), "a tenth of it counts at least"
    assert child.passes(left, 3, ran=1.0) == pytest.approx(4)
    assert child.passes(left, 3) == pytest.approx(1), "asleep, it could have worked"
    assert child.passes(left, 1.5) == 0
    assert not left.is_over
    for _ in range(4):
        left.restart_idle()
        assert child.passes(left, 8, ran=1.0) == pytest.approx(2)
    left.restart_idle()
    assert child.passes(left, 3, ran=1.0) == pytest.approx(0.5), "of the whole"
    assert not left.is_over
    assert child.passes(left, 1, ran=1.0) == 0
    assert left.is_over


def test_a_wait_that_still_goes_on_does_not_count_either(monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("R", "D"):
        child = FakeChild(monkeypatch)
        left = Patience(child, idle_s=10, whole_s=50)
        assert child.passes(left, 20, state=state) == pytest.approx(8)
        child.was = Scheduled(0.0, 20.0, "S")  # it is over, and counted
        assert child.passes(left, 0.5) == pytest.approx(7.95)


def test_time_in_which_nobody_looked_hardly_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slept, or was as full for who waits."""
    child = FakeChild(monkeypatch)
    left = Patience(child, idle_s=10, whole_s=50)
    assert child.passes(left, 12, look_s=12) == pytest.approx(8.8)


def test_a_unit_that_comes_further_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd(monkeypatch, "progresses:7", "progresses:0", "hangs", "reads", timeout_s=2.5) as (box, _):
        assert kinds(decode(box, 4)) == [None, None, "timeout", None]


def test_progress_without_end_is_believed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LONGEST", 3)
    with odd(monkeypatch, "progresses:1000", "reads", timeout_s=2.0) as (box, _):
        began_s = time.monotonic()
        answer = box.probe(__file__, "document")
        assert time.monotonic() - began_s < 60
    assert answer["error"]["kind"] == "timeout"
    assert answer["error"]["message"] == "the decoder gave no answer within 6 s, 3 times decode.timeout_s"


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    step = Progress()
    step()
    step.tell(told.append)
    for _ in range(1000):
        step()
    assert told == [2]
    for messages in (PROBED, DECODED):
        assert messages.checked({"progress": 2}) == {"progress": 2}


def test_a_decoder_that_gets_no_processor_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six share one: a second's work takes longer than the three that it may take."""
    cpu = min(os.sched_getaffinity(0))
    burn = f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
    with odd(
        monkeypatch,
        *("reads", "works:1", "reads"),
        started=lambda child: os.sched_setaffinity(child.pid, [cpu]),
        timeout_s=3.0,
    ) as (box, _):
        assert decode(box, 1) == [None]
        # in sessions of their own, among which the kernel shares
        burning = [subprocess.Popen([sys.executable, "-c", burn], start_new_session=True) for _ in range(5)]
        try:
            began_s = time.monotonic()
            assert decode(box, 3) == [None] * 3
            assert time.monotonic() - began_s > 3.0, "nothing was starved: this shows nothing"
        finally:
            for process in burning:
                process.kill()
                process.wait()


def test_a_child_tells_how_it_was_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not count it")
    with odd(monkeypatch, "works:0.5") as (box, children):
        decode(box, 1)
        (child,) = children
        before = child.scheduled()
        assert 0.5 < before.ran_s < 1000
        assert 0 < before.waited_s < 1000
        box.close()
        assert child.scheduled().ran_s >= before.ran_s


@pytest.mark.timeout(3600)
def test_a_good_video_that_takes_its_time_is_read(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Decoded by two at once, a clip takes longer than a decoder may go on without a sign of progress.
    The whole of it is what a phone films in 4K: 60 frames a second of 10 bits, in clips of 30 s."""
    height_px, clip_s, timeout_s = amount(720, 2160), amount(16, 30), amount(1, 10)
    path = write_slow_clip(tmp_path / "slow.mp4", height_px, repeats=clip_s)
    settings = DecodeSettings(video_clip_s=clip_s, timeout_s=timeout_s, video_max_px=1 << 20, full_input_tokens=8000)
    rows: list[dict[str, Any]] = []

    def read() -> None:
        box = Sandbox(settings)
        answer = box.probe(str(path), "video")
        units = [Indexed.of(unit) for unit in answer["units"]]
        rows.extend(batch.to_pylist()[0] for batch in box.decode(str(path), "video", units))
        box.close()

    at_once = [threading.Thread(target=read) for _ in range(2)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert [row["error"] for row in rows] == [None, None]
    slowest_s = max(row["decode_s"] for row in rows)
    figure(
        f"a clip of {clip_s} s, {height_px} lines, 60 frames a second: {slowest_s:.1f} s beside another, "
        f"with decode.timeout_s of {timeout_s}"
    )
    assert slowest_s > settings.timeout_s, "it is not slow: this shows nothing"


def write_slow_clip(path: Path, height_px: int, repeats: int) -> Path:
    """A second of moving noise at 60 frames a second, again and again."""
    noise = np.random.default_rng(0).integers(0, 255, (height_px, height_px * 16 // 9, 3), np.uint8)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx265", rate=60, options={"preset": "ultrafast", "x265-params": "log-level=none"})
        stream.height, stream.width, stream.pix_fmt = height_px, height_px * 16 // 9, "yuv420p10le"
        stream.bit_rate, stream.gop_size = 8 * height_px * height_px, 60
        packets = []
        for index in range(60):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 4 * index, axis=1), format="rgb24")
            packets += stream.encode(frame)
        packets += stream.encode()
        pieces = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe, packet.time_base) for packet in packets]
        for start_s in range(repeats):
            for data, pts, dts, is_keyframe, time_base in pieces:
                packet = av.Packet(data)
                shift = round(start_s / time_base)
                packet.pts, packet.dts, packet.time_base = pts + shift, dts + shift, time_base
                packet.is_keyframe, packet.stream = is_keyframe, stream
                target.mux(packet)
    return path
