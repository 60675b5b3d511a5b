"""Two commands at one output: one of them writes. What becomes of one that was stopped, or killed, while it did, and
how much is asked twice then: what was in flight at that moment, and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from jobs.load import load
from operators.store.addresses import store_at
from operators.store.lease import holder_of
from operators.store.part_log import PartLog
from operators.store.view import View
from pipelines.job import prepare
from pipelines.plan import stages
from tests.support.world import World, write_pdf, write_recording

pytestmark = pytest.mark.slow

PAGES, UNITS, DELAY_S = 48, 2, 0.5
OUTPUT = {"type": "object", "properties": {"shows": {"type": "string"}}, "required": ["shows"]}
LOOK = {"name": "look", "prompt": "What does it show?", "output": OUTPUT}
REPLY = '{"shows": "unit {unit}"}'
LEASE_S = 5.0
WAITING = 2
"""Chunks that wait for a call of a stage, beside those under way (pipelines/ray_data.py)."""


@dataclass
class Contested:
    """A job that takes a while, and whose engine counts what it is asked."""

    world: World

    def __post_init__(self) -> None:
        write_pdf(self.world.inputs / "a.pdf", pages=PAGES)
        line = {"sample": "*", "task": "*", "reply": REPLY, "delay_s": DELAY_S}
        write_recording(self.world.recording, line | {"asked_log": str(self.world.folder / "asked")})
        self.world.spec |= {"tasks": [LOOK], "limits": {"chunk_units": UNITS}, "decode": {"workers": 1}}
        self.world.spec["engine"]["slots"] = 1
        self.world.variables["SIGHTREAD_LEASE_S"] = str(LEASE_S)

    @property
    def output(self) -> str:
        return str(self.world.spec["output"])

    @property
    def parts(self) -> int:
        return len(PartLog.at(self.output).parts("look"))

    @property
    def in_flight(self) -> int:
        """Rows, at most: chunks that the engine's actor and the committer have or wait for."""
        _, infer, commit = stages(prepare(load(self.world.spec_file)), UNITS)
        return (infer.calls + WAITING + commit.calls + WAITING) * UNITS

    def start(self) -> subprocess.Popen[str]:
        """The command, once it has put some parts."""
        run = self.world.start()
        self.world.wait_for(lambda: self.parts >= 3 or run.poll() is not None)
        assert run.poll() is None, run.communicate()[0]
        return run

    def asked_twice(self) -> int:
        asked = Counter((self.world.folder / "asked").read_text().splitlines())
        assert len(asked) == PAGES
        return asked.total() - PAGES

    def is_complete(self) -> None:
        there = View(store_at(self.output)).read("look", 0)
        assert there is not None
        assert there.rows.column("unit_index").to_pylist() == list(range(PAGES))
        replies = [REPLY.replace("{unit}", str(page)) for page in range(PAGES)]
        assert there.rows.column("text").to_pylist() == replies
        assert holder_of(store_at(self.output)) is None


@pytest.fixture(params=["folder", "s3"])
def contested(request: pytest.FixtureRequest, world: World, amount: Callable[[int, int], int]) -> Contested:
    if request.param == "s3":
        if not amount(0, 1):
            pytest.skip("with --whole")
        world.spec["output"] = f"{request.getfixturevalue('proxy').new_bucket()}/out"
    return Contested(world)


def test_a_second_one_is_refused_and_the_first_asks_everything_once(contested: Contested) -> None:
    first = contested.start()
    text = contested.world.run(code=2)
    holder = holder_of(store_at(contested.output))
    assert holder is not None
    assert text.splitlines()[-1] == (
        f"sightread: output: {contested.output} is being written by {holder.who} since {holder.since} "
        "(sightread run, test); wait for it, or stop it"
    )
    assert holder.who.endswith(f", process {first.pid}")
    assert "watching" not in text
    text = first.communicate()[0]
    assert first.returncode == 0, text
    assert contested.asked_twice() == 0
    contested.is_complete()


def test_one_that_was_stopped_for_too_long_ends_when_it_goes_on(
    contested: Contested, figure: Callable[[str], None]
) -> None:
    first = contested.start()
    os.kill(first.pid, signal.SIGSTOP)
    text = contested.world.run()
    assert f"another process wrote to {contested.output} (" in text
    assert f"watching whether it lives, up to {LEASE_S:g} s" in text
    contested.is_complete()
    twice = contested.asked_twice()
    os.kill(first.pid, signal.SIGCONT)
    text = first.communicate(timeout=60)[0]
    assert first.returncode == 1, text
    (sentence,) = (line for line in text.splitlines() if line.startswith("sightread:"))
    assert f"the lease of {contested.output} was lost: it was taken over by " in sentence
    contested.world.nothing_left()
    contested.is_complete()
    assert contested.asked_twice() == twice
    assert twice <= contested.in_flight
    figure(f"stopped past the lease, at {contested.output.partition(':')[0]}: {twice} of {PAGES} rows asked twice")


def test_after_a_kill_the_same_command_goes_on_at_once(contested: Contested, figure: Callable[[str], None]) -> None:
    first = contested.start()
    first.kill()
    first.wait()
    started_s = time.monotonic()
    text = contested.world.run()
    assert "watching" not in text
    contested.is_complete()
    assert contested.asked_twice() <= contested.in_flight
    figure(f"killed: {contested.asked_twice()} of {PAGES} rows asked twice, at most {contested.in_flight} in flight; "
           f"the rest took {time.monotonic() - started_s:.0f} s")  # fmt: skip
    contested.world.nothing_left()
