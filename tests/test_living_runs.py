"""An output that lives while everything that can be killed is killed: inputs come, change and go, a task more comes,
failed rows are asked again, and a task anew. Meanwhile a reader polls the results, and in the end they are counted with
none of our code.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.dying_run import HOW, How
from tests.support.life import DOOMED, BucketPlace, Ended, Folder, Life, Place
from tests.support.object_server import S3Server
from tests.support.polling_reader import OfFolder, polled
from tests.support.world import World, write_recording

OUTPUT = {"type": "object", "properties": {"shows": {"type": "string"}}, "required": ["shows"]}
LOOK = {"name": "look", "prompt": "What does it show?", "output": OUTPUT}
COUNT = {"name": "count", "prompt": "How much of it is there?", "output": OUTPUT}
VICTIMS = {
    "driver": "tests.support.dying_run run",
    "raylet": "/raylet/raylet ",
    "decode actor": "ray::MapWorker(MapBatches(Decode))",
    "infer actor": "ray::MapWorker(MapBatches(Infer))",
    "engine child": "operators.infer.engine_child",
    "committer": "ray::MapWorker(MapBatches(Commit))",
}
WRITES = {"planning": "^_job/(inputs|listing|rounds|chunks)", "data": "^_job/parts/", "publish": "^results/"}
"""By what a process is at, the keys that it writes then."""
PIECES = 4
"""Of the first inputs, so that they are planned while they are listed and answered."""
STARTS = 14
"""Of the command within which a step has to be complete."""


@dataclass(frozen=True)
class Size:
    """units: of the first inputs; half as many come later. kills: planned for each step. slots: requests that the
    engine works on at once, each for delay_s. brief: all that is new comes at once, and no task is done anew."""

    units: int
    chunk_units: int
    slice_units: int
    kills: int
    slots: int
    delay_s: float
    ray: bool
    brief: bool = False


@dataclass
class Lived:
    """What came of it. asks: rows that an engine was asked for; repeated: those of them that were asked for before, and
    after_commit: even though their part was there before the process began that asked."""

    starts: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    asks: int = 0
    repeated: int = 0
    after_commit: int = 0
    wall_s: float = 0.0

    def __str__(self) -> str:
        kills = self.killed.total()
        how = ", ".join(f"{name} {number}" for name, number in sorted(self.killed.items()))
        return (
            f"{self.starts} starts, {kills} kills ({how}), "
            f"{self.asks} rows asked, {self.repeated} of them again ({self.repeated / max(1, kills):.1f} a kill), "
            f"{self.after_commit} although answered; {self.wall_s / max(1, self.starts):.1f} s a start"
        )


class Living:
    """Drives the steps of a life, each killed on the way at a place chosen by seed."""

    def __init__(self, world: World, place: Place, size: Size, seed: int) -> None:
        self.world, self.place, self.size = world, place, size
        self.life = Life(place, seed)
        self.lived = Lived()
        self.chance = random.Random(seed)
        world.module = "tests.support.dying_run"
        write_recording(world.recording, *self.life.lines(world.folder, size.delay_s))
        world.spec |= {
            "inputs": [place.inputs],
            "output": place.output,
            "tasks": [LOOK],
            "decode": {"workers": 1},
            "limits": {"chunk_units": size.chunk_units, "max_failed_fraction": 1},
        }
        world.spec["engine"]["slots"] = size.slots

    def step(self, rounds: int, *arguments: str, may_go_on: bool = False, again: tuple[str, ...] | None = None) -> None:
        """The same command until it ends well, killed on the way. rounds: that there are from this step on. may_go_on:
        whether the next step may come before this one is complete. again: of the command once the rounds are there."""
        kills = self.size.kills
        for _ in range(STARTS):
            there = self._rounds() >= rounds
            command = again if there and again is not None else arguments
            if self._start(kills > 0, command):
                assert self._rounds() >= rounds
                return
            kills -= 1
            if may_go_on and kills == 0 and self._rounds() >= rounds and self.chance.random() < 0.6:
                return
        pytest.fail(f"not complete after {STARTS} starts")

    def _start(self, to_be_killed: bool, arguments: tuple[str, ...]) -> bool:
        """Whether it ended well."""
        self.lived.starts += 1
        asked, committed = len(self._asked()), self._committed()
        how = How(self.size.slice_units, self.size.units // PIECES + 1, ray=self.size.ray)
        if to_be_killed and not how.ray:
            name, how = self._death(how)
        self.world.variables[HOW] = json.dumps(asdict(how))
        process = self.world.start(*arguments)
        if to_be_killed and how.ray:
            name = self._kill(process)
        text, _ = process.communicate(timeout=300)
        if process.returncode == -signal.SIGKILL or (how.ray and to_be_killed and name):
            self.lived.killed[name] += 1
        else:
            assert process.returncode == 0, text
        self.world.nothing_left()
        asks = self._asked()[asked:]
        self.lived.after_commit += sum((task, chunk_id) in committed for chunk_id, task, *_ in asks)
        return process.returncode == 0

    def _death(self, how: How) -> tuple[str, How]:
        name = self.chance.choice(list(WRITES))
        most = {"planning": 2 + PIECES, "data": max(2, self.size.units // self.size.chunk_units // 2), "publish": 2}
        write = self.chance.randint(1, most[name])
        moment = self.chance.choice(["before", "within", "after"])
        return f"{moment} {name}", How(how.slice_units, how.piece, key=WRITES[name], write=write, moment=moment)

    def _kill(self, process: subprocess.Popen[str]) -> str:
        """Who was killed; no one where the run ended before."""
        moment = self.chance.choice(["planning", "parts", "parts", "publish"])
        is_first = not self.lived.killed
        victim = "driver" if is_first or moment == "planning" else self.chance.choice(list(VICTIMS))
        before = {folder: self.place.keys(folder) for folder in ("_job/chunks", "_job/parts", "results")}
        parts = self.chance.randint(1, max(1, self.size.units // self.size.chunk_units // 2))
        while process.poll() is None:
            time.sleep(0.05)
            match moment:
                case "planning":
                    is_time = self.place.keys("_job/chunks") != before["_job/chunks"]
                case "parts":
                    is_time = len(self.place.keys("_job/parts")) >= len(before["_job/parts"]) + parts
                case _:
                    is_time = self.place.keys("results") != before["results"]
            if not is_time:
                continue
            time.sleep(self.chance.random() / 3)
            pids = [process.pid] if victim == "driver" else list(self.world.processes(VICTIMS[victim]))
            for pid in pids[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                return f"{victim} at {moment}"
        return ""

    def _rounds(self) -> int:
        return sum(key.endswith(".json") for key in self.place.keys("_job/rounds"))

    def _committed(self) -> set[tuple[str, str]]:
        """(task, chunk_id) of every part, by its name alone."""
        names = (key.split("/") for key in self.place.keys("_job/parts") if key.endswith(".parquet"))
        return {(parts[2].removeprefix("task="), parts[-1].split(".")[0]) for parts in names}

    def _asked(self) -> list[tuple[str, ...]]:
        """chunk_id, task, unit of the chunk, request."""
        log = self.world.folder / "asked"
        return [tuple(line.split("/")) for line in log.read_text().split("\n") if line] if log.exists() else []

    def live(self) -> tuple[Ended, Lived]:
        """Raises AssertionError where a count on the way finds something broken."""
        started = time.monotonic()
        life, run = self.life, ("run", str(self.world.spec_file))
        life.tasks = ["look"]
        life.draw(self.size.units)
        life.round(["look"], life.names())
        self.step(1, *run, may_go_on=True)
        if self.size.brief:
            self._all_at_once(run)
        else:
            self._one_after_the_other(run)

        failed = life.failed()
        assert failed, f"no {DOOMED} input failed"
        self._is_right({}, all_ok=False)
        self.step(life.rounds + 1, "retry", self.place.output)
        life.most_asks += len(failed)
        life.rounds = self._rounds()
        attempts = dict.fromkeys(failed, 2)
        self._is_right(attempts, all_ok=True)

        if not self.size.brief:
            life.round(["look"], life.names())  # also what is gone: it may lie in a cache
            self.step(life.rounds, *run, "--redo", "look", again=run)
            attempts = {(task, name): 2 for task, name in failed if task != "look"}

        asks = self._asked()
        self.lived.asks, self.lived.repeated = len(asks), len(asks) - len(set(asks))
        self.lived.wall_s = time.monotonic() - started
        assert len(set(asks)) <= life.most_asks
        return life.count(attempts, all_ok=True), self.lived

    def _one_after_the_other(self, run: tuple[str, ...]) -> None:
        life = self.life
        before = set(life.names())
        life.draw(self.size.units // 2)
        life.round(["look"], set(life.names()) - before)
        self.step(2, *run, may_go_on=True)

        self._further_task()
        life.round(["count"], life.names())
        self.step(3, *run, may_go_on=True)

        life.round(["look", "count"], self._other_inputs(4))
        self.step(4, *run, "--changed")

    def _all_at_once(self, run: tuple[str, ...]) -> None:
        """In one round what the further task is asked about that was there, in another what both are."""
        life = self.life
        before = life.names()
        fresh = self._other_inputs(self.size.units // 2)
        self._further_task()
        life.round(["count"], before)
        life.round(["look", "count"], fresh)
        self.step(3, *run, "--changed")

    def _other_inputs(self, units: int) -> list[str]:
        """Those that changed, and those that are new; two more are gone."""
        before = set(self.life.names())
        changed = self.life.change(3)
        self.life.take_away(2, but=changed)
        self.life.draw(units)
        return [*changed, *(set(self.life.names()) - before)]

    def _further_task(self) -> None:
        self.world.spec["tasks"] = [LOOK, COUNT]
        _ = self.world.spec_file
        self.life.tasks = ["look", "count"]

    def _is_right(self, attempts: dict[tuple[str, str], int], *, all_ok: bool) -> None:
        ended = self.life.count(attempts, all_ok=all_ok)
        assert ended.is_right, ended


def lived(world: World, place: Place, size: Size, seed: int, figure: Callable[[str], None]) -> None:
    living = Living(world, place, size, seed)
    with polled(place.output) as met:
        ended, came = living.live()
    figure(f"seed {seed}: {came}; reader: {met}, {met.repeated}; {ended}")
    assert ended.is_right, ended
    assert came.killed
    assert came.after_commit == 0
    assert met.reads
    assert (met.failed, met.unreadable, met.doubled, met.went_back) == ([], [], [], [])


def _two_rounds(folder: Path) -> tuple[Life, list[dict[str, Any]]]:
    """A life of some inputs, of which three changed, and the rows that its results have to be."""
    life = Life(Folder(folder / "in", folder / "out"), seed=1)
    life.tasks = ["look"]
    life.draw(20)
    life.round(["look"], life.names())
    assert life.count({}, all_ok=True).lost == 20
    life.round(["look"], life.change(3))
    rows = [
        {
            "input_uri": f"{folder}/in/{name}",
            "unit_index": unit,
            "unit_count": drawn.units,
            "request_index": 0,
            "generation": life.asked["look", name],
            "attempt": 1,
            "status": "ok",
            "error": None,
            "text": f'{{"shows": "look of {name}, unit {unit}: {hash_of(name, unit, drawn.version)}"}}',
        }
        for name, drawn in life.inputs.items()
        for unit in range(drawn.units)
    ]
    return life, rows


def hash_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _show(life: Life, rows: list[dict[str, Any]], slices: int = 2) -> None:
    folder = Path(life.place.output) / "results" / "task=look"
    folder.mkdir(parents=True, exist_ok=True)
    for slice_ in range(slices):
        pq.write_table(pa.Table.from_pylist(rows[slice_::slices]), folder / f"part-{slice_:05d}.parquet")


FAULTS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "lost": lambda rows: rows.pop(3),
    "duplicate": lambda rows: rows.append(rows[3]),
    "unexpected": lambda rows: rows.append({**rows[3], "unit_index": 99, "unit_count": 100}),
    "old": lambda rows: rows[3].update(generation=7),
    "wrong": lambda rows: rows[3].update(text=rows[4]["text"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_count_finds_what_is_broken(tmp_path: Path, fault: str) -> None:
    life, rows = _two_rounds(tmp_path)
    _show(life, rows)
    assert life.count({}, all_ok=True).is_right
    FAULTS[fault](rows)
    _show(life, rows)
    ended = life.count({}, all_ok=True)
    assert getattr(ended, fault) == 1, ended


def test_the_reader_finds_what_is_broken(tmp_path: Path) -> None:
    life, rows = _two_rounds(tmp_path)
    rows = [{**row, "input_id": row["input_uri"]} for row in rows]
    reader = OfFolder(life.place.output)
    _show(life, rows)
    reader.poll()
    assert (reader.met.rows, reader.met.doubled, reader.met.failed) == (len(rows), [], [])
    newer = next(place for place, row in enumerate(rows) if row["generation"])
    _show(life, [*rows, rows[3]])
    reader.poll()
    assert reader.met.doubled
    _show(life, [{**row, "generation": 0} for row in rows[newer:]])
    reader.poll()
    assert reader.met.vanished == newer
    assert reader.met.went_back
    (tmp_path / "out" / "results" / "task=look" / "part-00001.parquet").write_bytes(b"PAR1, and no more")
    reader.poll()
    assert reader.met.failed
    assert reader.met.unreadable


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_an_output_lives_through_deaths_at_every_write(
    world: World, s3: S3Server, where: str, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Without Ray: in one process, which dies before, within or after a write of its store."""
    brief = where == "bucket" and amount(1, 10) == 1
    size = Size(
        amount(24, 300), amount(4, 8), amount(12, 64), kills=amount(1, 2), slots=8, delay_s=0.01, ray=False, brief=brief
    )
    for seed in range(amount(1, 10)):
        lived(world, PLACES[where](world, s3, seed), size, seed, figure)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_whatever_is_killed_under_ray_an_output_lives_on(
    world: World, s3: S3Server, where: str, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Driver, raylet, actors and children die from outside."""
    if where == "bucket" and amount(1, 10) == 1:
        pytest.skip("in the whole alone: under Ray in a folder, and in a bucket without Ray, run small")
    size = Size(
        amount(24, 500), amount(4, 10), amount(12, 100), kills=1, slots=16, delay_s=0.1, ray=True,
        brief=amount(1, 10) == 1,
    )  # fmt: skip
    for seed in range(amount(1, 10)):
        lived(world, PLACES[where](world, s3, seed), size, seed, figure)


def _folder(world: World, _: S3Server, seed: int) -> Place:
    folder = _anew(world, seed)
    return Folder(folder / "in", folder / "out")


def _bucket(world: World, s3: S3Server, seed: int) -> Place:
    folder = _anew(world, seed)
    world.variables["SIGHTREAD_CACHE"] = str(folder / "cache")
    return BucketPlace(s3.client(), s3.new_bucket(), "out", folder / "copies")


def _anew(world: World, seed: int) -> Path:
    for path in [world.folder / "asked", *world.folder.glob("once-*")]:
        path.unlink(missing_ok=True)
    folder = world.folder / f"life-{seed}"
    folder.mkdir()
    return folder


PLACES = {"folder": _folder, "bucket": _bucket}
