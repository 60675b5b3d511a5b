"""A run that is told to end: the exit code, one line, nothing left behind, and the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support.world import ROOT, World, write_pdf, write_recording

pytestmark = pytest.mark.slow

PAGES = 48
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
KEPT = "what is answered is committed, and the same command again goes on"


@pytest.fixture
def busy(world: World) -> World:
    """A job of eight parts that takes a while."""
    write_pdf(world.inputs / "a.pdf", pages=PAGES)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "unit {unit}", "delay_s": 0.4})
    world.spec["tasks"] = ["ocr"]
    world.spec["engine"]["slots"] = 4
    world.spec["limits"] = {"chunk_units": 6}
    return world


class Run:
    """The command in a process group of its own."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.world = world
        self.log = world.folder / "stdout.txt"
        self._stderr = world.folder / "stderr.txt"
        with self.log.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobs.cli", *(arguments or ("run", str(world.spec_file)))],
                cwd=world.folder,
                env={**world.environment, "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def until(self, text: str) -> None:
        self.world.wait_for(lambda: text in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.stderr

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def send(self, number: int, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.process.pid, number)

    def ends(self, code: int, within_s: float) -> None:
        """With that code and nothing left, all within the time; at most three lines on stderr."""
        deadline = time.monotonic() + within_s
        assert self.process.wait(within_s + 10) == code, self.stderr
        while (left := self.world.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == {}
        assert time.monotonic() < deadline
        assert len(self.stderr.splitlines()) <= 3, self.stderr


def reach(run: Run, moment: str, delay_s: float) -> None:
    """Until the run is at that moment, and a little longer."""
    match moment:
        case "start-up":
            run.until("starting Ray")
        case "run":
            run.until("starting the engine")
            run.world.wait_for(run.world.parts)
        case "commit":
            run.world.wait_for(lambda: list((run.world.output / "_job" / "tmp").glob("*")), timeout_s=60)
        case "listing":
            run.until("")
            run.world.wait_for(run.world.output.exists)
    time.sleep(delay_s)


def is_complete(world: World, pages: int = PAGES) -> None:
    """After the same command again, twice."""
    world.run()
    assert "nothing to do" in world.run()
    assert [row["unit_index"] for row in world.rows("ocr")] == list(range(pages))


CASES = [
    (number, group, moment)
    for moment in ("run", "start-up", "listing")
    for number in SIGNALS
    for group in (True, False)
]


@pytest.mark.timeout(3600)
def test_a_signal_ends_a_run_with_one_line(
    busy: World, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    rng = random.Random(15)
    cases = rng.sample(CASES, amount(3, len(CASES)))
    slowest = 0.0
    for number, group, moment in cases:
        run = Run(busy)
        reach(run, moment, rng.uniform(0, 2))
        started = time.monotonic()
        run.send(number, group=group)
        run.ends(SIGNALS[number], within_s=10)
        slowest = max(slowest, time.monotonic() - started)
        assert run.stderr == f"sightread: ended by {signal.Signals(number).name}; {KEPT}\n", (moment, group)
    is_complete(busy)
    figure(f"{len(cases)} runs ended by a signal: nothing left after {slowest:.1f} s at most, 0 rows lost, 0 twice")


@pytest.mark.timeout(3600)
def test_a_run_ends_when_ray_does(
    busy: World, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    rng = random.Random(16)
    number = amount(2, 20)
    slowest = 0.0
    for index in range(number):
        victim = ("raylet", "gcs_server")[index % 2]
        run = Run(busy)
        run.until("starting the engine")
        pid = min(busy.processes(f"/{victim} --"))  # it forks what it starts
        time.sleep(rng.uniform(0, 6))
        if run.process.poll() is not None:  # it was faster
            continue
        os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        run.ends(1, within_s=60)
        slowest = max(slowest, time.monotonic() - started)
        assert f"sightread: Ray is gone: {victim} ended; {KEPT}\n" in run.stderr
        assert "Traceback" not in run.stderr
    is_complete(busy)
    figure(f"raylet and gcs_server killed {number} times: the run ended after {slowest:.1f} s at most")
