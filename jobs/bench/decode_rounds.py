"""Measure the readers of `sightread bench decode` in turns: each of them in as many processes at once as there are
workers, on the same file, so that all cores are busy whoever's turn it is. Knows nothing of tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from jobs.bench.decode_cases import Case
from schemas.checkout import ROOT

PEERS_PYTHON = "SIGHTREAD_DECODE_PYTHON"
"""Environment: the interpreter of an environment that has the peers; else that of scripts/setup-decode-peers."""
LIMIT_S = 300.0
"""Of one measurement; a reader may spin for ever."""


@dataclass(frozen=True)
class Reader:
    """target: MODULE:CLASS of jobs/bench/decode_worker.py. comes_by: how its library is had."""

    name: str
    target: str
    is_video: bool
    is_peer: bool = True
    comes_by: str = "scripts/setup-decode-peers"


def _peer(name: str, target: str, *, is_video: bool, comes_by: str = "scripts/setup-decode-peers") -> Reader:
    return Reader(name, f"jobs.bench.decode_readers:{target}", is_video, comes_by=comes_by)


OURS, BARE = "sightread", "sightread, bare"
READERS = (
    *(Reader(OURS, "jobs.bench.decode_ours:Sandboxed", is_video, is_peer=False) for is_video in (True, False)),
    *(Reader(BARE, "jobs.bench.decode_ours:Bare", is_video, is_peer=False) for is_video in (True, False)),
    _peer("decord2", "Decord", is_video=True),
    _peer("torchcodec", "Torchcodec", is_video=True, comes_by="scripts/setup-decode-peers and apt-get install ffmpeg"),
    _peer("torchcodec, approximate", "TorchcodecApproximate", is_video=True),
    _peer("OpenCV", "OpenCV", is_video=True),
    _peer("PyAV, every frame", "PyAV", is_video=True),
    _peer("pypdfium2", "Pdfium", is_video=False),
    _peer("PyMuPDF", "MuPDF", is_video=False),
    _peer("poppler", "Poppler", is_video=False, comes_by="apt-get install poppler-utils"),
)


@dataclass
class Result:
    """Of a reader in a case. wall_s, cpu_s: of each round, of all workers; pictures, times: how many of a round are
    right at least. fault: why it was not measured, or not to the end."""

    case: str
    reader: str
    is_peer: bool
    wanted: int
    version: str = ""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    pictures: int = 0
    times: int = 0
    fault: str | None = None

    @property
    def is_right(self) -> bool:
        return self.fault is None and self.pictures == self.times == self.wanted


class Worker:
    """A process of jobs/bench/decode_worker.py. version: of its library. missing: why it has none."""

    def __init__(self, reader: Reader, log: Path) -> None:
        self._sink = log.open("wb")
        self._log = log
        self._process = subprocess.Popen(
            [_python(reader), "-m", "jobs.bench.decode_worker", reader.target],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._sink,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        answer = self.receive()
        self.version, self.missing = answer.get("version", ""), answer.get("missing", answer.get("error"))

    def send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what is read next says why
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """{error} of one that dies, or is silent for LIMIT_S."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LIMIT_S)[0]:
            return {"error": f"no answer within {LIMIT_S:g} s", "is_over": True}
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return {"error": f"it died with {self._process.wait()}: {''.join(last)}"[:200], "is_over": True}

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.kill()
            self._process.communicate()
        self._sink.close()


def _python(reader: Reader) -> str:
    """Peers that the base install has run under our own interpreter where there is no other."""
    ours = ROOT / ".venv-decode-peers" / "bin" / "python"
    peers = os.environ.get(PEERS_PYTHON) or (str(ours) if ours.exists() else sys.executable)
    return peers if reader.is_peer else sys.executable


def _last_s(results: Iterable[Result]) -> Iterator[str]:
    for result in results:
        if result.wall_s and result.fault is None:
            yield f"{result.reader} {result.wall_s[-1]:.2f} s"


class Rounds:
    """report: takes a line for each round of a case. missing: reader -> why, and how its library is had."""

    def __init__(self, readers: Sequence[Reader], *, workers: int, report: Callable[[str], None]) -> None:
        self._readers = list(readers)
        self._workers = workers
        self._report = report
        self._started: dict[Reader, list[Worker]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="sightread-bench-")
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for workers in self._started.values():
            for worker in workers:
                worker.close()
        self._folder.cleanup()

    def case(self, case: Case, rounds: int) -> list[Result]:
        """One pass that is not measured, then so many that are, each beginning with another reader."""
        results = {
            reader: Result(case.name, reader.name, reader.is_peer, case.count)
            for reader in self._readers
            if reader.is_video == case.is_video and reader.name not in self.missing
        }
        for number in range(rounds + 1):
            order = list(results)
            for reader in order[number % len(order) :] + order[: number % len(order)]:
                if results[reader].fault is None and reader.name not in self.missing:
                    self._measure(reader, case, results[reader], is_counted=number > 0)
            if number:
                self._report(f"{case.name}: round {number} of {rounds}: {', '.join(_last_s(results.values()))}")
        return [result for result in results.values() if result.reader not in self.missing]

    def _measure(self, reader: Reader, case: Case, result: Result, *, is_counted: bool) -> None:
        workers = self._workers_of(reader)
        if not workers:
            return
        result.version = workers[0].version
        for number, worker in enumerate(workers):
            order = {"wanted": asdict(case.wanted), "is_checked": number == 0, "numbered": case.truth.thumbs is None}
            worker.send(order)
        answers = [worker.receive() for worker in workers]
        for answer in answers:
            if "error" in answer:
                result.fault = answer["error"]
                if answer.get("is_over"):
                    self._end(reader)
                return
        pictures = case.truth.right_pictures(answers[0]["marks"])
        times = case.truth.right_times(answers[0]["times_s"])
        if not is_counted:
            result.pictures, result.times = pictures, times
            return
        result.pictures, result.times = min(result.pictures, pictures), min(result.times, times)
        result.wall_s.append(max(answer["wall_s"] for answer in answers))
        result.cpu_s.append(sum(answer["cpu_s"] for answer in answers))

    def _workers_of(self, reader: Reader) -> list[Worker]:
        """None where its library is missing."""
        if reader not in self._started:
            logs = [Path(self._folder.name) / f"{len(self._started)}-{number}.log" for number in range(self._workers)]
            self._started[reader] = [Worker(reader, log) for log in logs]
            missing = self._started[reader][0].missing
            if missing:
                self.missing[reader.name] = f"{missing}; {reader.comes_by}"
                self._report(f"left out: {reader.name}: {self.missing[reader.name]}")
                self._end(reader)
                return []
        return self._started[reader]

    def _end(self, reader: Reader) -> None:
        for worker in self._started.pop(reader):
            worker.close()
