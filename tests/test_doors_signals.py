"""A run that is told to end: the exit code, one line, nothing left behind, and the same command goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.world import ROOT, World, write_pdf, write_recording

pytestmark = pytest.mark.slow

PAGES, UNITS = 24, 3
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
KEPT = "what is answered is committed, and the same command again goes on"


@pytest.fixture
def busy(world: World) -> World:
    """A job of eight parts that takes a while."""
    write_pdf(world.inputs / "a.pdf", pages=PAGES)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "unit {unit}", "delay_s": 0.5})
    world.spec["tasks"] = ["ocr"]
    world.spec["engine"]["slots"] = 4
    world.spec["limits"] = {"chunk_units": UNITS}
    return world


def _heed_all() -> None:
    """What a shell runs in the background ignores SIGINT, and so does what that starts."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Run:
    """The command in a process group of its own."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.world = world
        self.log = world.folder / "stdout.txt"
        self._stderr = world.folder / "stderr.txt"
        self._folder: Path | None = None
        with self.log.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobs.cli", *(arguments or ("run", str(world.spec_file)))],
                cwd=world.folder,
                env={**world.environment, "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_heed_all,
            )

    def until(self, text: str) -> None:
        self.world.wait_for(lambda: text in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.stderr

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def look_at_folder(self) -> None:
        """Which is to be gone with the run."""
        for line in self.world.processes("/raylet --").values():
            for part in line.split():
                if part.startswith("--temp_dir="):
                    self._folder = Path(part.partition("=")[2]).parent

    def send(self, number: int, *, group: bool = False) -> None:
        self.look_at_folder()
        (os.killpg if group else os.kill)(self.process.pid, number)

    def ends(self, code: int, within_s: float) -> None:
        """With that code and nothing left, all within the time; at most three lines on stderr."""
        deadline = time.monotonic() + within_s
        assert self.process.wait(within_s + 10) == code, self.stderr
        while (left := self.world.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == {}
        assert self._folder is None or not self._folder.exists()
        assert time.monotonic() < deadline
        assert len(self.stderr.splitlines()) <= 3, self.stderr


def reach(run: Run, moment: str) -> None:
    """Until the run is at that moment, or past it."""
    world = run.world
    before = len(world.parts())
    match moment:
        case "listing":
            run.until(" inputs")
        case "start-up":
            run.until("starting Ray")
        case "run":
            run.until("starting the engine")
            world.wait_for(lambda: len(world.parts()) > before or run.process.poll() is not None)
        case "commit":
            run.until("starting the engine")
            world.wait_for(lambda: list((world.output / "_job" / "tmp").glob("*")) or run.process.poll() is not None)
        case "audit":
            world.wait_for(lambda: len(world.parts()) == PAGES // UNITS or run.process.poll() is not None)


def is_complete(world: World) -> None:
    """After the same command again, and nothing of a run that was ended lies about."""
    world.run()
    assert [row["unit_index"] for row in world.rows("ocr")] == list(range(PAGES))
    assert not list((world.output / "_job" / "tmp").iterdir())


CASES = [
    (number, group, moment)
    for moment in ("run", "start-up", "listing", "commit", "audit")
    for number in SIGNALS
    for group in (True, False)
]
CASES += [(signal.SIGKILL, False, "run"), (signal.SIGKILL, False, "start-up")]
FEW = [
    (signal.SIGKILL, False, "run"),
    (signal.SIGTERM, True, "run"),
    (signal.SIGHUP, False, "start-up"),
    (signal.SIGINT, True, "listing"),
]


@pytest.mark.timeout(3600)
def test_a_signal_ends_a_run_with_one_line(
    busy: World, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    rng = random.Random(15)
    cases = [FEW, CASES][whole := amount(0, 1)]
    slowest, told = 0.0, 0
    for number, group, moment in cases:
        if whole:  # else they go on where the one before was ended
            shutil.rmtree(busy.output, ignore_errors=True)
        run = Run(busy)
        reach(run, moment)
        time.sleep(rng.uniform(0, 0.1 if moment in ("commit", "audit") else 0.5))
        if run.process.poll() is not None:  # it was faster
            assert run.process.returncode == 0
            continue
        started = time.monotonic()
        run.send(number, group=group)
        if run.process.wait(20) == 0 and "Parquet of " in run.log.read_text():  # it had shown the end already
            continue
        run.ends(SIGNALS.get(number, -number), within_s=max(0.0, started + 10 - time.monotonic()))
        slowest, told = max(slowest, time.monotonic() - started), told + 1
        if whole:
            is_complete(busy)
        if number == signal.SIGKILL:
            assert run.stderr == f"sightread: the run was killed, or Ray ended it; {KEPT}\n"
            continue
        assert run.stderr == f"sightread: ended by {signal.Signals(number).name}; {KEPT}\n", (moment, group)
    is_complete(busy)
    assert told >= len(cases) / 2
    figure(f"{told} runs ended by a signal: nothing left after {slowest:.1f} s at most, 0 rows lost, 0 twice")


def test_a_signal_ends_a_command_without_a_run_with_one_line(busy: World) -> None:
    write_recording(busy.recording, {"sample": "*", "task": "*", "reply": "text", "delay_s": 60})
    run = Run(busy, "try", str(busy.inputs / "a.pdf"), "--recording", str(busy.recording))
    busy.wait_for(lambda: busy.processes("operators.infer.engine_child"))
    run.send(signal.SIGTERM)
    run.ends(143, within_s=10)
    assert run.stderr == "sightread: ended by SIGTERM\n"


def test_a_signal_that_is_ignored_stays_so(busy: World) -> None:
    """As nohup has it."""
    code = "import signal; from operators.processes import ending; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "ending.listen(); signal.raise_signal(signal.SIGHUP); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("alive\n", "")


@pytest.mark.parametrize("stubborn", ["", "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})"])
def test_a_process_that_swallows_its_end_ends_all_the_same(stubborn: str) -> None:
    """A library that catches everything, and native code that the signal does not reach."""
    code = f"""
import ctypes, os, signal, threading, time
from operators.processes import ending
ending.LIMIT_S = 1
ending.listen()
{stubborn}
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    ctypes.CDLL(None).sleep(60)
except BaseException:
    pass
time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (143, "sightread: ended by SIGTERM\n")


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
        time.sleep(rng.uniform(0, 3))
        if run.process.poll() is not None:  # it was faster
            continue
        run.look_at_folder()
        os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        run.ends(1, within_s=60)
        slowest = max(slowest, time.monotonic() - started)
        assert run.stderr in (
            f"sightread: Ray is gone: {victim} ended; {KEPT}\n",
            f"sightread: the run was killed, or Ray ended it; {KEPT}\n",  # its core was faster
        )
        assert "Traceback" not in run.stderr
    is_complete(busy)
    figure(f"raylet and gcs_server killed {number} times: the run ended after {slowest:.1f} s at most")
