"""Measure `sightread run` and `try` on jobs of several sizes, in one checkout or in several in turns.

Each run is a process of its own, started as a user would. Knows nothing of tables.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.bench.inputs import write_picture
from jobs.bench.scale_inputs import link_pictures, put_pictures, write_pages
from jobs.bench.scale_meter import Ran, Sign, measured, written
from operators.store.part_log import PARTS
from operators.store.view import RESULTS
from schemas.checkout import ROOT

FIRST_ROW, FIRST_ASK, FIRST_ANSWER = "first row", "first ask", "first answer"
RUN, TRY = "run", "try"
SLOTS = 16
DONE = 0.99
"""Share of the inputs that a job has done when it is resumed; half of a small job, of which this may be all chunks."""
_SMALL = 10_000


@dataclass(frozen=True)
class Checkout:
    """name: as tables call it. python: the interpreter that runs it."""

    name: str
    folder: Path
    python: str

    @classmethod
    def at(cls, folder: Path) -> Checkout:
        """Another than this one; with its interpreter where it has one."""
        python = folder / ".venv" / "bin" / "python"
        return cls(folder.name, folder, str(python) if python.exists() else sys.executable)


THIS = Checkout("this", ROOT, sys.executable)


@dataclass
class Grown:
    """A job of so many inputs. rows: that `run` answered. resumed: when nearly all was done; None where it was not."""

    checkout: str
    where: str
    inputs: int
    run: Ran
    rows: int
    resumed: Ran | None = None


@dataclass
class Unit:
    """What one more unit of a kind costs: two runs of other sizes."""

    checkout: str
    kind: str
    sizes: tuple[int, int]
    runs: tuple[Ran, Ran]

    def ms(self, cpu_s: Callable[[Ran], float]) -> float:
        """CPU of a unit, by the difference of the two."""
        less, more = map(cpu_s, self.runs)
        return (more - less) * 1000 / (self.sizes[1] - self.sizes[0])


@dataclass
class Single:
    """One picture, several times. sign: what of `runs` is the first answer."""

    checkout: str
    what: str
    sign: str
    runs: list[Ran] = field(default_factory=list)

    def first_s(self) -> list[float]:
        return [ran.seen[self.sign] for ran in self.runs if self.sign in ran.seen]

    def cpu_s(self) -> list[float]:
        return [ran.all_s for ran in self.runs]


def done_of(inputs: int) -> int:
    return max(1, int(inputs * DONE) if inputs >= _SMALL else inputs // 2)


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


class Rounds:
    """report: takes a line for each run as it ends. folder: everything is written below it."""

    def __init__(
        self, folder: Path, checkouts: Sequence[Checkout], report: Callable[[str], None], limit_s: float = 7200.0
    ) -> None:
        self._folder = folder
        self._checkouts = checkouts
        self._report = report
        self._limit_s = limit_s
        self._runs = 0

    def grown(self, sizes: Sequence[int]) -> Iterator[Grown]:
        """Jobs of so many links of one picture; the largest is resumed too."""
        for inputs in sizes:
            place = self._folder / f"pictures-{inputs}"
            link_pictures(place, inputs)
            for checkout in self._checkouts:
                yield self._grown(checkout, str(place), "files", inputs, resume=inputs == max(sizes))

    def grown_in_bucket(self, address: str, sizes: Sequence[int]) -> Iterator[Grown]:
        """The same with keys in a bucket. In the first checkout alone: others may know none."""
        for inputs in sizes:
            place = put_pictures(address, inputs)
            self._report(f"{inputs:,} keys in {place}")
            yield self._grown(self._checkouts[0], place, "keys", inputs, resume=inputs == max(sizes))

    def _grown(self, checkout: Checkout, place: str, where: str, inputs: int, *, resume: bool) -> Grown:
        job = self._job(checkout, [place], "caption")
        what = f"{inputs:,} {where}"
        resume = resume and inputs > 1
        run = self._run(job, what, limit=done_of(inputs) if resume else None)
        grown = Grown(checkout.name, where, inputs, run, rows=len(job.asked.read_text().splitlines()))
        if resume:
            job.asked.unlink()
            grown.resumed = self._run(job, f"{what}, {grown.rows:,} done")
        return grown

    def unit(self, kind: str, sizes: tuple[int, int]) -> list[Unit]:
        """kind: picture, of 64 x 64, described; or page, at 144 dpi, read by ocr."""
        runs: dict[str, list[Ran]] = {checkout.name: [] for checkout in self._checkouts}
        for count in sizes:
            place, recording = self._folder / f"{kind}s-{count}-again", self._folder / f"{kind}s-{count}.jsonl"
            if kind == "page":
                write_pages(place, count, recording)
            else:
                link_pictures(place, count)
            for checkout in self._checkouts:
                task, replies = ("ocr", recording) if kind == "page" else ("caption", None)
                job = self._job(checkout, [str(place)], task, replies)
                runs[checkout.name].append(self._run(job, f"{count:,} {kind}s"))
        return [Unit(name, kind, sizes, (less, more)) for name, (less, more) in runs.items()]

    def single(self, rounds: int) -> list[Single]:
        """One small picture by `run`, three bare pools, and one larger by `try` with the checkpoint that ships."""
        small, larger = self._folder / "one", self._folder / "sign.png"
        link_pictures(small, 1)
        write_picture(larger)
        results: dict[tuple[str, str], Single] = {}

        def add(checkout: str, what: str, sign: str, ran: Ran) -> None:
            results.setdefault((checkout, what), Single(checkout, what, sign)).runs.append(ran)

        for number in range(1, rounds + 1):
            place = f"round {number} of {rounds}: "
            for how, what in (("own", "bare pools, our Ray"), ("init", "bare pools, ray.init")):
                add("", what, FIRST_ROW, self._pools(how, f"{place}{what}"))
            for checkout in self._checkouts:
                job = self._job(checkout, [str(small)], "caption")
                add(checkout.name, RUN, FIRST_ROW, self._run(job, f"{place}run"))
                add(checkout.name, TRY, FIRST_ANSWER, self._try(checkout, larger, f"{place}try"))
        return list(results.values())

    def _job(self, checkout: Checkout, inputs: list[str], task: str, recording: Path | None = None) -> _Job:
        self._runs += 1
        folder = self._folder / f"job-{self._runs}"
        folder.mkdir()
        job = _Job(checkout, folder)
        line = {"sample": "*", "reply": "A small picture.", "asked_log": str(job.asked)}
        text = json.dumps(line) + "\n" if recording is None else recording.read_text(encoding="utf-8")
        (folder / "replies.jsonl").write_text(text, encoding="utf-8")
        engine = {"kind": "scripted", "recording": str(folder / "replies.jsonl"), "slots": SLOTS}
        job.write_spec({"inputs": inputs, "tasks": [task], "engine": engine})
        return job

    def _run(self, job: _Job, what: str, limit: int | None = None) -> Ran:
        command = ["-m", "jobs.cli", "run", str(job.spec), *(["--limit", str(limit)] if limit is not None else [])]
        signs = {FIRST_ASK: written(job.asked)}
        if not job.began():
            signs[FIRST_ROW] = job.first_row()
        return self._measure(job.checkout, command, job.folder / "log", signs, what)

    def _try(self, checkout: Checkout, file: Path, what: str) -> Ran:
        self._runs += 1
        log = self._folder / f"try-{self._runs}.log"
        return self._measure(checkout, ["-m", "jobs.cli", "try", str(file)], log, {FIRST_ANSWER: written(log)}, what)

    def _pools(self, how: str, what: str) -> Ran:
        self._runs += 1
        file, log = self._folder / f"pools-{self._runs}", self._folder / f"pools-{self._runs}.log"
        command = ["-m", "jobs.bench.bare_pools", str(file), how]
        return self._measure(THIS, command, log, {FIRST_ROW: written(file)}, what)

    def _measure(self, checkout: Checkout, command: list[str], log: Path, signs: dict[str, Sign], what: str) -> Ran:
        """Raises SightreadError."""
        cache = self._folder / "cache" / str(self._runs)
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        ran = measured(
            [checkout.python, *command],
            cwd=checkout.folder,
            log=log,
            signs=signs,
            environment={**environment, "SIGHTREAD_CACHE": str(cache)},
            limit_s=self._limit_s,
        )
        first = "".join(f", {name} after {seconds:.1f} s" for name, seconds in ran.seen.items())
        name = f"{checkout.name}: " if len(self._checkouts) > 1 else ""
        self._report(f"{name}{what}: {ran.seconds:.1f} s{first}; {ran.all_s:.1f} CPU-s, driver {ran.driver_s:.1f}")
        return ran


@dataclass(frozen=True)
class _Job:
    checkout: Checkout
    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def asked(self) -> Path:
        """Where the engine notes that it is asked."""
        return self.folder / "asked.txt"

    def write_spec(self, sections: dict[str, Any]) -> None:
        spec = {"name": "scale", "output": str(self.folder / "out"), **sections}
        self.spec.write_text(json.dumps(spec), encoding="utf-8")  # which is YAML too

    def began(self) -> bool:
        return (self.folder / "out").exists()

    def first_row(self) -> Sign:
        """The first part; older versions have no log of parts, and commit to the results."""
        places = [self.folder / "out" / name for name in (PARTS, RESULTS)]
        return lambda: min(
            (path.stat().st_mtime for place in places for path in place.rglob("*.parquet")), default=None
        )
